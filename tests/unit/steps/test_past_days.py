"""When a past day is, and what was live then."""

import itertools
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from personalgen.catalogue.past_releases import PastRelease, live_at
from personalgen.steps.past_days import instant_of

BERLIN = ZoneInfo("Europe/Berlin")
AT = datetime(2026, 3, 1, 3, tzinfo=UTC)


def move(days, version):
    """Return a release so many days after the first."""
    return PastRelease(AT + timedelta(days=days), version, version, {})


@pytest.mark.parametrize(
    ("day", "at", "hour"),
    [
        (date(2026, 1, 15), time(2, 30), "01-15T01:30"),
        (date(2026, 7, 15), time(2, 30), "07-15T00:30"),
        (date(2026, 3, 29), time(2, 30), "03-29T01:30"),
        (date(2026, 10, 25), time(2, 30), "10-25T00:30"),
    ],
    ids=["winter", "summer", "an hour that is left out", "an hour that comes twice"],
)
def test_a_day_has_one_instant(day, at, hour):
    """In the zone's own time, also on the two days a year on which an hour is missing or doubled."""
    assert instant_of(day, at, BERLIN) == datetime.fromisoformat(f"2026-{hour}:00+00:00")


def test_days_lie_one_after_the_other():
    """Over a year of local nights no instant repeats or goes back."""
    days = [instant_of(date(2026, 1, 1) + timedelta(days=k), time(2, 30), BERLIN) for k in range(365)]
    assert all(one < other for one, other in itertools.pairwise(days))


def test_what_was_live_is_the_last_move_by_then():
    """That of the very instant included; nothing before the first one; a way back counts like any move."""
    moves = (move(0, 1), move(2, 2), move(3, 1))
    found = [live_at(moves, AT + timedelta(days=k)) for k in (-1, 0, 1, 2, 3, 9)]
    assert [one and one.version for one in found] == [None, 1, 1, 2, 1, 1]
