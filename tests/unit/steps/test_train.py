"""Whether a night trains: what is settled, what a person may ask for, and what a cut leaves."""

from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, date, datetime
from importlib import import_module
from types import SimpleNamespace

import pytest

from personalgen.artifacts import read_json, write_json
from personalgen.catalogue import read, write
from personalgen.catalogue.engine import open_catalogue
from personalgen.catalogue.facts import NightFacts
from personalgen.catalogue.migrations import upgrade
from personalgen.errors import ConfigError, TrainingError
from personalgen.steps.night import Night, has_result
from personalgen.steps.report import Reported
from personalgen.steps.train import Trained
from personalgen.training.due import Due

steps = import_module("personalgen.steps.train")  # the name of the module is that of its function
AT = datetime(2026, 9, 21, tzinfo=UTC)
EMBEDDED = SimpleNamespace(train_basis="basis")


class Run:
    """An MLflow run that nobody reads."""

    run_id = "r"

    def set_tags(self, _tags):
        pass

    def log_dict(self, _value, *, name):
        pass

    def log_metrics(self, _metrics):
        pass


@contextmanager
def nothing(*_):
    """Open a run, or a stage of the journal."""
    yield Run()


@pytest.fixture
def workspace(tmp_path):
    """What a stage needs of a workspace; something is live in it."""
    engine = open_catalogue(f"sqlite:///{tmp_path}/catalogue.db")
    upgrade(engine)
    yield SimpleNamespace(
        engine=engine,
        tracking=SimpleNamespace(stage_run=nothing),
        journal=SimpleNamespace(stage=nothing, tell=lambda **_: None),
        settings=SimpleNamespace(root=tmp_path),
        live=lambda: "v1",
    )
    engine.dispose()


@pytest.fixture
def night(workspace, tmp_path):
    """A night that is done, and trained nothing by the rule."""
    return begun(workspace, tmp_path, key="a" * 32, as_of=AT)


def begun(workspace, folder, *, key, as_of):
    facts = NightFacts(
        night_key=key, source="s", as_of=as_of, day=date(2026, 9, 21), source_digest="s", config_digest="c",
        mlflow_run_id="run",
    )  # fmt: skip
    night_id = write.begin_night(workspace.engine, facts, at=AT)
    write.finish_night(workspace.engine, night_id, status="done", counts={"images_made": 1}, at=AT)
    night = Night(
        key=key, night_id=night_id, folder=str(folder), prepared="", as_of=as_of.isoformat(), day="2026-09-21",
        parent_run_id="parent", source="s", n_interactions=0, n_users=0, n_items=0, n_quarantined=0, n_after_as_of=0,
    )  # fmt: skip
    skipped = Trained("", "", "basis", "r", 0, 0, 0.0, 0.0, None, skipped=True, because="too little is new")
    write_json(night.path / "due.json", asdict(Due(train=False, because="too little is new")))
    write_json(night.path / "train.json", asdict(skipped))
    write_json(night.path / "report.json", asdict(Reported("r.html", "", {})))
    return night


@pytest.fixture
def trainings(monkeypatch):
    """Let trainings end as told; return how many there were."""
    seen = []

    def let(ends):
        def train(*_):
            seen.append(1)
            if isinstance(ends, BaseException):
                raise ends
            return ends

        monkeypatch.setattr(steps, "_train", train)
        return seen

    return let


MADE = Trained("folder", "sha", "basis", "r", 1, 1, 1.0, 1.0, None)


def test_a_forced_training_that_is_cut_is_gone_on_with(workspace, night, trainings):
    """It is settled before anything is forgotten: without --force the night trains, whatever the rule said."""
    trainings(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        steps.train(workspace, night, EMBEDDED, asked=True)
    assert read_json(night.path / "due.json") == {"train": True, "because": "it was asked for"}
    trainings(MADE)
    assert steps.train(workspace, night, EMBEDDED) == replace(MADE, because="it was asked for")


def test_a_night_that_is_asked_to_train_is_done_no_more(workspace, night, trainings):
    """Its report is forgotten, so it runs again where it is begun again; no earlier night may follow all the same."""
    trainings(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        steps.train(workspace, night, EMBEDDED, asked=True)
    assert not has_result(night, Reported)
    known = read.night_by_id(workspace.engine, night.night_id)
    assert (known.status, known.finished_at, known.counts) == ("running", None, {"images_made": 1})
    assert read.newest_as_of(workspace.engine) == AT


def test_a_night_that_a_later_one_followed_is_not_asked_to_train(workspace, night, trainings, tmp_path):
    """Its images would be of preferences that people have left; nothing is forgotten."""
    begun(workspace, tmp_path / "later", key="b" * 32, as_of=AT.replace(day=22))
    seen = trainings(MADE)
    with pytest.raises(ConfigError, match="the night up to 2026-09-22"):
        steps.train(workspace, night, EMBEDDED, asked=True)
    assert not seen
    assert has_result(night, Reported)
    assert steps.train(workspace, night, EMBEDDED).because == "too little is new"


def test_a_retrain_that_diverged_is_not_trained_again(workspace, night, trainings):
    """Gone on with, it finds that there is no challenger; a person may ask for another try."""
    retrain = replace(night, kind="retrain")
    for name in ("due", "train", "report"):
        (night.path / f"{name}.json").unlink()
    seen = trainings(TrainingError("not a number"))
    found = [steps.train(workspace, retrain, EMBEDDED) for _ in range(2)]
    assert [(one.skipped, one.because) for one in found] == [(True, "not a number")] * 2
    assert len(seen) == 1
    steps.train(workspace, retrain, EMBEDDED, asked=True)
    assert len(seen) == 2
