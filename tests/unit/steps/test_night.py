from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import ClassVar

import pytest

from personalgen.artifacts import read_json
from personalgen.errors import NotFoundError
from personalgen.journal.lines import Journal
from personalgen.journal.options import LogOptions
from personalgen.steps.night import STAGES, Night, from_json, run_stage, stage_result
from personalgen.steps.report import Reported


@dataclass(frozen=True)
class Made:
    stage: ClassVar[str] = "train"

    count: int
    names: tuple[str, ...]
    good: bool = True


class Run:
    """An MLflow run that remembers what it was told."""

    def __init__(self):
        self.run_id, self.metrics, self.files = "r", {}, {}

    def log_metrics(self, metrics):
        self.metrics |= metrics

    def log_dict(self, value, *, name):
        self.files[name] = value


class Tracking:
    def __init__(self):
        self.runs = []

    @contextmanager
    def stage_run(self, name, parent_run_id):
        self.runs.append((name, parent_run_id, Run()))
        yield self.runs[-1][2]


@pytest.fixture
def workspace(tmp_path):
    journal = Journal(tmp_path / "logs", LogOptions(), now=lambda: datetime.now(UTC))
    return SimpleNamespace(tracking=Tracking(), journal=journal)


@pytest.fixture
def night(tmp_path):
    return Night(
        key="k" * 32, night_id=1, folder=str(tmp_path), prepared="", as_of="2026-09-21T00:00:00Z", day="2026-09-21",
        parent_run_id="parent", source="s", n_interactions=0, n_users=0, n_items=0, n_quarantined=0, n_after_as_of=0,
    )  # fmt: skip


def test_a_stage_stores_and_logs_its_result(workspace, night):
    """The result is a JSON file of the stage's name, an artifact of its run, and its numbers are metrics."""
    result = run_stage(workspace, night, Made, lambda _: Made(3, ("a", "b")))
    ((name, parent, run),) = workspace.tracking.runs
    assert (name, parent) == ("train", "parent")
    assert read_json(night.path / "train.json") == {"count": 3, "names": ["a", "b"], "good": True}
    assert run.metrics == {"count": 3.0}
    assert run.files["train.json"]["count"] == 3
    assert stage_result(night, Made) == result


def test_a_finished_stage_is_not_run_again(workspace, night):
    """Where a result is stored, it is returned as it was, and no run is opened."""
    first = run_stage(workspace, night, Made, lambda _: Made(3, ("a",)))
    assert run_stage(workspace, night, Made, lambda _: pytest.fail("it ran again")) == first
    assert len(workspace.tracking.runs) == 1


def test_a_stage_that_fails_stores_nothing(workspace, night):
    """After an error the stage is as if it had never run."""

    def fail(_run):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        run_stage(workspace, night, Made, fail)
    assert list(night.path.iterdir()) == []


def test_a_stage_that_has_not_run_is_named(night):
    """Asking for a result that is not there says which command to run first."""
    with pytest.raises(NotFoundError, match=r"train has not run yet for the night of 2026-09-21.*`personalgen train`"):
        stage_result(night, Made)


def test_a_result_of_a_newer_version_is_read_by_its_known_keys():
    """Keys that this version does not know are left aside; lists come back as tuples."""
    assert from_json(Made, {"count": 1, "names": ["a"], "good": False, "later": 5}) == Made(1, ("a",), good=False)


def test_every_stage_has_a_name_of_its_own():
    """The results of two stages never share a file."""
    assert len(set(STAGES)) == len(STAGES) == 12


def test_a_stage_without_a_command_is_told_by_the_one_that_runs_it(night):
    """There is no `personalgen report`."""
    with pytest.raises(NotFoundError, match=r"report has not run yet.*`personalgen generate`"):
        stage_result(night, Reported)
