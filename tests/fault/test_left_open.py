"""What killed processes leave open is closed as what it is, and nobody else's; a lock names its living holder."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from personalgen.config import load_settings
from personalgen.locks import HeldError, hold, is_held
from personalgen.registry.tracking import ENDED_TAG, Tracking
from personalgen.steps import Workspace
from tests import apart

pytestmark = pytest.mark.timeout(600, func_only=True)


def hold_home(until, config, *overrides):
    """Hold the lock of a home until the other end of a pipe is closed."""
    with Workspace(load_settings(Path(config), overrides)).only_night():
        until.send("held")
        with suppress(EOFError):
            until.recv()


@pytest.fixture
def holder(first_night):
    """Another process that holds the lock of a home."""
    options = first_night.home.options()
    mine, other = apart.FORKS.Pipe()
    process = apart.begin(hold_home, other, options[1], *options[3::2])
    other.close()
    assert mine.recv() == "held"
    yield process
    process.kill()
    process.join()
    mine.close()


def test_a_second_process_is_told_who_holds_the_home(first_night, holder):
    """Two real processes: the second one refuses at once, and names the other's id and since when it runs."""
    told = first_night.home.tell("nightly")
    assert told.code == 1
    message = told.err.splitlines()[-1]
    assert f"another night is running in {first_night.home.path}: process {holder.pid}, since 20" in message
    assert "Nothing was started" in message


def test_the_lock_of_a_dead_process_blocks_nothing(first_night, holder):
    """Killed with SIGKILL, its name still stands in the file, and the home is free."""
    lock = first_night.home.path / "data" / ".night.lock"
    assert is_held(lock)
    holder.kill()
    holder.join()
    assert str(holder.pid) in lock.read_text()
    assert not is_held(lock)
    with first_night.home.workspace().only_night():
        assert str(os.getpid()) in lock.read_text()


def test_looking_who_holds_a_lock_refuses_nobody(tmp_path):
    """A night that begins while somebody looks gets the lock all the same."""
    path, now = tmp_path / "lock", datetime(2026, 1, 1, tzinfo=UTC)
    with hold(path, since=now):
        pass
    looking = "import fcntl, sys, time; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_SH); print(1, flush=True); "
    with subprocess.Popen(
        [sys.executable, "-c", looking + "time.sleep(0.1)", str(path)], stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        with hold(path, since=now):
            assert is_held(path)
        process.wait()


def test_a_held_lock_refuses_within_the_process_too(tmp_path):
    """The lock is of an opened file, not of a process: a second one here is refused and told of this process."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    with hold(tmp_path / "lock", since=now):
        refused = pytest.raises(HeldError, match=f"process {os.getpid()}, since 2026-01-01T00:00:00")
        with refused, hold(tmp_path / "lock", since=now):
            pass


# --- runs and nights --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tracking(tmp_path_factory):
    """A function that opens one store as one of the homes that share it."""
    folder = tmp_path_factory.mktemp("shared")
    uri = f"sqlite:///{folder}/mlflow.db"
    return lambda home_id: Tracking(uri, folder / "mlartifacts", "nightly", home_id=home_id)


def left_open(tracking, night_key, stage):
    """Return the ids of the runs of a night and of its stage that a killed process leaves."""
    parent = tracking._create({"night_key": night_key}, "night")
    return parent, tracking._create({"stage": stage, "mlflow.parentRunId": parent}, stage)


def test_runs_of_killed_attempts_are_closed_as_killed(tracking):
    """Those of this home, with the reason as a tag; those that go on tonight and those of other homes stay."""
    mine, other = tracking("mine"), tracking("other")
    dead, going_on, foreign = (
        left_open(mine, "a", "train"),
        left_open(mine, "b", "embed"),
        left_open(other, "a", "train"),
    )
    assert sorted(mine.close_abandoned(but="b")) == sorted(dead)
    found = {run_id: mine.client.get_run(run_id) for run_id in (*dead, *going_on, *foreign)}
    assert {found[run_id].info.status for run_id in dead} == {"KILLED"}
    assert all("ended without a word" in found[run_id].data.tags[ENDED_TAG] for run_id in dead)
    assert {found[run_id].info.status for run_id in (*going_on, *foreign)} == {"RUNNING"}
    assert mine.close_abandoned(but="b") == []


def test_a_night_that_will_not_go_on_is_said_to_be_killed(new_home, plain_nightly):
    """Killed in training, then new events come: the next night is another one, and closes the first honestly."""
    home = new_home(own_world=True)
    night = apart.begin(apart.command_line, "nightly", *home.options())
    wait_for(home.path, "train")
    assert "running" in home.tell("nights", "list").out
    os.killpg(night.pid, signal.SIGKILL)
    night.join()
    assert home.ask("select status from night") == [{"status": "running"}]
    told = home.tell("nights", "list").out
    assert "killed" in told
    assert "running" not in told
    with closing(sqlite3.connect(home.world / "history.db")) as connection, connection:
        connection.execute("insert into interactions values('sim0-00001', 'shape-00001', 1699999999, 1, 'like')")
    plain_nightly(home.workspace())
    assert home.ask("select status, attempts from night order by night_id") == [
        {"status": "killed", "attempts": 1}, {"status": "done", "attempts": 1},
    ]  # fmt: skip
    runs = home.state().tracking["runs"]
    assert sorted({run["status"] for run in runs}) == ["FINISHED", "KILLED"]
    assert [run["name"] for run in runs if run["status"] == "KILLED" and run["name"] == "train"] == ["train"]


def wait_for(home, stage):
    """Wait until a night's stage has begun to write."""
    deadline = time.monotonic() + 90
    while not list((home / "data" / "nights").glob(f"*/{stage}/checkpoint.safetensors")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
