import numpy as np
import pytest
from scipy.sparse import csr_array

from personalgen.errors import DataError
from personalgen.evaluation import EvaluationOptions, identify
from personalgen.evaluation.identification import place_of_the_right_one

N_USERS, PER_USER = 40, 8
OPTIONS = EvaluationOptions(bootstrap=200)


@pytest.fixture
def held_out():
    """Scores of 40 x 8 real likes, whose owner each pleases by 1, with noise of 0.5, and whose they are."""
    rng = np.random.default_rng(0)
    owner = np.repeat(np.arange(N_USERS), PER_USER)
    scores = np.eye(N_USERS)[owner] + 0.5 * rng.normal(size=(len(owner), N_USERS))
    likes = csr_array((np.ones(len(owner)), (owner, np.arange(len(owner)))))
    return scores, likes


def test_pictures_as_good_as_real_likes_name_as_many(held_out):
    """Real likes in the place of the pictures reach what real likes reach, and the ratio is 1."""
    scores, likes = held_out
    found = identify(scores.reshape(N_USERS, PER_USER, N_USERS), scores, likes, options=OPTIONS)
    assert found.top_1.value == found.real_top_1.value > 0.9
    assert found.of_real_1.value == 1
    assert found.n_pictures == PER_USER


@pytest.mark.parametrize("fault", ["one for all", "noise", "shuffled users"])
def test_impersonal_pictures_name_nobody(held_out, fault):
    """One picture for all, noise and other users' pictures stay near chance, real likes do not."""
    scores, likes = held_out
    rng = np.random.default_rng(1)
    pictures = {
        "one for all": np.broadcast_to(rng.normal(size=N_USERS), (N_USERS, PER_USER, N_USERS)),
        "noise": rng.normal(size=(N_USERS, PER_USER, N_USERS)),
        "shuffled users": np.roll(scores.reshape(N_USERS, PER_USER, N_USERS), 1, axis=0),
    }[fault]
    found = identify(pictures, scores, likes, options=OPTIONS)
    assert found.top_1.value <= 0.15
    assert found.of_real_1.high < 0.5
    assert found.chance_1 == 1 / N_USERS
    assert found.chance_16 == 16 / N_USERS


def test_who_likes_everything_is_not_named_for_everybody():
    """A user who scores all pictures higher by 10 is named for the own ones alone."""
    scores = np.eye(5)
    scores[:, 2] += 10
    assert place_of_the_right_one(scores).tolist() == [0] * 5


def test_equal_scores_count_against_the_right_one():
    """Where nothing tells users apart, the right one is last."""
    assert place_of_the_right_one(np.ones((6, 6))).tolist() == [5] * 6


def test_as_many_pictures_as_real_likes_are_looked_at(held_out):
    """A user with two held-out likes is named from two pictures: the others of them are not looked at."""
    scores, likes = held_out
    two = csr_array(likes.toarray() * (np.arange(likes.shape[1]) % PER_USER < 2))
    pictures = scores.reshape(N_USERS, PER_USER, N_USERS).copy()
    pictures[:, 2:] = 0
    found = identify(pictures, scores, two, options=OPTIONS)
    assert found.n_pictures == 2
    assert found.top_1.value == found.real_top_1.value


def test_users_without_likes_are_refused(held_out):
    """Nobody can be named from nothing."""
    scores, _ = held_out
    nobody = csr_array((N_USERS, len(scores)))
    with pytest.raises(DataError, match="40 without"):
        identify(scores.reshape(N_USERS, PER_USER, N_USERS), scores, nobody, options=OPTIONS)


def test_rounding_names_nobody():
    """A generator that draws one picture for all gives rows that differ by rounding alone: nobody is named."""
    row = np.random.default_rng(0).normal(size=9)
    assert (place_of_the_right_one(np.tile(row, (9, 1))) == 8).all()
