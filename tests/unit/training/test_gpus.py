import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from personalgen.errors import UnfinishedError
from personalgen.training.gpus import alone_on, own_gpus

HOLD = """
import sys, time
from pathlib import Path
from personalgen.training.gpus import alone_on
with alone_on(sys.argv[2:], "wait", say=print, folder=Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the GPUs a and b, until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path), "a", "b"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_gpu_that_is_held_is_refused_or_shared(holder, tmp_path):
    """By the setting; the message says what to do, and a GPU that nobody holds is free."""
    with (
        pytest.raises(UnfinishedError, match=r"another training holds the GPU b.*Nothing was trained"),
        alone_on(["b"], "refuse", say=print, folder=tmp_path),
    ):
        pass
    for gpu, busy in (("b", "share"), ("c", "refuse")):
        with alone_on([gpu], busy, say=print, folder=tmp_path):
            pass


def test_a_waiting_training_says_so_and_goes_on_when_the_other_is_killed(holder, tmp_path):
    """The lock goes with its process, however that ends."""
    said = []

    def say(text):
        said.append(text)
        os.kill(holder.pid, signal.SIGKILL)

    began = time.monotonic()
    with alone_on(["b", "a"], "wait", say=say, folder=tmp_path):
        assert said == ["waits for the GPU a, which another training holds"], "in an order that all share"
    assert time.monotonic() - began < 30


def test_a_lock_that_another_user_made_is_held_by_whoever_comes_next(tmp_path, monkeypatch):
    """Linux refuses to open it by O_CREAT in a folder of everybody's; all may read it, whatever its maker's umask."""
    before, really = os.umask(0o077), os.open
    try:
        with alone_on(["a"], "refuse", say=print, folder=tmp_path):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "a.lock").stat().st_mode & 0o777 == 0o444

    def protected(path, flags, mode=0o777):
        if flags & os.O_CREAT and not flags & os.O_EXCL and path.exists():
            raise PermissionError(path)
        return really(path, flags, mode)

    monkeypatch.setattr(os, "open", protected)
    with alone_on(["a", "b"], "refuse", say=print, folder=tmp_path):
        pass


def test_the_folder_is_everybodys(tmp_path):
    """Another user of the machine may lock, and not remove what is locked."""
    with alone_on(["a"], "wait", say=print, folder=tmp_path / "gpus"):
        assert (tmp_path / "gpus").stat().st_mode & 0o7777 == 0o1777
        assert (tmp_path / "gpus" / "a.lock").stat().st_mode & 0o444 == 0o444


def test_a_cpu_is_never_locked():
    """Trainings on the CPU only slow each other down."""
    assert own_gpus(torch.device("cpu")) == ()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ("uuid-1",)),
        ({"LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "0"}, ("uuid-0", "uuid-1")),
        ({"LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "1"}, ()),
    ],
)
def test_the_first_of_a_team_locks_for_all(environment, expected, monkeypatch):
    """Else two teams could hold one GPU each, and wait for the other's for ever."""
    monkeypatch.setattr("personalgen.training.gpus._uuid", lambda index: f"uuid-{index}")
    for name in ("LOCAL_WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert own_gpus(torch.device("cuda", 1)) == expected
