import math

import numpy as np
import pytest
from scipy.stats import beta, binom
from sklearn.linear_model import LogisticRegression

from personalgen.errors import DataError
from personalgen.evaluation import EvaluationOptions
from personalgen.evaluation.pairwise import Choice, bradley_terry, position_bias, voter_agreement

OPTIONS = EvaluationOptions(bootstrap=4000)
QUICK = EvaluationOptions(bootstrap=400)


def choices(*counts, left="a", right="b", voter="v"):
    """Return so many choices of left, right and ties, each for a person of its own."""
    winners = [winner for winner, n in zip(("left", "right", "tie"), counts, strict=False) for _ in range(n)]
    return [Choice(left, right, winner, voter, f"{left}{right}{k}") for k, winner in enumerate(winners)]


def drawn(strengths, n_people, rng, *, spread=0.0):
    """Return a choice of every two models for each person, whose own strengths lie around the planted ones."""
    names, found = sorted(strengths), []
    for person in range(n_people):
        own = {name: strengths[name] + spread * rng.normal() for name in names}
        for k, first in enumerate(names):
            for second in names[k + 1 :]:
                left, right = rng.permutation([first, second])
                won = rng.random() < 1 / (1 + math.exp(own[right] - own[left]))
                found.append(Choice(left, right, "left" if won else "right", "v", str(person)))
    return found


def test_of_two_models_the_difference_is_the_log_odds():
    """Without a prior 30 wins to 10 are log 3 apart; with it they are the log odds of 30.5 to 10.5."""
    found = bradley_terry(choices(30, 10), options=QUICK, prior=0)
    assert found.models == ("a", "b")
    assert found.values[0] - found.values[1] == pytest.approx(math.log(3), abs=1e-8)
    assert found.preference("a", over="b").value == pytest.approx(0.75, abs=1e-8)
    shrunk = bradley_terry(choices(30, 10), options=QUICK)
    assert shrunk.values[0] - shrunk.values[1] == pytest.approx(math.log(30.5 / 10.5), abs=1e-8)


def test_ties_are_half_a_win_for_each():
    """10 wins and 20 ties are 20 wins and 10 losses."""
    assert bradley_terry(choices(10, 0, 20), options=QUICK).values == pytest.approx(
        bradley_terry(choices(20, 10), options=QUICK).values
    )


def test_all_ties_give_zero():
    """Nobody prefers anything: strengths of 0, a preference of one half, and both intervals around them."""
    found = bradley_terry(choices(0, 0, 30), options=QUICK)
    assert found.values == pytest.approx([0, 0], abs=1e-12)
    half = found.preference("a", over="b")
    assert half.value == pytest.approx(0.5)
    assert 0.4 < half.low < 0.5 < half.high < 0.6
    assert (found.n_choices, found.n_ties, found.n_people, found.n_voters) == (30, 30, 30, 1)


def test_a_chain_of_models_that_never_lost_stays_finite():
    """Where a always beats b and b always c, the half win keeps a and c apart by twice the log odds of 10.5 to 0.5."""
    found = bradley_terry(choices(10) + choices(10, left="b", right="c"), options=QUICK)
    assert found.values == pytest.approx([math.log(21), 0, -math.log(21)], abs=1e-7)
    assert np.isfinite(found.resamples).all()


@pytest.mark.parametrize(("won", "lost"), [(20, 0), (3, 0), (14, 6), (0, 8)])
def test_one_voter_s_interval_is_jeffreys_s(won, lost):
    """Quantiles of Beta(wins + 1/2, losses + 1/2), within the noise of 4,000 resamples; also where all agree."""
    found = bradley_terry(choices(won, lost), options=OPTIONS).preference("a", over="b")
    exact = beta(won + 0.5, lost + 0.5).ppf([0.025, 0.975])
    assert [found.low, found.high] == pytest.approx(exact, abs=0.02)


def test_strengths_are_those_of_a_logistic_regression():
    """Without a prior they are the coefficients that scikit-learn finds without regularisation, mean 0."""
    rng = np.random.default_rng(0)
    found = drawn({"a": 0.8, "b": 0.0, "c": -0.5, "d": 0.3}, 60, rng)
    names = ("a", "b", "c", "d")
    rows = np.array([[(name == one.left) - (name == one.right) for name in names] for one in found], np.float64)
    won = [one.winner == "left" for one in found]
    model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=1000).fit(rows, won)
    expected = model.coef_[0] - model.coef_[0].mean()
    assert bradley_terry(found, options=QUICK, prior=0).values == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_intervals_hold_planted_strengths_at_their_rate():
    """Of 200 data sets, the interval of the strongest of three models holds its planted strength in 95 %.

    At a true rate of 95 % fewer than 178 or more than 199 would be seen once in 1,000 times.
    """
    planted, rng = {"a": 0.7, "b": -0.2, "c": -0.5}, np.random.default_rng(1)
    found = [bradley_terry(drawn(planted, 40, rng), options=QUICK).strengths[0] for _ in range(200)]
    held = sum(each.low <= planted["a"] <= each.high for each in found)
    assert binom(200, 0.95).cdf(177) + binom(200, 0.95).sf(199) < 1e-3
    assert 178 <= held <= 199


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_people_who_differ_widen_the_interval():
    """Ten choices for each of twenty people of opposite tastes: the interval holds one half at about its rate.

    At a true rate of 93 % fewer than 83 of 100 would be seen twice in 10,000. An interval that takes the 200 choices
    as independent is more than a third too narrow, and holds it in about half of the sets; 75 or more would be seen
    less than twice in 10,000 at a true rate of 57 %.
    """
    rng, held, naive = np.random.default_rng(2), 0, 0
    for _ in range(100):
        wins = rng.binomial(10, np.where(rng.random(20) < 0.5, 0.1, 0.9))
        found = [
            Choice("a", "b", "left" if k < n else "right", "v", str(person))
            for person, n in enumerate(wins)
            for k in range(10)
        ]
        interval = bradley_terry(found, options=QUICK).preference("a", over="b")
        held += interval.low <= 0.5 <= interval.high
        ends = beta(wins.sum() + 0.5, 200 - wins.sum() + 0.5).ppf([0.025, 0.975])
        naive += ends[0] <= 0.5 <= ends[1]
    assert binom(100, 0.93).cdf(82) < 5e-4
    assert binom(100, 0.57).sf(74) < 2e-4
    assert held >= 83
    assert naive < 75


def test_voters_who_differ_widen_the_interval():
    """Four voters of whom each always chooses the same say less than one voter who chooses by the picture."""
    people = range(40)
    one = [Choice("a", "b", "left" if p % 4 else "right", "v", str(p)) for p in people]
    four = [Choice("a", "b", "left" if v else "right", f"v{v}", str(p)) for p in people for v in range(4)]
    alone, together = (bradley_terry(found, options=QUICK).preference("a", over="b") for found in (one, four))
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_the_same_choices_give_the_same_interval():
    """Resampling starts from the options' seed."""
    first, again = (bradley_terry(choices(9, 4), options=QUICK) for _ in range(2))
    assert first.strengths == again.strengths


def test_models_that_nobody_compared_are_refused_by_group():
    """Two groups without a choice between them have no common scale; the message names them."""
    apart = choices(3, 2) + choices(2, 2, left="c", right="d")
    with pytest.raises(DataError, match=r"2 groups: a, b; c, d\. Compare a model.*Nothing was measured"):
        bradley_terry(apart, options=QUICK)
    joined = bradley_terry(apart + choices(1, left="b", right="c"), options=QUICK)
    assert joined.models == ("a", "b", "c", "d")


def test_no_choice_and_a_model_against_itself_are_refused():
    """There is nothing to measure in either."""
    with pytest.raises(DataError, match="at least one choice"):
        bradley_terry([], options=QUICK)
    with pytest.raises(DataError, match="found a on both sides"):
        bradley_terry(choices(1, right="a"), options=QUICK)


def test_a_side_that_is_chosen_for_itself_shows():
    """16 of 20 left choices are 0.012 by the binomial test (scipy's own), ties aside; 10 of 20 are nothing."""
    bias = position_bias(choices(16, 4, 5))
    assert bias.left.value == pytest.approx(0.8)
    assert bias.p_value == pytest.approx(2 * binom(20, 0.5).sf(15))
    assert bias.left.low == pytest.approx(beta(16, 5).ppf(0.025))
    assert bias.n_decided == 20
    assert position_bias(choices(10, 10)).p_value == pytest.approx(1)
    with pytest.raises(DataError, match="found 3 ties and nothing else"):
        position_bias(choices(0, 0, 3))


def test_voters_agree_on_models_not_on_sides():
    """A pair shown the other way round is the same pair; the share by chance follows from how often answers occur."""
    pair = [
        Choice("a", "b", "left", "v", "ann"), Choice("b", "a", "right", "w", "ann"),
        Choice("a", "b", "left", "v", "bob"), Choice("a", "b", "right", "w", "bob"),
        Choice("a", "b", "tie", "v", "cid"),
    ]  # fmt: skip
    found = voter_agreement(pair)
    assert (found.share, found.n_repeated) == (0.5, 2)
    assert found.by_chance == pytest.approx(0.75**2 + 0.25**2)
    nothing = voter_agreement(pair[:1])
    assert (nothing.n_repeated, nothing.share, nothing.by_chance) == (0, None, None)
