"""Two processes that torchrun starts train as one does: on a tiny GAN, by gloo on the CPU."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from personalgen.conditions import ConditionSpec
from personalgen.errors import ConfigError, TrainingError
from personalgen.models import ModelOptions
from personalgen.training import Job, TrainingOptions, TrainingPairs, load_job, save_job, train
from personalgen.training.checkpoints import CHECKPOINT, seen_images
from personalgen.training.distributed import joined, leading
from personalgen.training.team import Team

# Starting torchrun and two Pythons with torch takes some ten seconds on a busy core; the trainings take less than one.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(110, func_only=True)]

ROOT = Path(__file__).resolve().parents[2]
FORKED = str(Path(__file__).with_name("forked_torchrun.py"))
SPEC = ConditionSpec.vector("taste", 5)
MODEL = ModelOptions(resolution=8, z_dim=6, style_dim=16, width=8, max_width=8, discriminator_width=8, group_size=2)
# Everything that reaches over the border between the two processes' rows is on: other people's conditions for real and
# made images, candidates of a group, and the people that a contrastive loss tells apart.
EIGHT_STEPS = TrainingOptions(
    max_kimg=0.064,
    batch_size=8,
    device="cpu",
    precision="fp32",
    threads=1,
    learning_rate=1e-3,
    final_learning_rate=5e-4,
    warmup_kimg=0.016,
    r1_gamma=1.0,
    final_r1_gamma=0.5,
    feature_weight=0.0,
    mismatch_weight=0.2,
    wrong_fake_weight=0.1,
    contrast_weight=0.3,
    candidates=2,
    user_mixup=0.3,
    condition_dropout=0.1,
    augment=0.5,
    ema_kimg=0.1,
    snapshot_kimg=0.016,
    seed=3,
)
CLOSE = 2e-5
"""What weights, averages and Adam's moments may differ by after eight steps of 5e-4 to 1e-3, whose weights are of the
order of 1. Sums over rows are taken in another order, which moves a float32 gradient by some 1e-7 of its size, and a
step by as much of the learning rate; up to 5e-7 was measured, and 5e-6 of one weight whose
gradient all but vanishes."""
WITHOUT_GRADIENT = "discriminator.head.plain.bias"
"""A relativistic loss does not see a constant on all logits: the gradient of this bias is nothing but rounding, which
Adam scales up to whole steps in any direction."""


def noise_pairs():
    """Return 20 pairs of four users over six pictures."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    vectors = rng.normal(size=(20, 5)).astype(np.float32)
    return TrainingPairs.of(images, rng.integers(0, 6, 20), np.repeat(np.arange(4), 5), of_pair={"taste": vectors})


def job(**changes):
    """Return the tiny training, or a variant of it."""
    return Job(noise_pairs(), SPEC, MODEL, dataclasses.replace(EIGHT_STEPS, **changes))


def torchrun(*command, forked=False):
    """Start two processes and return torchrun's own; `forked` ones have not imported torch each."""
    plain = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    words = [sys.executable, *([FORKED] if forked else plain), *map(str, command)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        words,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(process, seconds=100):
    """Return (exit code, stdout, stderr); a run that takes longer is killed with all its processes."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return process.returncode, out, err


def alone(one, folder, **limits):
    """Train a job in this process; return the checkpoint."""
    train(dataclasses.replace(one, options=dataclasses.replace(one.options, **limits)), folder=folder)
    return load_file(folder / CHECKPOINT)


def assert_close(found, expected):
    """Fail where two checkpoints differ by more than rounding."""
    assert found.keys() == expected.keys()
    assert torch.equal(found["rng"], expected["rng"])
    opponents = [name for name in found if name.startswith("opponents_optimizer")]
    assert opponents
    for name in found.keys() - {"rng", WITHOUT_GRADIENT}:
        torch.testing.assert_close(found[name], expected[name], atol=CLOSE, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


@pytest.fixture(scope="module")
def halved(tmp_path_factory):
    """Return a folder in which two processes trained four steps, and torchrun's output."""
    folder = tmp_path_factory.mktemp("two")
    save_job(folder, job())
    return folder, finish(torchrun("-m", "personalgen.training", folder, "--max-kimg", "0.032"))


def test_two_processes_give_what_one_gives(halved, tmp_path):
    """After four steps: weights, averages, moments, clock and random numbers, and the metrics on the way."""
    folder, (_, out, _) = halved
    logged = []
    train(job(slice_kimg=0.032), folder=tmp_path, log=lambda metrics, seen: logged.append((seen, metrics)))
    assert_close(load_file(folder / CHECKPOINT), load_file(tmp_path / CHECKPOINT))
    told = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert [line.pop("seen_img") for line in told] == [seen for seen, _ in logged] == [16, 32]
    assert told == [pytest.approx(metrics, abs=1e-5) for _, metrics in logged]


def test_a_run_that_its_limit_ended_says_how_to_go_on(halved):
    """One process speaks, and the exit code is not 0."""
    _, (code, _, err) = halved
    assert code != 0
    assert err.count("ended after 32 images. Run it again to go on.") == 1


def test_one_process_goes_on_from_what_two_left(halved, tmp_path):
    """Four steps of two processes and four of one are eight of one, within the same rounding."""
    shutil.copy(halved[0] / CHECKPOINT, tmp_path)
    found = alone(load_job(halved[0]), tmp_path)
    assert_close(found, alone(job(), tmp_path / "whole"))


def test_a_batch_that_processes_would_cut_is_refused(tmp_path):
    """Six images in groups of two are not two processes' work: told once, and nothing is written."""
    save_job(tmp_path, job(batch_size=6))
    code, out, err = finish(torchrun("-m", "personalgen.training", tmp_path, forked=True))
    (line,) = [line for line in err.splitlines() if line.startswith("personalgen.training: ")]
    assert "train.batch_size must be a multiple of the number of processes, which is 2, times" in line
    assert (code != 0, out, seen_images(tmp_path)) == (True, "", 0)


SCRIPT = """
import sys
from pathlib import Path

from personalgen.errors import TrainingError, UnfinishedError
from personalgen.training import leading, load_job, share_job, train

with leading("cpu") as leads:
    for folder in map(Path, sys.argv[1:] if leads else ()):
        job = load_job(folder)
        share_job(job, folder / "beside")
        try:
            train(job, folder=folder)
        except TrainingError as error:
            print(f"{folder.name}: {error}")
    if leads:
        raise UnfinishedError("the share of this run is over")
"""


def test_a_training_that_diverges_ends_for_all_and_the_next_one_begins(tmp_path):
    """The others follow from job to job, return with the first to a checkpoint, speak not a word, and end with it."""
    bad, good = job(max_rollbacks=1), job(max_kimg=0.016)
    bad.pairs.of_pair.values["taste"][:] = float("nan")
    for name, each in (("bad", bad), ("good", good)):
        save_job(tmp_path / name, each)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    code, out, err = finish(torchrun(script, tmp_path / "bad", tmp_path / "good", forked=True))
    assert code != 0
    assert err.count("UnfinishedError: the share of this run is over") == 1, err
    assert "LostProcessError" not in err
    (line,) = out.splitlines()
    assert line.startswith("bad: ")
    assert "after 1 returns to an earlier checkpoint" in line
    assert seen_images(tmp_path / "bad") == 0
    assert_close(load_file(tmp_path / "good" / CHECKPOINT), alone(good, tmp_path / "alone"))


def workers(parent):
    """Return the process ids of torchrun's forked workers by rank."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (folder / "stat").read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        if int(rest.split()[1]) == parent and name.startswith("rank"):
            found[int(name.removeprefix("rank"))] = int(folder.name)
    return found


@pytest.mark.skipif(not Path("/proc/self/comm").exists(), reason="finds the processes in /proc")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_others_and_leaves_a_checkpoint(tmp_path, rank):
    """After kill -9 of either one torchrun ends within half a minute, and one process goes on from what was saved."""
    save_job(tmp_path, job(max_kimg=1000.0))
    process = torchrun("-m", "personalgen.training", tmp_path, forked=True)
    waited = time.monotonic()
    while seen_images(tmp_path) < 32:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - waited < 60
        time.sleep(0.05)
    killed = time.monotonic()
    os.kill(workers(process.pid)[rank], signal.SIGKILL)
    code, _, _ = finish(process, seconds=40)
    assert code != 0
    assert time.monotonic() - killed < 30
    seen = seen_images(tmp_path)
    assert seen >= 32
    assert seen % 16 == 0
    alone(load_job(tmp_path), tmp_path, slice_kimg=0.016)
    assert seen_images(tmp_path) == seen + 16


COMMAND = "import sys; from personalgen.cli import main; sys.exit(main())"


@pytest.fixture
def half_trained(new_home):
    """Return a home whose night is trained for 32 of its 64 images."""
    home = new_home()
    for command in ("prepare", "embed"):
        assert home.tell(command).code == 0
    assert "ended after 32 of 64 images" in home.tell("train", "--max-kimg", "0.032").err
    return home


def test_the_night_s_training_in_two_processes(half_trained, first_night):
    """`personalgen train` under torchrun goes on from a slice: one run in MLflow, the weights of one process."""
    home = half_trained
    command = ("--no-python", sys.executable, "-c", COMMAND, "train", "--json", *home.options())
    code, out, err = finish(torchrun(*command))
    assert code == 0, err
    trained = json.loads(out)
    (path,) = [each for each in first_night.state.files if "/nights/" in each and each.endswith("/train.json")]
    expected = json.loads((first_night.home.path / path).read_text())
    found, wanted = (load_file(Path(each["folder"]) / "generator.safetensors") for each in (trained, expected))
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, atol=CLOSE, rtol=0)
    tracking = home.workspace().tracking
    runs = tracking.client.search_runs([tracking.experiment_id], "tags.stage = 'train'")
    assert [run.info.run_id for run in runs] == [trained["run_id"]]
    losses = tracking.client.get_metric_history(trained["run_id"], "loss_d")
    assert [each.step for each in losses] == [32, 64]


THREADS = """
import os, sys
from pathlib import Path
from personalgen.training import load_job, train
from personalgen.training.distributed import joined

job = load_job(Path(sys.argv[1]))
with joined("cpu"):
    train(job, folder=Path(sys.argv[1]))
threads = [Path(f"/proc/self/task/{task}/comm").read_text().strip() for task in os.listdir("/proc/self/task")]
print("threads", sorted(threads))
"""


def test_nothing_of_the_team_outlives_it(tmp_path):
    """No thread of gloo is left when a process ends: one that lets go of a tensor then would abort it."""
    save_job(tmp_path, job(max_kimg=0.008))
    code, out, err = finish(torchrun("--no-python", sys.executable, "-c", THREADS, tmp_path))
    assert code == 0, err
    assert out.count("threads") == 2
    assert "gloo" not in out


# --- without torchrun -------------------------------------------------------------------------------------------------


def test_a_process_that_torchrun_did_not_start_is_alone():
    """It leads, no process group is made, and every word to the team is a word to itself."""
    with joined("cpu") as team, leading("cpu") as leads:
        assert (team, leads) == (Team(), True)
        assert not torch.distributed.is_initialized()
        assert team.hear_first("folder") == "folder"
        assert team.agree(flag=True)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    """Before a process group is made."""
    monkeypatch.setattr(torch.distributed, "is_torchelastic_launched", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="2 processes on a machine with 1 GPUs"), joined("auto"):
        pytest.fail("joined")
    assert not torch.distributed.is_initialized()


def test_a_lost_process_is_a_training_error(monkeypatch):
    """What torch says becomes one line with what stands and what to do."""

    def broken(*_, **__):
        raise RuntimeError("Connection closed by peer\nat a line of C++")

    monkeypatch.setattr(torch.distributed, "broadcast", broken)
    with pytest.raises(TrainingError, match=r"\(Connection closed by peer\)\. The last checkpoint stands"):
        Team(0, 2).agree(flag=True)
