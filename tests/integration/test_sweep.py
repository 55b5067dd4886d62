"""A sweep over a tiny night: what it trains, tells and logs, how it goes on, and what it leaves alone."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from personalgen.models import load_generator
from personalgen.training.checkpoints import seen_images

# The sweeps run while the first test is set up.
pytestmark = pytest.mark.timeout(110, func_only=True)

OVER = ("--over", "train.r1_gamma=0.5,2", "--max-kimg", "0.032")
DIVERGES = ("--over", "train.learning_rate=0.0005,1e30", "--max-kimg", "0.032")
LITTLE = ("train.feature_weight=0", "train.max_rollbacks=0", "evaluation.images_per_user=1")


@dataclass(frozen=True)
class Sweeps:
    """What three sweeps of one night told and left."""

    home: object
    before: object
    first: object
    after: object
    again: object
    further: object

    @property
    def rows(self):
        """What the first sweep told."""
        return json.loads(self.first.out)


@pytest.fixture(scope="module")
def sweeps(new_home):
    home = new_home()
    home.tell("prepare", overrides=LITTLE)
    home.tell("embed", overrides=LITTLE)
    before = home.state()
    first = home.tell("sweep", *OVER, "--json", overrides=LITTLE)
    after = home.state()
    again = home.tell("sweep", *OVER, overrides=LITTLE)
    further = home.tell("sweep", *OVER[:-1], "0.064", "--json", overrides=LITTLE)
    return Sweeps(home, before, first, after, again, further)


def test_each_combination_is_trained_and_measured(sweeps):
    """The best comes first; each has the evaluation's figures, its health, and weights that can be loaded."""
    assert sweeps.first.code == 0, sweeps.first.err
    assert {row["values"]["train.r1_gamma"] for row in sweeps.rows} == {0.5, 2}
    kids = [row["figures"]["kid"] for row in sweeps.rows]
    assert kids == sorted(kids)
    for row in sweeps.rows:
        assert row["kimg"] == pytest.approx(0.032)
        assert {"kid_floor", "fit_gain", "fit_shuffled", "diversity", "rollbacks"} <= row["figures"].keys()
        _, card = load_generator(Path(row["folder"]))  # as the longer sweep left it
        assert (card.trained_kimg, card.facts["swept"]) == (pytest.approx(0.064), row["values"])


def test_a_sweep_is_a_run_with_a_run_for_each_combination(sweeps):
    """Below the night's run, with what was swept as parameters, and metrics over images."""
    tracking = sweeps.home.workspace(*LITTLE).tracking
    (parent,) = tracking.client.search_runs([tracking.experiment_id], "tags.stage = 'sweep'")
    assert parent.info.status == "FINISHED"
    children = tracking.client.search_runs(
        [tracking.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    )
    children = [run for run in children if "train.r1_gamma" in run.data.params]
    assert {run.info.run_id for run in children} == {row["run_id"] for row in sweeps.rows}
    assert {run.data.params["train.r1_gamma"] for run in children} == {"0.5", "2"}
    assert {run.info.run_name for run in children} == {"train.r1_gamma=0.5", "train.r1_gamma=2"}
    for run in children:
        for name in ("loss_d", "kid"):
            assert [each.step for each in tracking.client.get_metric_history(run.info.run_id, name)] == [32, 64]


def test_nothing_but_the_sweep_s_folder_and_runs_is_new(sweeps):
    """No version, no asset, no release, no stage's result: what users see is as it was; features are kept for later."""
    changed = {name for name, rows in sweeps.after.catalogue.items() if rows != sweeps.before.catalogue[name]}
    assert changed <= {"night", "sqlite_sequence"}  # the attempts that `prepare` counts
    assert sweeps.after.catalogue["night"][0]["status"] == sweeps.before.catalogue["night"][0]["status"]
    assert sweeps.after.tracking["model_versions"] == []
    new = sweeps.after.files.keys() - sweeps.before.files.keys()
    own = ("/sweep/", "mlartifacts", "data/features/")
    assert {name for name in new if not any(part in name for part in own)} == set()
    assert {name: sweeps.after.files[name] for name in sweeps.before.files} == sweeps.before.files


def test_the_same_sweep_again_trains_nothing(sweeps):
    """It prints the stored table, the best one first, with how to use it."""
    assert sweeps.again.code == 0
    assert "sweep 1/2" not in sweeps.again.err
    head, first, *_, last = sweeps.again.out.splitlines()
    columns = ["train.r1_gamma", "kimg", "kid", "fit_gain", "npg", "diversity", "rollbacks", "img_per_sec"]
    assert head.split() == columns
    assert first.split()[0] == str(sweeps.rows[0]["values"]["train.r1_gamma"])
    assert last.endswith(f"--set train.r1_gamma={first.split()[0]}")


def test_a_longer_sweep_goes_on_from_where_it_ended(sweeps):
    """Two steps more each, from the checkpoints."""
    found = json.loads(sweeps.further.out)
    assert {row["kimg"] for row in found} == {0.064}
    folders = {Path(row["folder"]).parent for row in found}
    assert folders == {Path(row["folder"]).parent for row in sweeps.rows}
    assert {seen_images(folder) for folder in folders} == {64}


def test_a_combination_that_cannot_be_trained_here_is_a_row_with_the_reason(sweeps):
    """A device that is not there costs the others nothing, and is tried again by the same sweep."""
    missing = ("--over", 'train.device="cpu","cuda:7"', "--max-kimg", "0.032")
    for _ in range(2):
        told = sweeps.home.tell("sweep", *missing, "--json", overrides=LITTLE)
        good, bad = json.loads(told.out)
        assert (told.code, good["values"], bad["values"]) == (0, {"train.device": "cpu"}, {"train.device": "cuda:7"})
        assert "kid" in good["figures"]
        assert bad["note"].startswith("train.device must be one of auto, cpu")


def test_a_combination_that_diverges_is_a_row_with_the_reason(sweeps):
    """The other one is trained and measured all the same; its own run has failed, and it comes last."""
    told = sweeps.home.tell("sweep", *DIVERGES, "--json", overrides=LITTLE)
    good, bad = json.loads(told.out)
    assert (told.code, good["values"]) == (0, {"train.learning_rate": 0.0005})
    assert "kid" in good["figures"]
    assert (bad["values"], bad["figures"], bad["folder"]) == ({"train.learning_rate": 1e30}, {}, "")
    assert "is not finite" in bad["note"]
    tracking = sweeps.home.workspace(*LITTLE).tracking
    failed = tracking.client.search_runs([tracking.experiment_id], "attributes.status = 'FAILED'")
    assert [rate for run in failed if (rate := run.data.params.get("train.learning_rate"))] == ["1e+30"]
