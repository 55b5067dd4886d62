import math
from dataclasses import replace

import numpy as np
import pytest

from personalgen.errors import OptionsError
from personalgen.tables.health import HealthOptions, Past, check_tables, distance, failing
from personalgen.tables.profile import Figure, Profile

OPTIONS = HealthOptions()
SEVEN = Past(values=(100.0, 101.0, 99.0, 100.0, 102.0, 98.0, 100.0))


def judged(figure, past=None, options=OPTIONS):
    """Return the verdict on one figure."""
    (check,) = check_tables(Profile((figure,)), {figure.full_name: past or Past()}, options)
    return check


@pytest.mark.parametrize(
    ("value", "status"),
    [(100, "ok"), (71, "ok"), (69, "warn"), (31, "warn"), (29, "fail"), (299, "ok"), (301, "warn"), (3001, "fail")],
)
def test_a_volume_is_judged_by_its_share_of_the_median(value, status):
    """Bounds hold on both sides, and the median is told beside them."""
    check = judged(Figure("interactions", "volume", value), SEVEN)
    assert (check.status, check.expected, check.low, check.high) == (status, 100, 70, 300)


def test_a_first_night_is_never_stopped_by_what_needs_earlier_ones():
    """Without a past there is nothing to say; with less than min_nights of it a figure warns at most."""
    nothing = Figure("users", "volume", 0.0)
    assert judged(nothing).status == "unknown"
    assert judged(nothing, Past((100.0, 100.0))).status == "warn"
    assert judged(nothing, Past((100.0, 100.0, 100.0))).status == "fail"


def test_one_odd_night_does_not_move_what_is_expected():
    """The median stands where a mean would have moved."""
    check = judged(Figure("items", "volume", 100.0), Past((1.0, 100.0, 100.0, 100.0, 10_000.0)))
    assert (check.status, check.expected) == ("ok", 100)


def test_only_the_last_nights_count():
    """What lies further back than health.nights is forgotten."""
    past = Past((100.0,) * 3 + (1.0,) * 50)
    assert judged(Figure("items", "volume", 100.0), past, replace(OPTIONS, nights=3)).expected == 100


def test_a_handful_of_new_events_may_be_none_by_chance():
    """New events a day stop a night only where thousands are usual."""
    assert judged(Figure("interactions", "new_events", 0.0), SEVEN).status == "warn"
    assert judged(Figure("interactions", "new_events", 0.0), Past((2000.0,) * 3)).status == "fail"


def test_a_column_that_goes_null_is_judged_by_its_rise():
    """One that was always null is fine; one that was full is not."""
    empty = Figure("items", "nulls.title", 1.0)
    assert judged(empty, Past((1.0,) * 3)).status == "ok"
    assert judged(empty, Past((0.0,) * 3)).status == "fail"
    assert judged(replace(empty, value=0.2), Past((0.0,) * 3)).status == "warn"


def test_everybody_is_new_on_the_first_night_and_nearly_nobody_later():
    """A source that writes its ids anew is found."""
    assert judged(Figure("users", "new", None)).status == "unknown"
    assert judged(Figure("users", "new", 0.0), Past((0.01,) * 3)).status == "ok"
    assert judged(Figure("users", "new", 1.0), Past((0.01,) * 3)).status == "fail"


def test_an_age_fails_only_where_a_limit_is_set():
    """A history that ended long ago is shown as odd and stops nothing, unless somebody asks for it."""
    old = Figure("interactions", "age_hours", 1e6)
    assert judged(old).status == "warn"
    assert judged(old, options=replace(OPTIONS, age_hours_fail=100.0)).status == "fail"


def test_what_somebody_looked_at_goes_on_and_nothing_else():
    """Accepting one name leaves the others failing; the verdict says that it was accepted."""
    figures = Profile((Figure("users", "volume", 1.0), Figure("items", "volume", 1.0)))
    past = {figure.full_name: SEVEN for figure in figures.figures}
    checks = check_tables(figures, past, replace(OPTIONS, accept=("users.volume",)))
    assert [check.status for check in checks] == ["accepted", "fail"]
    assert [check.full_name for check in failing(checks)] == ["items.volume"]


def test_a_check_tells_what_was_expected_and_found():
    """Bounds, median and value stand in the phrase."""
    told = judged(Figure("interactions", "volume", 1.0), SEVEN).told()
    assert told == ("interactions.volume: expected at least 70 and at most 300 (median of earlier nights 100), found 1")


def test_the_distance_is_scipys_less_what_chance_gives():
    """On large samples it is scipy's Jensen-Shannon distance; it is symmetric, 0 for equals and 1 for strangers."""
    from scipy.spatial.distance import jensenshannon

    one, other = (10_000_000, 30_000_000, 60_000_000), (60_000_000, 30_000_000, 10_000_000)
    assert distance(one, other) == pytest.approx(jensenshannon(one, other, base=2), abs=1e-6)
    assert distance(one, other) == distance(other, one)
    assert distance(one, one) == 0
    assert distance((10**9, 0), (0, 10**9)) == pytest.approx(1, abs=1e-6)
    assert distance((0, 0), (1, 2)) == 0


def test_samples_of_one_distribution_are_near_whatever_their_size():
    """Of 200 pairs of 1,000 draws over 64 bins none is beyond a third of the warning; odds of a false alarm < 1e-9."""
    random = np.random.default_rng(3)
    shares = random.dirichlet(np.full(64, 0.5))
    pairs = [random.multinomial(1000, shares, size=2).tolist() for _ in range(200)]
    assert max(distance(*pair) for pair in pairs) < OPTIONS.taste_warn / 2


def test_a_shift_of_taste_is_found_and_too_few_events_say_nothing():
    """The newest events are compared with the sum of the earlier nights' ones."""
    before = Past(counts=((500, 500, 0, 0),) * 3)
    same, other = Figure("interactions", "taste", counts=(510, 490, 0, 0)), (0, 0, 500, 500)
    assert judged(same, before).status == "ok"
    shifted = judged(replace(same, counts=other), before)
    assert (shifted.status, shifted.counts) == ("fail", other)
    few = judged(replace(same, counts=(0, 0, 5, 5)), before)
    assert (few.status, few.value) == ("unknown", None)
    assert judged(replace(same, counts=other), Past(counts=((500, 500),) * 3)).status == "unknown"


def test_limits_in_the_wrong_order_and_unknown_names_are_refused_together():
    """One message for all faults."""
    with pytest.raises(OptionsError) as caught:
        HealthOptions(taste_warn=0.9, low_fail=0.8, nights=0, accept=("interactions.volum",), new_warn=math.nan)
    expected = ("taste_warn must be met before", "low_warn must be met before", "nights must be", "new_warn must be")
    for part in (*expected, "'interactions.volum'"):
        assert part in str(caught.value)
