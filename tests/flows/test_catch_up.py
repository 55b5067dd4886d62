"""Which missed nights are run after a pause: cron lines in zones, days on which clocks change, runs that are known."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from flows.catch_up import Known, crashed_night, night_key, plan, scheduled_between

NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)
NIGHTS = [datetime(2026, 3, day, 2, tzinfo=UTC) for day in (3, 4, 5)]


def known(instant, standing, *, ours=True):
    """Return a run as the server knows it."""
    return Known(uuid4(), instant, standing, ours)


def between(cron, zone, after, until):
    """Return scheduled instants as text; the bounds are days of 2026, UTC."""
    found = scheduled_between(cron, zone, datetime(2026, *after, tzinfo=UTC), datetime(2026, *until, tzinfo=UTC))
    return [instant.strftime("%m-%dT%H:%M") for instant in found]


def test_the_end_counts_and_the_beginning_does_not():
    """The newest finished night is not missed, and one that is due this second is."""
    assert between("0 2 * * *", "UTC", (3, 3, 2), (3, 5, 2)) == ["03-04T02:00", "03-05T02:00"]
    assert between("0 2 * * *", "UTC", (3, 5, 2), (3, 6, 1)) == []


def test_a_cron_line_is_read_in_its_zone():
    """Two in the night of Berlin is one of UTC in winter, and of the day before in Tokyo."""
    assert between("0 2 * * *", "Europe/Berlin", (1, 10), (1, 11)) == ["01-10T01:00"]
    assert between("0 2 * * *", "Asia/Tokyo", (1, 10), (1, 11)) == ["01-10T17:00"]


def test_a_line_of_weekdays_leaves_out_weekends():
    """The 7th and 8th of March 2026 are a Saturday and a Sunday."""
    assert between("0 2 * * 1-5", "UTC", (3, 6), (3, 10)) == ["03-06T02:00", "03-09T02:00"]


@pytest.mark.parametrize(
    ("cron", "after", "until", "expected"),
    [
        ("0 4 * * *", (3, 27, 12), (3, 30, 12), ["03-28T03:00", "03-29T02:00", "03-30T02:00"]),
        ("30 2 * * *", (10, 23, 12), (10, 26, 12), ["10-24T00:30", "10-25T00:30", "10-26T01:30"]),
    ],
)
def test_days_on_which_clocks_change_have_one_night(cron, after, until, expected):
    """Outside the hour that is left out the local time holds, and one that comes twice is taken once."""
    assert between(cron, "Europe/Berlin", after, until) == expected


def test_a_time_that_does_not_exist_has_a_night_all_the_same():
    """Half past two on the day on which two becomes three in Berlin: one night, an hour earlier or later."""
    found = between("30 2 * * *", "Europe/Berlin", (3, 27, 12), (3, 30, 12))
    assert [found[0], found[2], len(found)] == ["03-28T01:30", "03-30T00:30", 3]
    assert found[1] in {"03-29T00:30", "03-29T01:30"}


def test_missed_nights_without_a_run_are_started():
    """Each with the key of its instant, so that a second server start makes no second run."""
    found = plan([], NIGHTS, now=NOW)
    assert found.cancel == ()
    assert [instant for instant, _ in found.start] == NIGHTS
    assert found.start[0][1] == "nightly-2026-03-03T02:00:00+00:00"


@pytest.mark.parametrize("standing", ["planned", "begun"])
def test_a_night_that_has_a_run_gets_no_other(standing):
    """A late run starts by itself, and one that runs is left alone."""
    assert plan([known(NIGHTS[2], standing)], NIGHTS[2:], now=NOW) == plan([], [], now=NOW)


def test_a_night_whose_run_ended_without_finishing_it_is_run_again():
    """Under another key, as the server would return the ended run for the same one."""
    found = plan([known(NIGHTS[2], "ended"), known(NIGHTS[2], "ended")], NIGHTS[2:], now=NOW)
    assert found.start == ((NIGHTS[2], night_key(NIGHTS[2], 2)),)
    assert len({night_key(NIGHTS[2], tried) for tried in range(3)}) == 3


def test_late_runs_that_the_policy_leaves_out_are_cancelled():
    """Prefect planned them before the pause and would start them all; what comes later stays planned."""
    late, wanted = known(NIGHTS[0], "planned"), known(NIGHTS[2], "planned")
    later = known(NOW + timedelta(hours=14), "planned")
    assert plan([late, wanted, later], NIGHTS[2:], now=NOW) == plan([late], [], now=NOW)
    assert plan([late], [], now=NOW).cancel == (late.run_id,)


def test_what_a_person_planned_is_not_touched():
    """A late run that somebody asked for starts, whatever the policy."""
    assert plan([known(NIGHTS[0], "planned", ours=False)], [], now=NOW).cancel == ()


def crashed(instant):
    """Return a run whose process died."""
    return Known(uuid4(), instant, "ended", ours=True, crashed=True)


def test_a_night_whose_process_died_is_run_again_so_many_times():
    """Each time under a key of its own; a night ahead that is only planned changes nothing."""
    ahead = known(NOW + timedelta(hours=14), "planned")
    for tried in (1, 2):
        runs = [crashed(NIGHTS[2])] * tried + [ahead]
        assert crashed_night(runs, NIGHTS[1], retries=2, now=NOW) == (NIGHTS[2], night_key(NIGHTS[2], tried))
    assert crashed_night([crashed(NIGHTS[2])] * 3, NIGHTS[1], retries=2, now=NOW) is None
    assert crashed_night([crashed(NIGHTS[2])], None, retries=1, now=NOW), "a first night too"
    assert crashed_night([crashed(NIGHTS[2])], None, retries=0, now=NOW) is None


@pytest.mark.parametrize("standing", ["planned", "begun", "ended"])
def test_a_night_that_did_more_than_die_is_not_run_again(standing):
    """It runs, or will; or it ended with an error, or a person cancelled it."""
    runs = [crashed(NIGHTS[2]), known(NIGHTS[2], standing)]
    assert crashed_night(runs, NIGHTS[1], retries=5, now=NOW) is None


def test_a_dead_night_that_is_of_the_past_is_not_run_again():
    """One that is finished, by hand for instance, and one behind which another began."""
    assert crashed_night([crashed(NIGHTS[2])], NIGHTS[2], retries=2, now=NOW) is None
    assert crashed_night([crashed(NIGHTS[1]), known(NIGHTS[2], "ended")], NIGHTS[0], retries=2, now=NOW) is None
    assert crashed_night([], None, retries=2, now=NOW) is None


def test_a_night_that_was_dead_before_serve_began_is_left_to_the_catching_up():
    """`skip` left it out; one that died since then goes on, also as the second try of such a night."""
    before, since = crashed(NIGHTS[2]), crashed(NIGHTS[2])
    assert crashed_night([before], NIGHTS[1], retries=2, now=NOW, settled={before.run_id}) is None
    found = crashed_night([before, since], NIGHTS[1], retries=2, now=NOW, settled={before.run_id})
    assert found == (NIGHTS[2], night_key(NIGHTS[2], 2))


def test_a_dead_night_is_not_run_behind_a_later_one_that_waits():
    """The later one, which is due already, would be done first, and no earlier night may follow it."""
    waits = known(NIGHTS[2], "planned")
    assert crashed_night([crashed(NIGHTS[1]), waits], NIGHTS[0], retries=2, now=NOW) is None
    assert crashed_night([crashed(NIGHTS[1]), waits], NIGHTS[0], retries=2, now=NIGHTS[1]) is not None
