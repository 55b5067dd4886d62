"""A source that is not what it was: the night is stopped before anything is touched, until somebody says go on."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from personalgen.status.places import refused_path

STRICT = ["health.min_nights=1"]


def prepare(home, *options, overrides=()):
    return home.tell("prepare", "--json", *options, overrides=[*STRICT, *overrides])


@pytest.fixture
def broken(new_home):
    """A home with a prepared night, whose source then lost most of its events."""
    home = new_home(own_world=True)
    assert prepare(home, "--as-of", "2023-11-10").code == 0
    with closing(sqlite3.connect(home.world / "history.db")) as connection, connection:
        connection.execute("delete from interactions where rowid % 10 <> 0")
    return home


def test_a_failing_check_touches_nothing(broken):
    """Exit code 65; no row of the catalogue or of MLflow changes, and only the refusal itself is written."""
    before = broken.state()
    told = prepare(broken)
    after = broken.state()
    assert told.code == 65
    for part in ("interactions.volume: expected at least", "found", "--accept interactions.volume",
                 "Nothing was changed"):  # fmt: skip
        assert part in told.err
    assert (after.catalogue, after.tracking) == (before.catalogue, before.tracking)
    new = {name for name in after.files if after.files[name] != before.files.get(name)}
    assert {Path(name).parts[1] for name in new} == {"prepared", "health"}


def test_what_stopped_the_night_is_listed_until_a_night_goes_on(broken):
    """The check stands first in `personalgen health`, without a night; accepted, it is a row of one."""
    assert prepare(broken).code == 65
    first = json.loads(broken.tell("health", "--json").out)[0]
    assert (first["check"], first["status"], first["night_id"]) == ("interactions.volume", "fail", None)
    assert "stopped the night" in broken.tell("health").out
    assert prepare(broken, "--accept", "items.volume").code == 65
    assert prepare(broken, "--accept", "interactions.volume").code == 0
    rows = json.loads(broken.tell("health", "--json").out)
    assert {row["night_id"] for row in rows} == {2}
    assert {row["check"]: row["status"] for row in rows}["interactions.volume"] == "accepted"
    (row,) = broken.ask("select * from v_health where night_id = 2 and check_name = 'volume' and expected > 1000")
    assert (row["source_table"], row["status"]) == ("interactions", "accepted")


def test_a_source_that_is_mended_stops_nothing(new_home):
    """The night that was prepared before is found again, and what stopped its source is listed no more."""
    home = new_home(own_world=True)
    assert prepare(home).code == 0
    whole = (home.world / "history.db").read_bytes()
    with closing(sqlite3.connect(home.world / "history.db")) as connection, connection:
        connection.execute("delete from interactions where rowid % 10 <> 0")
    assert prepare(home).code == 65
    assert refused_path(home.path / "data").is_file()
    (home.world / "history.db").write_bytes(whole)
    assert prepare(home).code == 0
    assert not refused_path(home.path / "data").exists()
    assert home.ask("select count(*) as n from night") == [{"n": 1}]


def test_accepting_makes_no_other_night(broken):
    """The night is the same one whatever the limits were, so that prepare again adds nothing."""
    assert prepare(broken, "--accept", "interactions.volume").code == 0
    before = broken.ask("select * from data_health")
    assert prepare(broken, overrides=["health.low_fail=0.31"]).code == 0
    assert broken.ask("select * from data_health") == before
    assert len(broken.ask("select * from night")) == 2


def test_a_name_that_no_check_has_is_refused(broken):
    """A misspelt name accepts nothing and starts nothing."""
    told = prepare(broken, "--accept", "interactions.volum")
    assert told.code == 2
    assert "health: accept holds 'interactions.volum'" in told.err


def test_the_first_night_has_its_figures_and_no_verdict(broken):
    """Every check of a first night is ok, odd or unknown."""
    rows = json.loads(broken.tell("health", "--json").out)
    checks = {row["check"]: row["status"] for row in rows}
    assert set(checks.values()) <= {"ok", "warn", "unknown"}
    assert {"interactions.volume", "interactions.taste", "items.nulls.category", "users.nulls.segment"} <= set(checks)
