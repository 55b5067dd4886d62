import numpy as np
import pytest

from personalgen.errors import DataError
from personalgen.evaluation import EvaluationOptions, own_scores, win_rate

OPTIONS = EvaluationOptions(bootstrap=200)


def test_all_pairs_of_a_user_count_and_ties_are_half():
    """Against a count by hand: (2, 1) beats (1, 0) in three pairs of four and ties in one."""
    own, other = np.tile([2.0, 1.0], (8, 1)), np.tile([1.0, 0.0], (8, 1))
    assert win_rate(own, other, options=OPTIONS).value == pytest.approx((3 + 0.5) / 4)


def test_the_same_pictures_win_half():
    """Against itself a way to draw wins half of the pairs, to the bit."""
    scores = np.random.default_rng(0).normal(size=(20, 4))
    assert win_rate(scores, scores, options=OPTIONS).value == 0.5


def test_users_are_the_independent_units():
    """Half of the users always win, half always lose: the interval is that of a coin thrown once a user."""
    own = np.repeat([[1.0], [-1.0]], 50, axis=0) * np.ones((1, 30))
    found = win_rate(own, np.zeros((100, 30)), options=OPTIONS)
    assert found.value == 0.5
    assert 0.07 < found.high - 0.5 < 0.13


def test_own_scores_are_those_of_the_own_user():
    """The score of picture p of user u for u, of a cube of scores."""
    cube = np.arange(2 * 3 * 2).reshape(2, 3, 2)
    assert own_scores(cube).tolist() == [[0, 2, 4], [7, 9, 11]]


@pytest.mark.parametrize("shape", [(3, 2), (4,), (4, 0)])
def test_other_users_are_refused(shape):
    """Both sides need scores of the same users."""
    with pytest.raises(DataError, match="same users"):
        win_rate(np.ones((4, 2)), np.ones(shape), options=OPTIONS)
