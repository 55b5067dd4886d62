"""The first night of an empty home, by the command `nightly`: what must be there, and what a second run must not do."""

import datetime as dt
import hashlib
import importlib
import json
import math
import pickle
import sqlite3
import tarfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from prefect.states import Failed

from flows.nightly import may_pass
from personalgen.conditions import Condition
from personalgen.errors import CatalogueError, SourceError
from personalgen.models import load_generator
from personalgen.registry.promotion import decide
from personalgen.steps import Embedded, Evaluated, Trained
from personalgen.steps.data import NightData
from personalgen.steps.embed import preferences
from personalgen.steps.night import STAGES, Night, from_json, stage_result
from personalgen.steps.promote import figures
from personalgen.steps.train import training_pairs
from personalgen.tables import load_prepared, split_of

pytestmark = pytest.mark.timeout(110, func_only=True)  # the night itself runs once, while the first test is set up

LATER_SHARE = 0.3
N_USERS = 120
AS_OF = dt.datetime.fromtimestamp(1_700_000_000, dt.UTC)


@pytest.fixture(scope="module")
def home(first_night):
    return first_night.home


@pytest.fixture(scope="module")
def night(first_night):
    """The night as its stages hand it on."""
    (path,) = [path for path in first_night.state.files if path.endswith("/prepare.json") and "/nights/" in path]
    return from_json(Night, json.loads((first_night.home.path / path).read_text()))


@pytest.fixture(scope="module")
def runs(home, night):
    """Return the first night's parent run and its stages' runs by name."""
    client, tracking = home.workspace().tracking.client, home.workspace().tracking
    found = client.search_runs([tracking.experiment_id], f"tags.`mlflow.parentRunId` = '{night.parent_run_id}'")
    return client, client.get_run(night.parent_run_id), {run.data.tags["stage"]: run for run in found}


@pytest.fixture(scope="module")
def in_history(tiny_world):
    """Return a function that asks the simulated history as the first night found it."""

    def ask(statement):
        with closing(sqlite3.connect(tiny_world / "history.db")) as connection:
            return connection.execute(statement).fetchall()

    return ask


@pytest.fixture(scope="module")
def own_events(night, in_history):
    """Return (user_id, usable events) of everybody who had not opted out."""
    events = pd.read_parquet(Path(night.prepared) / "interactions.parquet")
    out = {name for (name,) in in_history("select user_id from users where opted_out")}
    return list(events[~events["user_id"].isin(out)].groupby("user_id"))


def last_earlier(own):
    """Return the time of a user's last event that training may know."""
    times = sorted(own["timestamp"])
    return times[len(times) - math.floor(len(times) * LATER_SHARE) - 1]


def artifacts(client, run, folder=None):
    """Return the paths of a run's artifacts."""
    return [each.path for each in client.list_artifacts(run.info.run_id, folder)]


# --- what users and analysts get --------------------------------------------------------------------------------------


def test_one_command_makes_a_champion(first_night):
    """From an empty home, `nightly` ends with exit code 0 and a live model that passed the absolute thresholds."""
    assert (first_night.told.code, first_night.summary["live_version"], first_night.summary["promoted"]) == (0, 1, True)
    assert "absolute thresholds" in first_night.summary["gate"]
    (promotion,) = first_night.state.catalogue["model_promotion"]
    (live,) = first_night.state.catalogue["live_release"]
    assert (promotion["action"], promotion["actor"]) == ("promote", "gate")
    assert live["model_version_id"] == promotion["to_model_version_id"]


def test_everybody_but_those_who_opted_out_gets_one_image(first_night, in_history):
    """There is one asset for every user of the source who did not opt out, and none for the others."""
    users = {row["user_key"]: row["user_id"] for row in first_night.state.catalogue["user"]}
    made = Counter(users[row["user_key"]] for row in first_night.state.catalogue["asset"])
    opted_out = {row["user_id"] for row in first_night.state.catalogue["user"] if row["opted_out"]}
    assert len(opted_out) == N_USERS - first_night.summary["images_made"] > 0
    assert made == dict.fromkeys(set(users.values()) - opted_out, 1)
    assert set(users.values()) == {name for (name,) in in_history("select user_id from users")}
    assert first_night.summary["users_new"] == len(made)


def test_shards_are_plain_tars_of_pictures(first_night, home):
    """`tarfile` reads every shard; each member is a picture of the model's size with the catalogued bytes."""
    assets = {
        (row["path"], row["member"]): row
        for row in home.ask("select asset.*, path from asset join shard using (shard_id) where shard.night_id = 1")
    }
    for path in {path for path, _ in assets}:
        assert hashlib.sha256((home.path / "data" / path).read_bytes()).hexdigest() in first_night.state.files.values()
        with tarfile.open(home.path / "data" / path) as tar:
            for member in tar.getmembers():
                row = assets.pop((path, member.name))
                assert (member.offset_data, member.size) == (row["shard_offset"], row["byte_length"])
                with Image.open(tar.extractfile(member)) as picture:
                    assert (picture.size, picture.mode) == ((16, 16), "RGB")
    assert assets == {}


def test_every_column_of_v_assets_is_filled(home):
    """No column of the analysts' view is empty, in any row: the judge scored every image of the night."""
    rows = home.ask("select * from v_assets where night_id = 1")
    assert {"asset_id", "user_id", "path", "model_version", "seed", "score"} < set(rows[0])
    assert {name for row in rows for name, value in row.items() if value is None} == set()
    assert {row["day"] for row in rows} == {"2023-11-14"}
    assert all("#" in row["path"] for row in rows)


def test_an_image_names_the_events_behind_it(home, in_history):
    """The top events of an asset are events of that very user in the source, at the time they happened."""
    history = set(in_history("select user_id, item_id, timestamp from interactions"))
    rows = home.ask("select user_id, n_events, top_events from v_assets where night_id = 1")
    assert {len(json.loads(row["top_events"])) > 0 for row in rows} == {True}
    assert all(
        (row["user_id"], event["item_id"], event["timestamp"]) in history
        for row in rows
        for event in json.loads(row["top_events"])
    )


def test_bad_rows_are_counted_and_do_not_stop_the_night(first_night, in_history, bad_rows):
    """Duplicates, future events, unknown items, a cut picture and one of 20,000 x 20,000 pixels are quarantined."""
    found = {(row["source_table"], row["reason"]): row["n_rows"] for row in first_night.state.catalogue["quarantine"]}
    without_picture = found.pop(("interactions", "item_quarantined"))
    assert found == bad_rows
    assert without_picture == len(
        in_history(
            "select 1 from interactions join users using (user_id) where item_id in ('shape-00010', 'shape-00011') "
            "and not opted_out and timestamp < 1700000000",
        )
    )
    assert first_night.summary["rows_quarantined"] == sum(found.values()) + without_picture


def test_quarantined_rows_name_their_reason(first_night, night):
    """The quarantine's Parquet file holds one row per refused one, with its position and what was found."""
    rows = load_prepared(night.prepared).quarantine
    assert len(rows) == first_night.summary["rows_quarantined"]
    assert rows[["table", "row", "reason", "detail"]].notna().all(axis=None)
    (huge,) = rows[rows["reason"] == "image_too_large"]["detail"]
    assert "400000000 pixels" in huge


def test_the_night_ends_where_plausible_events_end(first_night, night):
    """Without --as-of a night reads up to its newest event that is not in the future."""
    assert dt.timedelta(0) <= AS_OF - dt.datetime.fromisoformat(night.as_of) < dt.timedelta(days=1)
    assert first_night.summary["events_after_as_of"] == 0


def test_events_that_are_not_read_are_counted(first_night, tiny_world):
    """Of people who opted out, and of those the users table does not list, of whom there are none."""
    with closing(sqlite3.connect(tiny_world / "history.db")) as connection:
        query = "select count(*) from interactions join users using (user_id) where opted_out and timestamp < ?"
        (opted_out,) = connection.execute(query, (AS_OF.timestamp(),)).fetchone()
    assert (first_night.summary["events_opted_out"], first_night.summary["events_unlisted"]) == (opted_out, 0)
    assert opted_out > 0


# --- what MLflow holds ------------------------------------------------------------------------------------------------


def test_a_night_is_one_parent_run_with_a_child_per_stage(runs, night):
    """The parent run carries the night's key; each stage has one finished child run."""
    _, parent, stages = runs
    assert sorted(stages) == sorted(STAGES)
    assert parent.data.tags["night_key"] == night.key
    assert {run.info.status for run in (parent, *stages.values())} == {"FINISHED"}


def test_the_parent_run_holds_resolved_settings_and_the_datas_digest(runs, night, home):
    """Settings are there as parameters and as a file, the history's digest as a data set of the run."""
    client, parent, _ = runs
    assert parent.data.params["train.max_kimg"] == "0.064"
    assert parent.data.params["world.history.n_users"] == str(N_USERS)
    assert "settings.json" in artifacts(client, parent)
    (used,) = parent.inputs.dataset_inputs
    (known,) = home.ask("select source_digest from night where night_id = 1")
    assert used.dataset.digest == known["source_digest"] == load_prepared(night.prepared).tables.source_digest
    assert (night.path / "settings.json").is_file()


def test_training_is_logged_over_time(runs):
    """The training run has losses at every snapshot, its data's digest, and sample grids from latents that stay."""
    client, _, stages = runs
    run = stages["train"]
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "loss_d")]
    assert steps == [32, 64]
    assert all(math.isfinite(run.data.metrics[name]) for name in ("loss_d", "loss_g", "r1_plus_r2", "diversity"))
    assert "img_per_sec" not in run.data.metrics  # four steps are too few to tell
    assert [each.dataset.name for each in run.inputs.dataset_inputs] == ["training pairs"]
    assert sum(path.endswith(".png") for path in artifacts(client, run, "images")) == len(steps)


def test_the_evaluation_is_logged_with_its_controls(runs):
    """KID stands beside its floor, the fit beside that of shuffled users."""
    metrics = runs[2]["evaluate"].data.metrics
    assert {f"challenger_{name}" for name in ("kid", "kid_floor", "fit_generated", "fit_shuffled", "fit_gain")} <= {
        *metrics
    }


def test_the_report_is_in_its_run(runs):
    """The report's run holds the page and the contact sheet."""
    client, _, stages = runs
    assert "report.html" in artifacts(client, stages["report"])
    assert any("contact_sheet" in path for path in artifacts(client, stages["report"], "images"))


def test_the_champion_alias_is_set_and_nobody_is_challenger(first_night):
    """The registry holds one version, with the alias champion and no other."""
    aliases = first_night.state.tracking["registered_model_aliases"]
    assert [(row["name"], row["alias"], row["version"]) for row in aliases] == [("personalgen-gan", "champion", 1)]
    assert len(first_night.state.tracking["model_versions"]) == 1


def test_the_registered_model_loads_without_pickle(home, night, monkeypatch):
    """MLflow's pt2 export loads while unpickling is refused, and draws what the pipeline's weights do."""

    def refuse(*_arguments, **_options):
        raise AssertionError("something was unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    exported = home.workspace().registry.load_pt2(1)
    generator, _ = load_generator(Path(stage_result(night, Trained).folder))
    z, vectors = torch.randn(3, generator.z_dim), torch.randn(3, 24)
    with torch.inference_mode():
        for present in (torch.ones(3, dtype=torch.bool), torch.tensor([True, False, False])):
            drawn = generator(z, Condition.vector("preference", vectors, present)).clamp(-1, 1)
            assert torch.allclose(exported(z, vectors, present), drawn, atol=1e-3)
    kept = [path for path in (home.path / "data" / "mlartifacts").rglob("*") if path.suffix in {".pkl", ".pth", ".pt"}]
    assert kept == []


# --- what lies in the home --------------------------------------------------------------------------------------------


def test_report_and_sheet_are_written(first_night):
    """The page and the contact sheet are where the summary says."""
    html = Path(first_night.summary["report"]).read_text(encoding="utf-8")
    assert "<html" in html
    with Image.open(first_night.summary["sheet"]) as sheet:
        assert min(sheet.size) > 8 * 16


def test_simulated_data_is_marked_and_its_licence_is_its_own(first_night):
    """The report of a simulated world says so, with the licence of that world and of no other."""
    html = Path(first_night.summary["report"]).read_text(encoding="utf-8")
    assert "Simulated data" in html
    assert "Apache-2.0" in html
    assert "OpenMoji" not in html


def test_the_tracking_store_is_in_home(home):
    """mlflow.db stands in home, the catalogue below data/."""
    assert (home.path / "mlflow.db").is_file()
    assert (home.path / "data" / "catalogue.db").is_file() == home.catalogue.is_sqlite


def test_nothing_half_written_is_left(home):
    """No temporary file or hidden working folder outlives a night."""
    assert [path for path in home.path.rglob("*") if path.name.endswith(".tmp") or ".prepare-" in path.name] == []


# --- the same night again ---------------------------------------------------------------------------------------------


def test_the_same_night_again_says_so(first_night):
    """The second run ends at once with the first one's figures and `already_done`."""
    again = json.loads(first_night.told_again.out)
    assert (first_night.told_again.code, again.pop("already_done")) == (0, True)
    assert again == {name: value for name, value in first_night.summary.items() if name != "already_done"}


@pytest.mark.parametrize("store", ["catalogue", "tracking", "files"])
def test_the_same_night_again_changes_nothing(first_night, store):
    """No row of catalogue or tracking store and no byte of a file is added, changed or removed."""
    assert getattr(first_night.state, store)
    assert getattr(first_night.state_again, store) == getattr(first_night.state, store)


# --- what was held out ------------------------------------------------------------------------------------------------


def test_training_never_sees_held_out_people_items_or_later_events(home, night, own_events):
    """The pairs are exactly the earlier likes of training items by training users, by a reading of its own."""
    workspace, prepared = home.workspace(), load_prepared(night.prepared)
    embedded = stage_result(night, Embedded)
    data = NightData.of(workspace, night)
    pairs = training_pairs(workspace, data, embedded.folder(night, embedded.train_basis))
    expected = Counter()
    for user_id, own in own_events:
        if split_of(user_id, "user") != "train":
            continue
        kept = own[(own["timestamp"] <= last_earlier(own)) & (own["weight"] > 0)]
        expected.update(item for item in kept["item_id"] if split_of(item) == "train")
    item_of = {picture.tobytes(): item for picture, item in zip(prepared.images, prepared.item_ids, strict=True)}
    assert len(item_of) == len(prepared.item_ids)
    pictures = np.ascontiguousarray(pairs.images.numpy().transpose(0, 2, 3, 1))
    assert Counter(item_of[pictures[k].tobytes()] for k in pairs.image_of_pair.tolist()) == expected


def test_the_card_names_every_held_out_item(home, night):
    """The model card lists all judge and test items of the catalogue, and no training item."""
    _, card = load_generator(Path(stage_result(night, Trained).folder))
    ids = {row["item_id"] for row in home.ask("select item_id from item")}
    assert set(card.facts["items_held_out"]) == {item for item in ids if split_of(item) != "train"}
    assert card.facts["later_share_held_out"] == LATER_SHARE


def test_held_back_vectors_know_no_later_event(night, own_events):
    """What an evaluation may know of a user names only earlier events on training items."""
    embedded = stage_result(night, Embedded)
    table = preferences(night, embedded, embedded.train_basis, held_back=True)
    cut = {user_id: last_earlier(own) for user_id, own in own_events}
    named = [(user, event) for user, events in zip(table.user_ids, table.top_events, strict=True) for event in events]
    assert named
    assert all(split_of(event["item_id"]) == "train" and event["timestamp"] <= cut[user] for user, event in named)


# --- the flow ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "tried_again"), [(SourceError("gone"), False), (CatalogueError("locked"), True)])
def test_only_what_may_pass_is_tried_again(error, tried_again):
    """A task does not wait and retry on what the caller must mend."""
    assert may_pass(None, None, Failed(data=error)) is tried_again


def test_a_source_that_must_be_mended_fails_at_once(first_night):
    """`nightly` on a wrong column ends in seconds with exit code 2 and the same line as `prepare`; nothing changes."""
    before, began = first_night.home.state(), time.monotonic()
    told = first_night.home.tell("nightly", overrides=["source.columns.interactions.user_id=who"])
    assert time.monotonic() - began < 30  # the second try alone would come after 35
    assert told.code == 2
    assert told.err.splitlines()[-1].startswith("personalgen: 'interactions' (interactions) in sqlite:///")
    assert first_night.home.state() == before


def test_a_scheduled_night_takes_its_scheduled_time(monkeypatch):
    """as_of of a deployment's run is when it was due; of a run that somebody started, nothing."""
    due = dt.datetime(2026, 9, 21, 3, tzinfo=dt.UTC)
    flow_run = SimpleNamespace(scheduled_start_time=due)
    module = importlib.import_module("flows.nightly")
    for deployment, expected in (("an id", due), (None, None)):
        runtime = SimpleNamespace(flow_run=flow_run, deployment=SimpleNamespace(id=deployment))
        monkeypatch.setattr(module, "runtime", runtime)
        assert module.scheduled_time() == expected


def test_the_gate_saw_tonights_figures(first_night, night, home):
    """The verdict in the summary is the gate's on the stored evaluation."""
    verdict = decide(figures(stage_result(night, Evaluated).challenger), None, None, home.workspace().settings.gate)
    assert (verdict.promote, "; ".join(verdict.reasons)) == (
        first_night.summary["promoted"],
        first_night.summary["gate"],
    )


def test_only_people_whom_training_never_saw_are_evaluated(home, night):
    """The evaluated users are of the judge and test split, and the card counts how many were held out."""
    data = NightData.of(home.workspace(), night)
    judged = {user for user, asked in zip(data.history.user_ids, data.judged_users, strict=True) if asked}
    assert judged == {user for user in data.history.user_ids if split_of(user, "user") != "train"}
    assert 8 <= stage_result(night, Evaluated).challenger["n_users"] <= len(judged)
    _, card = load_generator(Path(stage_result(night, Trained).folder))
    assert card.facts["n_users_held_out"] == len(judged)
