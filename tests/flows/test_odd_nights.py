"""What happens around a night: weights that come again, people who go and come back, decisions in the middle of it."""

import dataclasses
import importlib
import json
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from personalgen.catalogue.read import users_without_live
from personalgen.catalogue.write import finish_night
from personalgen.errors import ConfigError
from personalgen.models import ModelOptions
from personalgen.steps import Embedded, Evaluated, Registered, Trained
from personalgen.steps.embed import _held_people_out, preferences, preferences_for, start_folder
from personalgen.steps.generate import Generated
from personalgen.steps.models import promote_version
from personalgen.steps.night import Night, from_json, stage_result
from personalgen.steps.promote import Decided, gate
from personalgen.steps.release import _release

pytestmark = pytest.mark.timeout(110, func_only=True)  # the nights run once, while the first test is set up

AS_OF = datetime.fromtimestamp(1_700_000_000, UTC)
LIVE = "select user_id, live_asset_id from v_users where live_asset_id is not null"
OUT, GONE, UNREADABLE = "sim0-00010", "sim0-00011", "sim0-00012"


def change(home, *statements):
    """Change the home's history database."""
    with closing(sqlite3.connect(home.world / "history.db")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def live_users(home):
    """Return whom v_users shows with an image; v_assets must agree."""
    users = {row["user_id"] for row in home.ask(LIVE)}
    assert {row["user_id"] for row in home.ask("select user_id from v_assets where is_live")} == users
    return users


def newest(home):
    """Return the newest night that is done, by reference."""
    (row,) = home.ask("select night_key from night where status = 'done' order by night_id desc limit 1")
    return from_json(
        Night, json.loads((home.path / "data/nights" / row["night_key"][:16] / "prepare.json").read_text())
    )


@pytest.fixture(scope="module")
def nights(new_home, plain_nightly):
    """A home with a night that was held, and one of the same data under a milder gate."""
    home = new_home(own_world=True)
    told = [plain_nightly(home.workspace(*overrides)) for overrides in (["gate.min_gain=5"], [])]
    asked = ("select version from model_version", "select action from model_promotion", "select * from v_runs",
             "select night_id from v_assets", "select user_id from v_users where not opted_out")  # fmt: skip
    left = [[tuple(row.values()) for row in home.ask(each)] for each in asked[:2]] + [
        home.ask(each) for each in asked[2:]
    ]
    return SimpleNamespace(home=home, told=told, left=left, aliases=home.workspace().registry.aliases())


@pytest.fixture
def home(nights):
    return nights.home


# --- the same weights again -------------------------------------------------------------------------------------------


def test_weights_that_come_again_are_the_version_that_they_were(nights):
    """Two nights that train to the same weights share a version: held by the first, promoted by the second."""
    versions, actions, *_ = nights.left
    assert versions == [(1,)]
    assert [told["live_version"] for told in nights.told] == [0, 1]
    assert nights.aliases == {"champion": 1}
    assert actions == [("hold",), ("promote",)]


def test_a_run_counts_the_images_that_it_made(nights):
    """v_runs agrees with the rows of v_assets: none in the held night, one a user in the other."""
    runs, assets, users = nights.left[2:]
    assert {row["night_id"]: row["n_images"] for row in runs} == {1: 0, 2: len(users)}
    assert Counter(row["night_id"] for row in assets) == {2: len(users)}


# --- people who go and come back --------------------------------------------------------------------------------------


def test_who_leaves_in_any_way_is_hidden_and_comes_back(home):
    """Opted out, gone from the table, or with a flag nobody can read: no image is live; undone, it is live again."""
    before = live_users(home)
    assert {OUT, GONE, UNREADABLE} <= before
    (row,) = [tuple(row.values()) for row in ask_world(home, f"select * from users where user_id = '{GONE}'")]
    leave = (
        f"update users set opted_out = 1 where user_id = '{OUT}'",
        f"update users set opted_out = 'perhaps' where user_id = '{UNREADABLE}'",
        f"delete from users where user_id = '{GONE}'",
    )
    back = (
        f"update users set opted_out = 0 where user_id in ('{OUT}', '{UNREADABLE}')",
        f"insert into users values('{row[0]}', '{row[1]}', {row[2]}, {row[3]})",
    )
    for statements, expected in (
        (leave, before - {OUT, GONE, UNREADABLE}),
        (back, before),
        (leave, None),
        (back, before),
    ):
        change(home, *statements)
        assert home.tell("prepare").code == 0
        assert live_users(home) == (before - {OUT, GONE, UNREADABLE} if expected is None else expected)


def ask_world(home, query):
    """Return rows of the history database as dicts."""
    with closing(sqlite3.connect(home.world / "history.db")) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query)]


def test_an_export_again_drops_who_left(home, tmp_path):
    """Files of the former export that the new table does not name are removed; what is not ours stays."""
    out = tmp_path / "out"
    assert home.tell("assets", "export", str(out)).code == 0
    (out / "images" / "readme.txt").write_text("mine")
    change(home, f"update users set opted_out = 1 where user_id = '{OUT}'")
    assert home.tell("prepare").code == 0
    assert home.tell("assets", "export", str(out)).code == 0
    named = {path.removeprefix("images/") for path in pq.read_table(out / "assets.parquet")["path"].to_pylist()}
    assert {path.name for path in (out / "images").iterdir()} == named | {"readme.txt"}
    change(home, f"update users set opted_out = 0 where user_id = '{OUT}'")
    assert home.tell("prepare").code == 0


# --- the order of nights ----------------------------------------------------------------------------------------------


def test_an_earlier_night_is_refused_after_a_later_one(home):
    """It would give people back the preferences that they had then; nothing of it reaches the catalogue."""
    before = home.ask("select * from night")
    told = home.tell("prepare", "--as-of", "2023-11-01")
    assert told.code == 2
    assert "2023-11-01" in told.err
    assert "is done in" in told.err
    assert home.ask("select * from night") == before


def test_without_as_of_a_night_never_ends_before_the_last_one(home):
    """The newest events were deleted: tonight reads up to where the last night read."""
    gone = ask_world(home, "select * from interactions where timestamp > 1699900000 and timestamp < 1700000000")
    assert gone
    change(home, "delete from interactions where timestamp > 1699900000 and timestamp < 1700000000")
    assert json.loads(home.tell("prepare", "--json").out)["as_of"] == newest(home).as_of
    for row in gone:
        change(home, f"insert into interactions values{tuple(row.values())}")


# --- decisions in the middle ------------------------------------------------------------------------------------------


def test_the_gate_holds_where_somebody_moved_what_is_live(home):
    """The evaluation measured another champion than the one that is live by now."""
    evaluated = stage_result(newest(home), Evaluated)
    verdict = gate(home.workspace(), dataclasses.replace(evaluated, champion_id=99))
    assert not verdict.promote
    assert "moved" in verdict.reasons[0]


def test_a_promotion_is_not_applied_where_somebody_moved_what_is_live(home):
    """The decision is written as a hold that says so, and what is live stays."""
    night = newest(home)
    decided = Decided(promote=True, reasons=("good",), model_version_id=1, version=5, live_before=7)
    registered = dataclasses.replace(stage_result(night, Registered), version=5)
    tags = {}
    run = SimpleNamespace(set_tags=tags.update)
    released = _release(home.workspace(), night, registered, decided, stage_result(night, Generated), run)
    assert (released.live_version, released.moved) == (1, False)
    assert (
        "not applied" in home.ask("select reason from model_promotion order by promotion_id desc limit 1")[0]["reason"]
    )


def test_a_basis_that_came_into_use_later_is_embedded_when_it_is_asked_for(home, monkeypatch):
    """A rollback during a night: vectors in the basis of the model that is live now are made from the same tables."""
    night, workspace = newest(home), home.workspace()
    embedded, trained = stage_result(night, Embedded), stage_result(night, Trained)
    there = preferences(night, embedded, embedded.train_basis)
    folder = embedded.folder(night, embedded.train_basis)
    hidden = folder.with_name("hidden")
    folder.rename(hidden)
    model = workspace.model_folder(1)
    again = preferences_for(workspace, night, embedded, model)
    assert again.user_ids == there.user_ids
    assert np.array_equal(again.vectors, there.vectors)
    assert trained.basis_version == embedded.train_basis


@pytest.mark.parametrize("held_out", [True, False])
def test_a_champion_that_saw_the_judges_people_is_no_start(home, monkeypatch, held_out):
    """It was trained on everybody, and now some are to be held out: refused, for they would judge what they taught."""
    module = importlib.import_module("personalgen.steps.embed")
    facts = {"users_held_out": "judge and test split" if held_out else "none"}
    monkeypatch.setattr(module, "load_card", lambda folder: SimpleNamespace(facts=facts, options=ModelOptions(z_dim=3)))
    assert _held_people_out(home.path) is held_out
    if held_out:
        assert start_folder(home.workspace()) is None  # options differ: no start, but no error
        return
    with pytest.raises(ConfigError, match=r"hold_out_users.*Nothing was embedded"):
        start_folder(home.workspace())


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_nobody_sees_a_gap_while_the_live_model_moves_to_another_operating_point(home, monkeypatch):
    """Killed before the release, everybody sees what they saw; then all see the new images at once."""
    before = {row["user_id"]: row["live_asset_id"] for row in home.ask(LIVE)}
    workspace = home.workspace("generation.truncation_psi=0.75")
    with monkeypatch.context() as patch:
        module = importlib.import_module("personalgen.steps.models")

        def killed(*_args, **_options):
            raise KeyboardInterrupt

        patch.setattr(module.decisions, "release", killed)
        with pytest.raises(KeyboardInterrupt):
            promote_version(workspace, 1, reason="safer", actor="tester")
    assert {row["user_id"]: row["live_asset_id"] for row in home.ask(LIVE)} == before
    live_users(home)
    moved = promote_version(workspace, 1, reason="safer", actor="tester")
    after = {row["user_id"]: row["live_asset_id"] for row in home.ask(LIVE)}
    assert (moved.live_version, moved.n_without) == (1, 0)
    assert after.keys() == before.keys()
    assert not set(after.values()) & set(before.values())
    live_users(home)


def test_more_variants_are_drawn_for_everybody(home):
    """Raising the number of variants completes everybody's images, changed or not."""
    before = set(live_users(home))
    point = "generation.truncation_psi=0.5"
    promote_version(home.workspace(point, "generation.variants=2"), 1, reason="two each", actor="tester")
    counts = Counter(row["user_id"] for row in home.ask("select user_id from v_assets where is_live"))
    assert counts == dict.fromkeys(before, 2)


def test_who_opted_out_since_gets_no_image_by_hand(home):
    """A promotion draws for those who may get images now; who comes back is told of, and drawn by another one."""
    change(home, f"update users set opted_out = 1 where user_id = '{OUT}'")
    assert home.tell("prepare").code == 0
    workspace = home.workspace("generation.truncation_psi=0.25")
    promote_version(workspace, 1, reason="calmer", actor="tester")
    (row,) = home.ask("select operating_point_digest as digest from live_release")
    owners = f'select user_id from asset join "user" using (user_key) where operating_point_digest = {row["digest"]}'
    drawn = {row["user_id"] for row in home.ask(owners)}
    assert drawn == live_users(home)
    assert OUT not in drawn
    change(home, f"update users set opted_out = 0 where user_id = '{OUT}'")
    assert home.tell("prepare").code == 0
    assert live_users(home) == drawn
    assert users_without_live(workspace.engine) == 1
    assert promote_version(workspace, 1, reason="complete", actor="tester").n_without == 0
    assert live_users(home) == drawn | {OUT}


@pytest.mark.parametrize("command", [("promote", "1"), ("rollback",)])
def test_an_empty_reason_is_refused(home, command):
    """It is kept for ever."""
    told = home.tell("models", *command, "--reason", " ")
    assert (told.code, "reason is empty" in told.err) == (2, True)


# --- a source without a users table -----------------------------------------------------------------------------------


def test_a_done_night_again_says_nothing_of_people_who_came_later(new_home, monkeypatch):
    """Where the events say who there is, an earlier night run again takes nobody's image away."""
    home = new_home(own_world=True)
    module = importlib.import_module("personalgen.steps.prepare")
    source_of = module.source_of
    monkeypatch.setattr(module, "source_of", lambda workspace: dataclasses.replace(source_of(workspace), users=None))
    steps = importlib.import_module("personalgen.steps")
    early = AS_OF - timedelta(days=2)
    night = steps.prepare(home.workspace(), as_of=early)
    finish_night(home.workspace().engine, night.night_id, status="done", at=AS_OF)
    late = steps.prepare(home.workspace(), as_of=AS_OF)
    finish_night(home.workspace().engine, late.night_id, status="done", at=AS_OF)
    seconds = int(AS_OF.timestamp()) - 9
    change(home, f"insert into interactions values('late', 'shape-00001', {seconds}, 1, 'like')")
    steps.prepare(home.workspace(), as_of=AS_OF)
    listed = "select count(*) as n from v_users where listed and user_id = 'late'"
    assert home.ask(listed)[0]["n"] == 1
    assert steps.prepare(home.workspace(), as_of=early).key == night.key
    assert home.ask(listed)[0]["n"] == 1
