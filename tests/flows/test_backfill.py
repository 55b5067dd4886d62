"""Past days are drawn as they were, and nothing moves that users see: three nights, then a look back at each of them.

The nights and the backfill run once; the second day's challenger is held, the third night promotes its own.
"""

import importlib
import itertools
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from flows.backfill import backfill
from flows.nightly import nightly
from personalgen.catalogue import read
from personalgen.catalogue import shards as catalogued
from personalgen.errors import ConfigError, NotFoundError
from personalgen.generation.plan import condition_digest
from personalgen.registry.promotion import Verdict
from personalgen.steps import days_to_backfill, forget_people
from personalgen.steps.past_days import instant_of
from personalgen.worlds import ShapesWorld, add_days

pytestmark = pytest.mark.timeout(110, func_only=True)  # the nights themselves run once, while a test is set up

FIRST, AT = date(2023, 11, 14), time(23, 13, 20)  # where the simulated history ends: nothing comes late
UTC_AT = time(22, 13, 20)
DAYS = [FIRST + timedelta(days=k) for k in range(3)]
RATED_AT = datetime.combine(FIRST, time(23), tzinfo=UTC)
"""After the first night's instant and before the second's."""
ADDED = {"asset", "daily_stat", "night", "quarantine", "shard", "sqlite_sequence"}
"""Tables that a backfill writes to."""
ZONE = "store.time_zone=Europe/Berlin"


def sql(home, statement, *values):
    """Change the source."""
    with closing(sqlite3.connect(home.world / "history.db")) as connection, connection:
        connection.execute(statement, values)


def look(home):
    """Return all that may not move, and all files of what is known."""
    state = home.state()
    files = {path: digest for path, digest in state.files.items() if path.startswith(("data/state", "data/models"))}
    kept = {name: rows for name, rows in state.catalogue.items() if name not in ADDED and "sqlite_stat" not in name}
    workspace = home.workspace(ZONE)
    return SimpleNamespace(
        catalogue=kept,
        files=files,
        aliases=workspace.registry.aliases(),
        newest=read.newest_as_of(workspace.engine),
        versions=home.ask("select count(*) as n from model_version"),
    )


def rate(home, file):
    """Let a dozen people rate their own pictures."""
    own = home.ask('select asset_id, user_id from asset join "user" using (user_key) order by asset_id limit 12')
    rows = (f"{one['asset_id']},{(-1) ** k},{one['user_id']},{RATED_AT.isoformat()}" for k, one in enumerate(own))
    file.write_text("\n".join(["asset_id,rating,rater,at", *rows]))
    told = home.tell("assets", "rate", "--file", str(file))
    assert told.out == "12 ratings read, 12 new or changed\n", told.err


@pytest.fixture(scope="module")
def home(new_home, plainly, tmp_path_factory):
    """A home after three nights, and a fourth day's events; some people rated what the first night drew for them."""
    home = new_home(own_world=True)
    for day in DAYS:
        workspace = home.workspace(ZONE, "gate.min_users=1000000" if day == DAYS[1] else "gate.min_users=2")
        with pytest.MonkeyPatch.context() as patch:
            if day == DAYS[2]:
                module = importlib.import_module("personalgen.steps.promote")
                patch.setattr(module, "gate", lambda *_: Verdict(promote=True, reasons=("a test said so",)))
            plainly(nightly, workspace, datetime.combine(day, UTC_AT, tzinfo=UTC))
        if day == DAYS[0]:
            rate(home, tmp_path_factory.mktemp("ratings") / "ratings.csv")
        history = workspace.settings.world.history
        add_days(ShapesWorld(128), home.world / "history.db", history, active_share=0.5)
    sql(home, "insert into interactions values('new-00001', 'shape-00021', 1700000000, 1, 'like')")
    sql(home, "insert into users values('new-00001', 'circle', 1700000000, 0)")
    return home


@pytest.fixture(scope="module")
def active(home):
    """Who did something on each day, with pictures that can be read, or rated."""
    instants = [
        instant_of(day, AT, ZoneInfo(ZONE.partition("=")[2])).timestamp() for day in [FIRST - timedelta(days=1), *DAYS]
    ]
    with closing(sqlite3.connect(home.world / "history.db")) as connection:
        rows = connection.execute("""
            select user_id, timestamp from interactions
            where typeof(timestamp) <> 'text' and item_id not in ('shape-00010', 'shape-00011', 'shape-99999')
        """).fetchall()
    rated = home.ask("select rater from rating")
    rows += [(one["rater"], RATED_AT.timestamp()) for one in rated]
    days = itertools.pairwise(instants)
    return [{user for user, at in rows if low <= at < high} for low, high in days]


@pytest.fixture(scope="module")
def gone(home, active):
    """Who opted out, and who was forgotten, since: both were active on the second day."""
    out, erased = sorted(active[1] - {"new-00001"})[:2]
    sql(home, "update users set opted_out = 1 where user_id = ?", out)
    workspace = home.workspace(ZONE)
    with workspace.only_night():
        forget_people(workspace, [erased], reason="asked", actor="test")
    return {out, erased}


@pytest.fixture(scope="module")
def backfilled(home, gone, plainly):
    """The three days, drawn for whoever did something on them."""
    workspace, before = home.workspace(ZONE), look(home)
    days = days_to_backfill(workspace, DAYS[0], DAYS[-1], at=AT)
    told = plainly(backfill, workspace, days)
    return SimpleNamespace(days=days, told=told, before=before, after=look(home), gone=gone)


def night_of(home, day, kind):
    """Return a night's row and its preferences by user."""
    (row,) = home.ask(f"select * from night where day = '{day}' and kind = '{kind}' order by night_id limit 1")
    return row, home.path / "data" / "nights" / row["night_key"][:16]


def vectors(folder, basis):
    """Return user_id -> vector in a basis."""
    table = pd.read_parquet(folder / "embed" / basis[:12] / "preferences.parquet")
    return dict(zip(table["user_id"], table["vector"], strict=True))


def test_each_day_has_the_model_that_was_live_then(backfilled):
    """The first two nights drew by the first model, the third promoted its own, of its very instant."""
    assert [day.version for day in backfilled.days] == [1, 1, 3]
    assert [one["version"] for one in backfilled.told] == [1, 1, 3]
    assert [day.as_of for day in backfilled.days] == [datetime.combine(day, UTC_AT, tzinfo=UTC) for day in DAYS]


def test_nothing_moves_that_users_see(backfilled):
    """Every table but those of images and nights, the state, the models, the aliases and the watermark are equal."""
    assert backfilled.before == backfilled.after
    assert {"user_current", "user_variant", "live_release", "user_summary", "user"} < backfilled.before.catalogue.keys()
    assert backfilled.before.catalogue["user_current"]


def test_a_backfilled_day_knows_what_its_night_knew(home, backfilled):
    """The vectors of whoever did something that day are those of the night that ran then, to rounding."""
    farthest = 0.0
    for day, planned in zip(DAYS, backfilled.days, strict=True):
        (model,) = home.ask(f"select basis_version as b from model_version where version = {planned.version}")
        then, now = (vectors(night_of(home, day, kind)[1], model["b"]) for kind in ("nightly", "backfill"))
        assert now
        assert now.keys() <= then.keys()
        farthest = max(farthest, *(float(np.abs(now[user] - then[user]).max()) for user in now))
    assert farthest < 1e-5, farthest


def test_those_who_did_something_are_drawn_for_unless_their_image_is_there(home, active, backfilled):
    """Each has an image of exactly that day's condition, new or the night's own; who is gone since has none."""
    with closing(sqlite3.connect(home.world / "history.db")) as connection:
        out = {user for (user,) in connection.execute("select user_id from users where opted_out")}
    silent = out | backfilled.gone
    assert backfilled.gone - out
    for day, who, planned in zip(DAYS, active, backfilled.days, strict=True):
        row, folder = night_of(home, day, "backfill")
        (model,) = home.ask(
            f"select basis_version as b, generator_digest as g from model_version where version = {planned.version}"
        )
        known = vectors(folder, model["b"])
        assert known.keys() == who - silent - {"new-00001"}
        assets = home.ask(f"""
            select user_id, condition_digest, night_id from asset join "user" using (user_key)
            where generator_digest = {model["g"]}""")
        drawn = {(one["user_id"], one["condition_digest"]): one["night_id"] for one in assets}
        digests = {user: condition_digest(np.asarray(vector, dtype=np.float32)) for user, vector in known.items()}
        assert set(digests.items()) <= drawn.keys()
        mine = {one["user_id"] for one in assets if one["night_id"] == row["night_id"]}
        assert not mine & silent
        assert backfilled.told[DAYS.index(day)]["images_made"] == len(mine)


def test_whom_the_night_drew_for_is_not_drawn_for_again(home, backfilled):
    """Where nothing came late, what a backfill knows of them is what their night knew, to the last bit."""
    day, told = DAYS[0], backfilled.told[0]
    (model,) = home.ask("select basis_version as b from model_version where version = 1")
    then, now = (vectors(night_of(home, day, kind)[1], model["b"]) for kind in ("nightly", "backfill"))
    assert now
    assert all((now[user] == then[user]).all() for user in now)
    assert (told["images_made"], told["users_with_an_image"]) == (0, len(now))


def test_a_backfill_leaves_no_tables_behind(home, backfilled):
    """Tables with the pictures of all items go when a day is done; those of the nights stay."""
    named = [row["night_key"][:16] for row in home.ask("select night_key from night where kind = 'nightly'")]
    assert len(list((home.path / "data" / "prepared").iterdir())) == len(named) >= 3


def test_days_that_are_done_add_nothing(home, backfilled, plainly):
    """The same days again are the same nights, and leave the home as it was."""
    before = home.state()
    told = plainly(backfill, home.workspace(ZONE), backfilled.days)
    assert [one["already_done"] for one in told] == [True] * 3
    assert home.state() == before


def test_a_cut_backfill_is_gone_on_with(home, backfilled, plainly, monkeypatch):
    """Cut between two shards it ends as if it had not been: each person has one image of the day, and nobody two."""
    workspace, before = home.workspace(ZONE), look(home)
    days = days_to_backfill(workspace, DAYS[1], DAYS[1], at=AT, version=3, everybody=True)
    commit, calls = catalogued.commit_shard, []

    def cut(*given, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return commit(*given, **options)

    monkeypatch.setattr(catalogued, "commit_shard", cut)
    with pytest.raises(KeyboardInterrupt):
        plainly(backfill, workspace, days)
    monkeypatch.undo()
    (told,) = plainly(backfill, workspace, days)
    rows = home.ask("""select user_id, count(*) as n from asset join "user" using (user_key)
                       where night_id = (select max(night_id) from night) group by 1""")
    assert len(rows) == told["users_drawn_for"] == told["images_made"] > 50
    assert {row["n"] for row in rows} == {1}
    assert home.ask("select status, attempts from night order by night_id desc limit 1") == [
        {"status": "done", "attempts": 2}
    ]
    assert look(home) == before


def test_the_next_night_goes_on_as_if_nobody_had_looked_back(home, backfilled, plainly):
    """It is later than the newest night, goes on from its state, and reads what came since."""
    told = plainly(nightly, home.workspace(ZONE, "gate.min_users=1000000"))
    assert told["state"] == "updated"
    assert told["live_version"] == 3


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "last", "told"),
    [
        (DAYS[1], DAYS[0], "before they begin"),
        (date(2023, 11, 1), DAYS[0], r"no model was live on 2023-11-01, .* and 8 more"),
        (DAYS[0], date(2123, 1, 1), "has not come yet"),
    ],
)
def test_days_that_cannot_be_drawn_are_refused_before_anything_starts(home, first, last, told):
    """An empty range, days before the first release, days to come: nothing is read."""
    with pytest.raises(ConfigError, match=f"(?s){told}.*Nothing was started"):
        days_to_backfill(home.workspace(ZONE), first, last, at=AT)


def test_a_version_that_is_not_there_is_refused(home):
    """As everywhere."""
    with pytest.raises(NotFoundError, match="v77"):
        days_to_backfill(home.workspace(ZONE), DAYS[0], DAYS[0], version=77)
