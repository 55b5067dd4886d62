"""Nights after the first: time passes in the simulated history, challengers are held or promoted, people step in.

The scenes build on each other in one home, in this order: held, promoted, rolled back, promoted by hand. Each is
recorded once, so that the tests may run in any order.
"""

import dataclasses
import importlib
import json
import shutil
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from personalgen.registry.promotion import Verdict
from personalgen.steps.models import roll_back
from personalgen.steps.prepare import prepare
from personalgen.worlds import ShapesWorld, add_days

pytestmark = pytest.mark.timeout(110, func_only=True)  # the nights themselves run once, while a test is set up

MIN_SHIFT = 0.15
HELD = ("gate.min_users=1000000", f"generation.min_shift={MIN_SHIFT}", "generation.truncation_psi=0.9")
CURRENT = """select user_id, asset_id, previous_asset_id, condition, changed_night_id, generator_digest, version
             from user_current join "user" using (user_key) join model_version using (generator_digest)"""
NEW, NEW_AND_SILENT, LEAVER = "new-00001", "new-00002", "sim0-00004"


@dataclasses.dataclass(frozen=True)
class Scene:
    """What was there before and after something happened, and what it told."""

    told: dict
    before: dict
    after: dict
    seconds: float = 0.0


def look(home):
    """Return what the scenes are judged by."""
    live = home.ask("select version from live_release join model_version using (model_version_id)")
    return {
        "current": {(row["version"], row["user_id"]): row for row in home.ask(CURRENT)},
        "assets": {row["asset_id"]: row for row in home.ask("select * from v_assets")},
        "users": {row["user_id"]: row for row in home.ask("select * from v_users")},
        "decisions": home.ask("select action, actor, reason, to_model_version_id as version from model_promotion"),
        "live": live[0]["version"],
        "aliases": home.workspace().registry.aliases(),
        "shards": {row["path"] for row in home.ask("select path from shard")},
    }


def let_a_day_pass(home):
    """Add simulated events of about a third of the users."""
    database = home.world / "history.db"
    return add_days(ShapesWorld(128), database, home.workspace().settings.world.history, active_share=0.3)


@pytest.fixture(scope="module")
def held(first_night, plain_nightly):
    """A night with new events, two new users and one who left; its challenger is held."""
    home = first_night.home
    let_a_day_pass(home)
    with closing(sqlite3.connect(home.world / "history.db")) as connection, connection:
        connection.executemany("insert into users values(?, 'circle', 1700000000, 0)", [(NEW,), (NEW_AND_SILENT,)])
        events = [(NEW, f"shape-{k:05d}", 1_700_000_000 + k, 1, "like") for k in range(20, 30)]
        connection.executemany("insert into interactions values(?, ?, ?, ?, ?)", events)
        connection.execute("update users set opted_out = 1 where user_id = ?", (LEAVER,))
    before = look(home)
    return Scene(plain_nightly(home.workspace(*HELD)), before, look(home))


@pytest.fixture(scope="module")
def promoted(first_night, held, plain_nightly):
    """A further night with new events; its challenger is promoted."""
    home = first_night.home
    let_a_day_pass(home)
    before = look(home)
    with pytest.MonkeyPatch.context() as patch:
        verdict = Verdict(promote=True, reasons=("a test said so",))
        patch.setattr(importlib.import_module("personalgen.steps.promote"), "gate", lambda *_: verdict)
        told = plain_nightly(home.workspace())
    return Scene(told, before, look(home))


@pytest.fixture(scope="module")
def rolled_back(first_night, promoted):
    """The way back to the release before."""
    workspace = first_night.home.workspace()
    assert workspace.registry.aliases()  # opened: what is timed is the rollback
    began = time.perf_counter()
    moved = roll_back(workspace, None, reason="users complained", actor="tester")
    seconds = time.perf_counter() - began
    return Scene(dataclasses.asdict(moved), promoted.after, look(first_night.home), seconds)


@pytest.fixture(scope="module")
def by_hand(first_night, rolled_back):
    """The held night's version made live by hand, twice."""
    home = first_night.home
    told = [home.tell("models", "promote", "2", "--reason", "looks better") for _ in range(2)]
    return Scene({"first": told[0], "second": told[1]}, rolled_back.after, look(home))


def folder_of(home, night_id):
    """Return a night's folder."""
    (row,) = home.ask(f"select night_key from night where night_id = {night_id}")
    return home.path / "data" / "nights" / row["night_key"][:16]


def shifts(home, scene, night_id):
    """Return user_id -> cosine distance of tonight's vector from the current condition, by numpy alone; new: None."""
    (basis,) = home.ask("select basis_version from model_version where version = 1")
    path = folder_of(home, night_id) / "embed" / basis["basis_version"][:12] / "preferences.parquet"
    found = {}
    for user_id, vector in pd.read_parquet(path)[["user_id", "vector"]].itertuples(index=False):
        row = scene.before["current"].get((1, user_id))
        tonight = np.asarray(vector, dtype=np.float64)
        stored = None if row is None else np.frombuffer(row["condition"], "<f4").astype(np.float64)
        scale = None if stored is None else np.sqrt((stored @ stored) * (tonight @ tonight))
        found[user_id] = None if stored is None else 1 - stored @ tonight / scale
    return found


# --- held -------------------------------------------------------------------------------------------------------------


def test_a_held_night_makes_images_for_new_and_changed_users_only(first_night, held):
    """Counts in the summary equal an independent computation of who is new, and who moved by more than min_shift."""
    moved = shifts(first_night.home, held, 2)
    new = {user for user, shift in moved.items() if shift is None}
    changed = {user for user, shift in moved.items() if shift is not None and shift > MIN_SHIFT}
    assert new == {NEW, NEW_AND_SILENT}
    assert 0 < len(changed) < len(moved) - len(new)
    told = [held.told[f"users_{kind}"] for kind in ("new", "changed", "unchanged")]
    assert told == [2, len(changed), len(moved) - 2 - len(changed)]
    assert held.told["images_made"] == 2 + len(changed)
    made = [row for key, row in held.after["assets"].items() if key not in held.before["assets"]]
    assert Counter(row["user_id"] for row in made) == dict.fromkeys(new | changed, 1)
    assert {row["model_version"] for row in made} == {1}


def test_the_plan_of_a_held_night_holds_the_same_users(first_night, held):
    """The night's plan lists exactly the users who got an image, with the counts of the summary."""
    (path,) = folder_of(first_night.home, 2).glob("plan-*.parquet")
    plan = pq.read_table(path)
    made = {row["user_id"] for key, row in held.after["assets"].items() if key not in held.before["assets"]}
    assert set(plan["user_id"].to_pylist()) == made
    counts = {
        f"users{name.decode()[1:]}": int(value) for name, value in plan.schema.metadata.items() if name[:2] == b"n_"
    }
    assert counts == {name: held.told[name] for name in counts}
    assert len(counts) == 3


def test_only_users_with_new_events_can_change(first_night, held):
    """Time alone moves nobody: whoever has no event since the first night has the very same vector."""
    with closing(sqlite3.connect(first_night.home.world / "history.db")) as connection:
        active = {
            user
            for (user,) in connection.execute(
                "select distinct user_id from interactions where timestamp between 1699990000 and 1800000000"
            )
        }
    still = [
        shift for user, shift in shifts(first_night.home, held, 2).items() if user not in {*active, NEW_AND_SILENT}
    ]
    assert len(still) > 10
    assert max(abs(shift) for shift in still) < 1e-9


def test_images_of_a_held_night_are_live_whatever_the_settings_say(first_night, held):
    """Another operating point in the settings waits for a promotion: tonight's images are drawn at the live one."""
    made = [row for key, row in held.after["assets"].items() if key not in held.before["assets"]]
    assert made
    assert all(row["is_live"] for row in made)
    points = {row["operating_point_digest"] for row in first_night.home.ask("select * from asset where night_id <= 2")}
    assert len(points) == 1


def test_unchanged_users_keep_their_asset(held):
    """A user who did not change has the same asset as before; of a changed one the old asset is the previous."""
    before, after = held.before["current"], held.after["current"]
    kept = {key for key in before if after[key]["asset_id"] == before[key]["asset_id"]}
    changed = set(before) - kept
    assert len(changed) == held.told["users_changed"]
    assert len(kept) == held.told["users_unchanged"] + 1  # the one who left keeps a row that nobody sees
    assert all(after[key] == before[key] for key in kept)
    assert all(after[key]["previous_asset_id"] == before[key]["asset_id"] for key in changed)


def test_a_held_challenger_moves_nothing(held):
    """The live version stays, the decision is written as a hold, the new version is the challenger."""
    assert held.before["live"] == held.after["live"] == 1
    assert held.after["aliases"] == {"champion": 1, "challenger": 2}
    assert [row["action"] for row in held.after["decisions"]] == ["promote", "hold"]
    assert (held.told["promoted"], held.told["live_version"]) == (False, 1)


def test_the_held_night_compared_champion_and_challenger(held):
    """The second night measures both models, tonight."""
    assert held.told["before_is"] == "champion"
    assert held.told["kid_before"] is not None


def test_who_opts_out_sees_nothing_any_more(held):
    """After opting out a user has no live asset and gets no new one; their old row stays for the record."""
    assert held.before["users"][LEAVER]["live_asset_id"] is not None
    assert held.after["users"][LEAVER]["live_asset_id"] is None
    mine = {key: row for key, row in held.after["assets"].items() if row["user_id"] == LEAVER}
    assert set(mine) == {key for key, row in held.before["assets"].items() if row["user_id"] == LEAVER}
    assert {row["is_live"] for row in mine.values()} == {0}


def test_a_user_without_any_event_gets_an_image(held):
    """Who has no history yet gets a picture of the population's mean taste."""
    (mine,) = [row for row in held.after["assets"].values() if row["user_id"] == NEW_AND_SILENT]
    assert (mine["n_events"], json.loads(mine["top_events"])) == (0, [])


# --- promoted ---------------------------------------------------------------------------------------------------------


def test_a_promoting_night_makes_images_for_everybody(promoted):
    """Every user who did not opt out gets an image of the new model, changed or not."""
    made = [row for key, row in promoted.after["assets"].items() if key not in promoted.before["assets"]]
    users = {name for name, row in promoted.after["users"].items() if not row["opted_out"]}
    assert Counter(row["user_id"] for row in made) == dict.fromkeys(users, 1)
    assert {row["model_version"] for row in made} == {3}
    assert (promoted.told["images_made"], promoted.told["users_new"]) == (len(users), len(users))
    assert promoted.told["users_changed"] == promoted.told["users_unchanged"] == 0


def test_a_promotion_moves_what_everybody_sees(promoted):
    """Live model, champion alias and each user's live asset are the new version's; older assets stay in place."""
    after = promoted.after
    assert (after["live"], after["aliases"]["champion"]) == (3, 3)
    assert "challenger" not in after["aliases"]
    live = [row for row in after["assets"].values() if row["is_live"]]
    assert {row["model_version"] for row in live} == {3}
    assert len(live) == sum(not row["opted_out"] for row in after["users"].values())
    assert set(promoted.before["assets"]) < set(after["assets"])


def test_later_nights_start_from_the_champion(first_night, promoted):
    """The third night trained from the live model in its basis, so that vectors of both nights compare."""
    card = json.loads((first_night.home.path / find_folder(first_night.home, 3) / "card.json").read_text())
    (first,) = first_night.home.ask("select generator_sha256, basis_version from model_version where version = 1")
    assert card["facts"]["started_from_sha256"] == first["generator_sha256"]
    assert card["basis_version"] == first["basis_version"]


def find_folder(home, version):
    """Return a version's folder, relative to home."""
    return home.ask(f"select folder from model_version where version = {version}")[0]["folder"]


# --- the way back -----------------------------------------------------------------------------------------------------


def test_a_rollback_takes_less_than_a_second(rolled_back):
    """Going back moves a pointer: no image is made and no file written."""
    assert rolled_back.seconds < 1
    assert (rolled_back.told["live_version"], rolled_back.told["before"], rolled_back.told["n_assets"]) == (1, 3, 0)
    assert rolled_back.after["shards"] == rolled_back.before["shards"]
    assert set(rolled_back.after["assets"]) == set(rolled_back.before["assets"])


def test_a_rollback_shows_the_earlier_images_again(held, rolled_back):
    """Users see the very assets of the earlier model, and MLflow's alias follows."""
    assert (rolled_back.after["live"], rolled_back.after["aliases"]["champion"]) == (1, 1)
    seen = {name: row["live_asset_id"] for name, row in rolled_back.after["users"].items()}
    assert seen == {name: row["live_asset_id"] for name, row in held.after["users"].items()}


def test_a_rollback_is_written_down(rolled_back):
    """Who went back, and why, is a row of the history."""
    (row,) = [row for row in rolled_back.after["decisions"] if row["action"] == "rollback"]
    assert (row["actor"], row["reason"], row["version"]) == ("tester", "users complained", 1)


def test_a_night_again_does_not_undo_a_rollback(first_night, rolled_back, plain_nightly):
    """Running the promoting night once more is no second promotion."""
    home = first_night.home
    before = home.state()
    assert plain_nightly(home.workspace())["already_done"]
    assert home.state() == before


# --- people's promotions ----------------------------------------------------------------------------------------------


def test_a_promotion_by_hand_makes_what_is_missing(by_hand):
    """A version that was held has no images: everybody gets one before it goes live; a second time nothing is made."""
    made = [row for key, row in by_hand.after["assets"].items() if key not in by_hand.before["assets"]]
    users = {name for name, row in by_hand.after["users"].items() if not row["opted_out"]}
    assert Counter(row["user_id"] for row in made) == dict.fromkeys(users, 1)
    assert {row["model_version"] for row in made} == {2}
    assert (by_hand.told["first"].code, by_hand.told["second"].code) == (0, 0)
    assert f"{len(users)} images" in by_hand.told["first"].out
    assert "; 0 images" in by_hand.told["second"].out


def test_a_promotion_by_hand_moves_pointer_and_alias(by_hand):
    """The version is live with its reason, and the champion alias names it."""
    assert (by_hand.after["live"], by_hand.after["aliases"]["champion"]) == (2, 2)
    manual = [row for row in by_hand.after["decisions"] if row["action"] == "manual"]
    assert {(row["reason"], row["version"]) for row in manual} == {("looks better", 2)}


@pytest.mark.parametrize(
    "arguments",
    [("promote", "1"), ("promote", "99", "--reason", "x"), ("rollback",), ("rollback", "--to", "99", "--reason", "x")],
    ids=" ".join,
)
def test_a_decision_without_reason_or_version_is_refused(first_night, by_hand, arguments):
    """Without --reason, or for a version that is not there, nothing moves and the exit code is 2."""
    home = first_night.home
    before = home.state()
    assert home.tell("models", *arguments).code == 2
    assert home.state() == before


def test_the_start_of_a_night_repairs_the_alias(first_night, by_hand):
    """The catalogue is the truth: an alias that does not follow it is moved when the next night begins."""
    home = first_night.home
    home.workspace().registry.set_champion(1)
    prepare(home.workspace("train.seed=7"))
    assert home.workspace().registry.aliases()["champion"] == by_hand.after["live"] == 2


def test_images_stay_readable_after_everything(first_night, by_hand):
    """Every asset of every night is still where the catalogue says, with its digest."""
    from personalgen.steps.assets import export_assets

    out = first_night.home.path / "everything"
    assert export_assets(first_night.home.workspace(), out, live_only=False) == len(by_hand.after["assets"])
    shutil.rmtree(out)
    assert all((first_night.home.path / "data" / Path(path)).is_file() for path in by_hand.after["shards"])
