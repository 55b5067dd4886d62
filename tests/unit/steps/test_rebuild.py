"""`personalgen state build`: who sums, what is said of it, and where nothing may be built."""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pytest

from personalgen.affinity import AffinityState
from personalgen.catalogue import write
from personalgen.catalogue.engine import open_catalogue
from personalgen.catalogue.facts import ForgottenFacts, NightFacts
from personalgen.catalogue.migrations import upgrade
from personalgen.cli import main

T0 = 1_760_000_000


@pytest.fixture
def catalogue(tmp_path, new_catalogue):
    """The catalogue of the home below tmp_path."""
    return new_catalogue(tmp_path / "home")


@pytest.fixture
def build(tmp_path, capsys, catalogue):
    """Return a function that builds a state of ten users with 300 events each, or of further rows too."""
    path = tmp_path / "shop.db"
    rows = [(f"u{k % 10}", k % 7, T0 + k * 600, -1.0 if k % 11 == 0 else 1.5) for k in range(3000)]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("create table interactions(user_id, item_id, timestamp, weight)")
        connection.executemany("insert into interactions values(?, ?, ?, ?)", rows)
        connection.execute("create table items(item_id, image)")
        connection.executemany("insert into items values(?, 'no.png')", [(item,) for item in range(7)])

    def run(*arguments, folder=tmp_path / "state", further=()):
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.executemany("insert into interactions values(?, ?, ?, ?)", further)
        source = {"source.url": f"sqlite:///{path}", "source.image_root": tmp_path, "home": tmp_path / "home"}
        source["store.catalogue_url"] = catalogue.url
        options = [word for name, value in source.items() for word in ("--set", f"{name}={value}")]
        code = main(["state", "build", str(folder), *options, *arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def test_the_database_sums_and_says_so(build, tmp_path, assert_same_state):
    """The state is that of events read one by one, from fewer rows; the pictures are not needed."""
    code, out, _ = build("--json", "--by", "database", folder=tmp_path / "sums")
    told = json.loads(out)
    assert (code, told["how"], told["n_events"], told["n_quarantined"]) == (0, "summed by the database", 3000, 0)
    assert told["n_rows_read"] == 70 + 70 + 2000  # likes and dislikes of 7 items by 10 users, and 200 events of each
    code, out, _ = build("--by", "events", folder=tmp_path / "events")
    assert code == 0
    assert "3,000 events before 20" in out
    assert "read one by one, as asked for\n3,000 rows taken, 0 events quarantined\n" in out
    assert_same_state(*(AffinityState.open(tmp_path / name) for name in ("sums", "events")))
    assert sorted(path.name[:5] for path in (tmp_path / "sums").iterdir()) == ["items", "part-", "state"]


def test_events_before_as_of_count(build, tmp_path):
    """As of a moment in the past, later ones are not there."""
    told = json.loads(build("--json", "--as-of", "2025-10-16T00:00", "--by", "database")[1])
    assert told["as_of"] == "2025-10-16T00:00:00+00:00"
    assert 0 < told["n_events"] < 3000


def test_a_database_in_this_process_is_not_asked_by_itself(build):
    """Reading SQLite's events costs less than its sums, so that is done, and said."""
    told = json.loads(build("--json")[1])
    assert (
        told["how"]
        == "read one by one: SQLite works in this process, and reading its events costs less than their sums"
    )


def test_bad_rows_are_quarantined_where_events_are_read(build):
    """As in a night: a row without an item, and one that is there twice."""
    told = json.loads(build("--json", further=[("u1", None, T0, 1.0), ("u1", 1, T0 + 600, 1.5)])[1])
    assert (told["n_events"], told["n_rows_read"], told["n_quarantined"]) == (3000, 3000, 2)


def test_the_database_or_nobody(build, tmp_path):
    """With --by database the reason is an error, and the state of before stays."""
    assert build()[0] == 0
    before = AffinityState.open(tmp_path / "state")
    code, _, err = build("--by", "database", further=[("u1", 1, T0, 0)])
    assert code == 2
    assert "cannot sum these events: the weight is zero or no number (1 of 3,001 rows)" in err
    assert "--by events. Nothing was built." in err
    assert AffinityState.open(tmp_path / "state") == before


def test_who_was_forgotten_is_in_no_state(build, tmp_path, catalogue):
    """Whether the database sums or not."""
    engine = open_catalogue(catalogue.url)
    upgrade(engine)
    at = datetime(2026, 3, 1, tzinfo=UTC)
    night = NightFacts(night_key="k", source="shop", as_of=at, day=at.date(), source_digest="s", config_digest="c")
    write.allocate_user_keys(engine, ["u3"], night_id=write.begin_night(engine, night, at=at))
    facts = ForgottenFacts(user_id="u3", actor="ops", reason="asked", statistics_exact=True, removed={})
    write.record_forgotten(engine, facts, at=at)
    engine.dispose()
    for by in ("database", "events"):
        assert json.loads(build("--json", "--by", by)[1])["n_events"] == 2700
        found = AffinityState.open(tmp_path / "state").rows()
        assert "u3" not in {user for rows in found for user in rows.users}


def test_the_homes_own_folders_are_refused(build, tmp_path):
    """A night's state is no place for another one."""
    code, _, err = build(folder=tmp_path / "home" / "data" / "state" / "affinity")
    assert code == 2
    assert "Name a folder elsewhere. Nothing was built." in err
    assert not (tmp_path / "home").exists()
