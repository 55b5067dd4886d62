import numpy as np
import pytest

from personalgen.errors import DataError
from personalgen.evaluation import EvaluationOptions, agreement

OPTIONS = EvaluationOptions(bootstrap=200)
RNG_SEED = 3


@pytest.fixture
def scores():
    """(60, 60) scores of personal pictures, more personal for some users than for others."""
    rng = np.random.default_rng(RNG_SEED)
    return np.diag(rng.gamma(2, size=60)) + 0.3 * rng.normal(size=(60, 60))


def test_a_judge_agrees_with_itself_in_other_units(scores):
    """Scaled and shifted scores are the same opinion."""
    found = agreement(scores, 3 * scores + 7, options=OPTIONS)
    assert found.same_winner.value == 1
    assert found.correlation.value == pytest.approx(1)


def test_a_judge_and_its_opposite_agree_in_nothing(scores):
    """Turned scores disagree everywhere."""
    found = agreement(scores, -scores, options=OPTIONS)
    assert found.same_winner.value == 0
    assert found.correlation.value == pytest.approx(-1)


def test_a_judge_that_guesses_agrees_by_chance(scores):
    """Noise agrees in half of the pairs and correlates by nothing (each interval misses that in 1 of 20 seeds)."""
    found = agreement(scores, np.random.default_rng(RNG_SEED + 1).normal(size=scores.shape), options=OPTIONS)
    assert found.same_winner.low < 0.5 < found.same_winner.high
    assert found.correlation.low < 0 < found.correlation.high


def test_other_users_are_refused(scores):
    """Judges are compared over the same users."""
    with pytest.raises(DataError, match="same users"):
        agreement(scores, scores[:5, :5], options=OPTIONS)
