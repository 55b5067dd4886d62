import math
from dataclasses import dataclass, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalgen.errors import ConfigError
from personalgen.registry.promotion import Difference, Figures, GateOptions, PairedDifference, Votes, decide

OPTIONS = GateOptions(max_kid_over_floor=0.5, min_gain=0.0)
GOOD = Figures(kid=1.4, kid_low=1.3, kid_high=1.5, kid_floor=1.0, gain=0.3, gain_low=0.1, gain_high=0.5, n_users=64)

BETTER, SAME, WORSE = Difference(0.2, 0.1, 0.3), Difference(0.1, -0.1, 0.3), Difference(-0.2, -0.3, -0.1)
FIT = {"better": BETTER, "same": SAME, "worse": WORSE}
KID = {"better": WORSE, "same": SAME, "worse": BETTER}  # a lower KID is the better one


def paired(fit, kid):
    return PairedDifference(fit=FIT[fit], kid=KID[kid])


@pytest.mark.parametrize(
    ("fit", "kid", "promote"),
    [
        ("better", "better", True),
        ("better", "same", True),
        ("same", "better", True),
        ("same", "same", False),
        ("better", "worse", False),
        ("worse", "better", False),
        ("same", "worse", False),
        ("worse", "same", False),
        ("worse", "worse", False),
    ],
)
def test_every_outcome_against_a_champion(fit, kid, promote):
    """Promoted only if one figure improved beyond its interval and the other did not regress beyond its own."""
    verdict = decide(GOOD, GOOD, paired(fit, kid), OPTIONS)
    assert verdict.promote == promote
    words = {"better": "improved", "same": "did not change beyond its interval", "worse": "regressed"}
    assert words[fit] in verdict.reasons[0]
    assert words[kid] in verdict.reasons[1]


def test_no_difference_is_named_as_the_reason():
    """Holding for want of evidence is told apart from holding for a regression."""
    assert "no difference beyond its interval" in decide(GOOD, GOOD, paired("same", "same"), OPTIONS).reasons[-1]
    assert all("no difference" not in r for r in decide(GOOD, GOOD, paired("worse", "same"), OPTIONS).reasons)


@dataclass
class _Guard:
    name: str
    worse: Difference
    better: Difference


GUARDS = [
    _Guard("between", WORSE, BETTER),
    _Guard("within", Difference(-0.3, -0.4, -0.2), BETTER),
    _Guard("memorised", BETTER, WORSE),
]


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_lost_diversity_and_copies_hold_a_better_challenger(guard):
    """A regression of what is guarded holds, whatever fit and KID gained; improving it alone promotes nothing."""
    better, same = paired("better", "better"), paired("same", "same")
    held = decide(GOOD, GOOD, replace(better, **{guard.name: guard.worse}), OPTIONS)
    assert not held.promote
    assert sum("regressed" in reason for reason in held.reasons) == 1
    assert decide(GOOD, GOOD, replace(better, **{guard.name: SAME}), OPTIONS).promote
    assert not decide(GOOD, GOOD, replace(same, **{guard.name: guard.better}), OPTIONS).promote


@pytest.mark.parametrize(
    ("high", "left", "promote"),
    [(-0.01, 0.9, True), (-0.1, 0.5, True), (-0.11, 0.9, False), (-0.01, 0.49, False), (-0.01, None, False)],
)
def test_some_diversity_within_users_may_be_lost(high, left, promote):
    """Up to a tenth of that of real likes, told by the whole interval, and only while half of it is left."""
    lost = Difference(high - 0.03, high - 0.06, high)
    verdict = decide(replace(GOOD, within=left), GOOD, replace(paired("better", "same"), within=lost), OPTIONS)
    assert verdict.promote == promote
    assert "regressed" in verdict.reasons[-1]
    assert ("may be lost" in verdict.reasons[-1]) == promote


@pytest.mark.parametrize(
    ("figures", "promote"),
    [
        ({"diversity": 0.5, "memorised_low": 0.1}, True),
        ({"diversity": 0.49, "memorised_low": 0.0}, False),
        ({"diversity": 1.0, "memorised_low": 0.11}, False),
    ],
)
def test_a_first_model_must_be_diverse_and_no_copier(figures, promote):
    """Without a champion the thresholds of diversity and memorisation hold as well, each with its words."""
    verdict = decide(replace(GOOD, **figures), None, None, OPTIONS)
    assert verdict.promote == promote
    assert len(verdict.reasons) == 5


@pytest.mark.parametrize(
    ("share", "told"),
    [(0.0, "at least 0 of all, 0.1 allowed"), (0.25, "at least 0.25 of all, no more than 0.1 allowed")],
)
def test_memorised_pictures_are_told_in_words(share, told):
    """The share and what is allowed, on either side of it."""
    verdict = decide(replace(GOOD, memorised_low=share), None, None, replace(OPTIONS, max_memorised=0.1))
    assert f"memorised pictures: {told}" in verdict.reasons


@pytest.mark.parametrize(("low", "high", "promote"), [(0.0, 0.3, False), (-0.3, 0.0, False), (1e-9, 0.3, True)])
def test_an_interval_that_touches_zero_is_undecided(low, high, promote):
    """The whole interval must lie on one side; an end at zero decides nothing."""
    verdict = decide(GOOD, GOOD, PairedDifference(fit=Difference(0.0, low, high), kid=SAME), OPTIONS)
    assert verdict.promote == promote
    assert "regressed" not in verdict.reasons[0]


@pytest.mark.parametrize(
    ("change", "promote"),
    [
        ({}, True),
        ({"kid": 1.5}, True),
        ({"kid": 1.5001}, False),
        ({"kid": 0.9, "kid_low": 0.8}, True),
        ({"gain_low": 0.0}, False),
        ({"gain_low": 1e-9}, True),
        ({"gain_low": -0.1}, False),
        ({"gain_low": -0.1, "kid": 2.0}, False),
    ],
)
def test_the_first_model_meets_absolute_thresholds(change, promote):
    """KID at most 0.5 above its floor, and a gain whose interval lies above 0."""
    verdict = decide(replace(GOOD, **change), None, None, OPTIONS)
    assert verdict.promote == promote
    assert "no champion" in verdict.reasons[0]


def test_thresholds_are_options():
    """What is too bad by default may do elsewhere, and the reverse."""
    poor = replace(GOOD, kid=3.0, kid_high=3.1, gain_low=-0.5)
    assert decide(poor, None, None, GateOptions(max_kid_over_floor=2.0, min_gain=-1.0)).promote
    assert not decide(GOOD, None, None, GateOptions(min_gain=0.2)).promote


def test_stored_thresholds_do_not_count_against_a_champion():
    """With a champion only the paired difference decides: better than what users see now is better."""
    poor = replace(GOOD, kid=9.0, kid_high=9.1, gain_low=-0.5)
    assert decide(poor, poor, paired("better", "same"), OPTIONS).promote


@pytest.mark.parametrize(
    ("challenger", "champion", "difference", "reason"),
    [
        (None, None, None, "challenger was not evaluated"),
        (None, GOOD, paired("better", "better"), "challenger was not evaluated"),
        (Figures.failed(), None, None, "challenger's evaluation failed"),
        (GOOD, Figures.failed(), paired("better", "better"), "champion's evaluation failed"),
        (GOOD, GOOD, None, "not compared in pairs"),
        (GOOD, None, paired("better", "better"), "without a champion"),
        (replace(GOOD, n_users=1), None, None, "1 users, fewer than 8"),
        (GOOD, replace(GOOD, n_users=1), paired("better", "better"), "champion was evaluated on 1 users"),
        (replace(GOOD, gain_low=0.5, gain_high=0.1), None, None, "gain interval ends before it starts"),
        (replace(GOOD, kid_low=2.0, kid_high=1.0), None, None, "KID interval ends before it starts"),
        (GOOD, GOOD, PairedDifference(fit=Difference(0.2, 0.3, 0.1), kid=SAME), "ends before it starts"),
    ],
)
def test_missing_or_broken_evaluations_hold(challenger, champion, difference, reason):
    """Nothing missing, failed or inconsistent ever promotes, and the reason says what it was."""
    verdict = decide(challenger, champion, difference, OPTIONS)
    assert not verdict.promote
    assert any(reason in words for words in verdict.reasons)


BAD = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", [field.name for field in fields(Figures) if field.name != "n_users"])
@pytest.mark.parametrize("who", ["challenger", "champion", "first"])
def test_a_figure_that_is_not_finite_holds(who, name, bad):
    """NaN or infinity in any figure of either model holds, however good the rest."""
    broken = replace(GOOD, **{name: bad})
    challenger = GOOD if who == "champion" else broken
    champion = {"challenger": GOOD, "champion": broken, "first": None}[who]
    difference = None if who == "first" else paired("better", "better")
    assert not decide(challenger, champion, difference, OPTIONS).promote


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", ["mean", "low", "high"])
@pytest.mark.parametrize("which", ["fit", "kid"])
def test_a_difference_that_is_not_finite_holds(which, name, bad):
    """NaN or infinity in any end of either paired difference holds."""
    good = paired("better", "better")
    broken = replace(good, **{which: replace(getattr(good, which), **{name: bad})})
    assert not decide(GOOD, GOOD, broken, OPTIONS).promote


def test_reasons_hold_the_numbers():
    """A person can check the verdict from its words."""
    words = " ".join(decide(GOOD, GOOD, paired("better", "worse"), OPTIONS).reasons)
    assert "personal fit improved: +0.2 against the champion, interval +0.1 to +0.3" in words
    assert "KID regressed: +0.2" in words
    first = " ".join(decide(GOOD, None, None, OPTIONS).reasons)
    assert "KID 1.4 exceeds its floor 1 by 0.4 <= 0.5" in first
    assert "gain 0.3 has an interval from 0.1, above 0" in first


@pytest.mark.parametrize("options", [{"max_kid_over_floor": math.nan}, {"min_gain": math.nan}])
def test_options_that_decide_nothing_are_refused(options):
    """A NaN threshold would compare as false for ever."""
    with pytest.raises(ConfigError, match=r"gate: .* must be a number, found nan.*Nothing was started"):
        GateOptions(**options)


numbers = st.floats(allow_nan=True, allow_infinity=True)
differences = st.builds(Difference, numbers, numbers, numbers)
ordered = st.lists(st.floats(-5, 5), min_size=3, max_size=3).map(sorted).map(lambda v: Difference(v[1], v[0], v[2]))
models = st.builds(Figures, *[st.floats(0, 5) | numbers] * 7, n_users=st.integers(0, 9))


def negated(difference):
    return Difference(-difference.mean, -difference.high, -difference.low)


@given(ordered, ordered)
def test_champion_and_challenger_are_never_both_better(fit, kid):
    """Swapping the two roles never promotes both ways: no pair of models can take turns for ever."""
    there = decide(GOOD, GOOD, PairedDifference(fit, kid), OPTIONS).promote
    back = decide(GOOD, GOOD, PairedDifference(negated(fit), negated(kid)), OPTIONS).promote
    assert not (there and back)


@given(st.none() | models, st.none() | models, st.none() | st.builds(PairedDifference, differences, differences))
def test_any_input_gets_a_verdict_and_only_finite_ones_promote(challenger, champion, difference):
    """Whatever comes in: no exception, always a reason, and no promotion with a NaN or an infinity anywhere."""
    verdict = decide(challenger, champion, difference, OPTIONS)
    assert verdict.reasons
    values = [getattr(f, field.name) for f in (challenger, champion) if f for field in fields(f)]
    values = [value for value in values if value is not None]
    if difference is not None:
        values += [getattr(d, field.name) for d in (difference.fit, difference.kid) for field in fields(d)]
    if challenger is None or not all(map(math.isfinite, values)):
        assert not verdict.promote


ASKING = GateOptions(min_votes=12)
LIKED, EITHER, DISLIKED = Votes(12, 0.8, 0.6, 0.9), Votes(12, 0.5, 0.3, 0.7), Votes(12, 0.2, 0.1, 0.4)


@pytest.mark.parametrize(
    ("fit", "votes", "promote", "reason"),
    [
        (
            "same",
            LIKED,
            True,
            "people prefer the challenger: the challenger with probability 0.8, interval 0.6 to 0.9, 12",
        ),
        ("better", EITHER, True, "people prefer neither beyond the interval"),
        ("same", EITHER, False, "no difference beyond its interval"),
        ("better", DISLIKED, False, "people prefer the champion"),
        ("worse", LIKED, False, "personal fit regressed"),
        ("better", None, False, "people made 0 blind choices between challenger and champion, fewer than 12"),
        ("better", replace(LIKED, n=11), False, "people made 11 blind choices"),
        ("better", replace(LIKED, low=math.nan), False, "is not finite"),
        ("better", replace(LIKED, low=0.95), False, "ends before it starts"),
        ("better", replace(LIKED, low=0.5), True, "people prefer neither"),
    ],
)
def test_votes_count_where_they_are_asked_for(fit, votes, promote, reason):
    """A regression by people's choice holds, an improvement is one; too few or broken votes hold."""
    verdict = decide(GOOD, GOOD, paired(fit, "same"), ASKING, votes=votes)
    assert verdict.promote == promote
    assert any(reason in words for words in verdict.reasons)


def test_votes_count_nowhere_else():
    """Where none are asked for, and for the first champion, they change nothing."""
    assert decide(GOOD, GOOD, paired("better", "same"), OPTIONS, votes=DISLIKED).promote
    assert not decide(GOOD, GOOD, paired("same", "same"), OPTIONS, votes=LIKED).promote
    assert decide(GOOD, None, None, replace(OPTIONS, min_votes=12)).promote
    with pytest.raises(ConfigError, match="min_votes"):
        GateOptions(min_votes=-1)
