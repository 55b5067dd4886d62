from datetime import UTC, datetime, timedelta, timezone

import pytest

from personalgen.errors import OptionsError
from personalgen.schedule import ScheduleOptions, nights_to_run

NIGHTS = [datetime(2026, 3, day, 2, tzinfo=UTC) for day in (3, 4, 5)]


@pytest.mark.parametrize(("policy", "expected"), [("latest", NIGHTS[-1:]), ("all", NIGHTS), ("skip", [])])
def test_the_policy_says_which_missed_nights_run(policy, expected):
    """The newest, each in order, or none; the order in which they are named counts for nothing."""
    assert list(nights_to_run(NIGHTS[::-1], policy)) == expected


@pytest.mark.parametrize("policy", ["latest", "all", "skip"])
def test_nothing_missed_is_nothing_to_run(policy):
    """A pause within a day has nothing to catch up."""
    assert nights_to_run([], policy) == ()


def test_one_instant_in_two_zones_is_one_night():
    """Instants are compared, not how they are written."""
    same = NIGHTS[0].astimezone(timezone(timedelta(hours=2)))
    assert nights_to_run([NIGHTS[0], same], "all") == (NIGHTS[0],)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"cron": "0 2 * *"}, r"cron must have five fields or be empty, found '0 2 \* \*'"),
        ({"cron": "0 0 2 * * *"}, "cron must have five fields"),
        ({"catch_up": "some"}, "catch_up must be one of latest, all, skip, found 'some'"),
        ({"crash_retries": -1}, "crash_retries must be at least 0"),
        ({"port": 0}, r"port must be in \[1, 65535\], found 0"),
    ],
)
def test_what_cannot_be_scheduled_is_refused(values, told):
    """Each fault says what was expected and what was found."""
    with pytest.raises(OptionsError, match=told):
        ScheduleOptions(**values)


def test_no_schedule_is_a_schedule():
    """An empty cron line serves deployments and runs nothing by itself."""
    assert ScheduleOptions(cron="").cron == ""
