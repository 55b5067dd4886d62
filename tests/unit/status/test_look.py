"""What `status` finds in a catalogue: which nights count, whatever was backfilled since."""

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest

from personalgen.artifacts import write_json
from personalgen.catalogue import write
from personalgen.catalogue.engine import open_catalogue
from personalgen.catalogue.facts import NightFacts
from personalgen.catalogue.migrations import upgrade
from personalgen.locks import NIGHT, hold
from personalgen.status.look import status_of
from personalgen.status.places import places_of

NOW = datetime(2026, 9, 30, 12, tzinfo=UTC)
AT_TWO = datetime(2026, 9, 20, 2, tzinfo=UTC)


@pytest.fixture
def places(tmp_path):
    return places_of({"home": str(tmp_path), "schedule": {"cron": "0 2 * * *"}})


@pytest.fixture
def begin(places):
    """Return a function that begins a night, and ends it as told; returns its key."""
    places.data.mkdir(parents=True)
    engine = open_catalogue(places.catalogue_url)
    upgrade(engine)

    def begin(key, *, kind="nightly", as_of=AT_TWO, status="done", began=AT_TWO):
        facts = NightFacts(
            night_key=key * 32, source="s", as_of=as_of, day=as_of.date(), source_digest="s", config_digest="c",
            mlflow_run_id="run", kind=kind,
        )  # fmt: skip
        night_id = write.begin_night(engine, facts, at=began)
        write.close_killed_nights(engine, but=night_id, at=began)
        if status != "running":
            write.finish_night(engine, night_id, status=status, at=began)
        return facts.night_key

    yield begin
    engine.dispose()


def needed(places):
    """Return (what, command) of what needs a person, but for room on the disk."""
    found = status_of(places, nights=3, now=NOW, alias="").needs
    return [(need.what, need.command) for need in found if need.what != "disk"]


@pytest.mark.parametrize("status", ["failed", "running"])
def test_a_backfill_hides_no_night_that_waits(places, begin, status):
    """Failed or cut off, the nightly night is told of with its instant, however many days were backfilled since."""
    begin("a", status=status, began=NOW)
    for key in "bcde":
        begin(key, kind="backfill", as_of=AT_TWO - timedelta(days=9), began=NOW)
    assert needed(places) == [("night", "personalgen nightly --as-of 2026-09-20T02:00:00+00:00 goes on with it")]


def test_a_backfill_hides_no_schedule_that_is_overdue(places, begin):
    """What counts is when the newest nightly night began."""
    begin("a")
    for key in "bcde":
        begin(key, kind="backfill", began=NOW)
    assert [what for what, _ in needed(places)] == ["schedule"]


def test_a_failed_backfill_waits_too_until_something_followed(places, begin):
    """The newest night of all may be one."""
    begin("a", began=NOW)
    begin("b", kind="backfill", status="failed", began=NOW)
    assert [what for what, _ in needed(places)] == ["night"]
    begin("c", began=NOW)
    assert needed(places) == []


def test_a_warm_retrain_is_gone_on_with_warm(places, begin):
    """Another start would be another night."""
    begin("a", began=NOW)
    key = begin("b", kind="retrain", status="failed", began=NOW)
    for from_scratch, options in ((True, "--as-of"), (False, "--warm --as-of")):
        write_json(places.data / "nights" / key[:16] / "prepare.json", {"from_scratch": from_scratch})
        ((_, command),) = needed(places)
        assert command.startswith(f"personalgen retrain {options} 2026-09-20T02")


@pytest.mark.parametrize(("is_held", "status"), [(True, "running"), (False, "killed")])
def test_a_night_runs_only_while_a_process_holds_the_home(places, begin, is_held, status):
    """One that says so in a home that is free was cut off; a home that is held may have it running."""
    begin("a", status="running")
    with hold(places.data / NIGHT, since=NOW) if is_held else nullcontext():
        found = status_of(places, nights=3, now=NOW)
    assert [night.status for night in found.nights] == [status]
