"""Where buckets of users are worked on changes nothing of what comes out."""

import importlib.util
from pathlib import Path

import pytest
from prefect import flow, task

from flows.nightly import run_night
from flows.runners import by_tasks, task_runner
from personalgen.artifacts import sha256_file
from personalgen.config import BucketOptions
from personalgen.errors import ConfigError
from personalgen.steps import prepare, recommend
from personalgen.steps.buckets import RecommendJob, recommend_bucket, write_job
from personalgen.steps.state import kept_state, state_folder

pytestmark = pytest.mark.timeout(110, func_only=True)

HAS_RAY = importlib.util.find_spec("prefect_ray") is not None
RUNNERS = [
    "threads",
    "processes",
    pytest.param("ray", marks=pytest.mark.skipif(not HAS_RAY, reason="the extra `ray` is not installed")),
]


@pytest.fixture(scope="module")
def workspace(new_home):
    """Return the workspace of a home whose state has four buckets."""
    opened = new_home(own_world=True).workspace("buckets.users=40")
    recommend(opened, prepare(opened))
    return opened


@task
def step(job):
    """Do the work on each bucket by tasks, as a stage of a night does."""
    return by_tasks(recommend_bucket, job, [0, 1, 2, 3])


@flow
def night(job):
    """Run a task that submits tasks."""
    return step(job)


def job_file(workspace, folder):
    """Return a job whose results go below the folder."""
    state = state_folder(workspace)
    job = RecommendJob(str(state / "affinity"), str(state / kept_state(workspace).recommender), str(folder), 10)
    return write_job(folder / "job.json", job)


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_runner_gives_what_this_process_gives(workspace, tmp_path, runner):
    """Inside a task of a flow, as in a night: the same files, to the byte, in the same order."""
    here = workspace.over_buckets(recommend_bucket, job_file(workspace, tmp_path / "here"), [0, 1, 2, 3])
    there = night.with_options(task_runner=task_runner(BucketOptions(runner=runner)))
    found = there(job_file(workspace, tmp_path / "there"))
    assert [sha256_file(Path(part)) for part in found] == [sha256_file(Path(part)) for part in here]
    assert len({sha256_file(Path(part)) for part in here}) == 4


def test_ray_has_to_be_installed(monkeypatch):
    """Who asks for it is told what to install."""
    monkeypatch.setitem(__import__("sys").modules, "prefect_ray", None)
    with pytest.raises(ConfigError, match=r"pip install \"personalgen\[ray\]\". Nothing was started"):
        task_runner(BucketOptions(runner="ray"))


def test_the_settings_choose(new_home, monkeypatch):
    """`here` leaves the workspace and the flow as they are; any other runner hands its tasks to the flow."""
    seen = []

    def run(self, workspace, **parameters):
        seen.append((type(self.task_runner).__name__, workspace.over_buckets is by_tasks))
        return parameters

    monkeypatch.setattr("prefect.flows.Flow.__call__", run)
    for runner in ("here", "processes"):
        assert run_night(new_home().workspace(f"buckets.runner={runner}")) == {"as_of": None}
    assert seen[0][1] is False
    assert seen[1] == ("ProcessPoolTaskRunner", True)
