"""A score says how much more a picture is to one person's taste than to everybody's."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from personalgen.errors import DataError, OptionsError
from personalgen.evaluation import ContentJudge, Pictures, ScoreOptions
from personalgen.evaluation.preference import per_user_gain
from personalgen.evaluation.tastes import Tastes

N_ITEMS, N_USERS = 120, 9


@pytest.fixture(scope="module")
def world():
    """Return item features, a judge fitted on them, and the likes of nine people."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(N_ITEMS, 6)) @ rng.normal(size=(6, 30)) + rng.normal(size=(N_ITEMS, 30)) * 0.1
    likes = csr_array((rng.random((N_USERS, N_ITEMS)) < 0.05) * rng.random((N_USERS, N_ITEMS)))
    return features, ContentJudge(dims=8).fit(Pictures(features)), likes


def with_nobody(likes):
    """Return the likes with one person more, who has none."""
    return csr_array((likes.data, likes.indices, [*likes.indptr, likes.indptr[-1]]), shape=(N_USERS + 1, N_ITEMS))


def test_a_score_is_the_gain_of_one_picture(world):
    """One picture of each person gives exactly what evaluations call the gain of each person."""
    features, judge, likes = world
    pictures = features[:N_USERS] + 1
    tastes = Tastes.of(judge, np.array_split(features, 7), likes)
    expected = per_user_gain(judge.score(Pictures(pictures), Pictures(features), likes))
    assert tastes.score(pictures, np.arange(N_USERS)) == pytest.approx(expected, abs=1e-12)


def test_who_likes_nothing_is_unknown_and_changes_no_score(world):
    """A person without likes has no taste, and is not among the others either."""
    features, judge, likes = world
    without, beside = Tastes.of(judge, [features], likes), Tastes.of(judge, [features], with_nobody(likes))
    assert beside.known.tolist() == [True] * N_USERS + [False]
    users = np.array([0, 3, 3])
    assert beside.score(features[:3], users) == pytest.approx(without.score(features[:3], users), abs=1e-12)


def test_pictures_that_suit_everybody_alike_score_nothing(world):
    """Where all people like the same, the crowd is as near as the person: the score is zero."""
    features, judge, _ = world
    same = csr_array(np.tile(np.arange(N_ITEMS) < 5, (N_USERS, 1)).astype(float))
    scores = Tastes.of(judge, [features], same).score(features[:4], np.arange(4))
    assert scores == pytest.approx(0, abs=1e-12)


def test_too_few_people_cannot_be_told_apart(world):
    """Seven people with likes are refused."""
    features, judge, likes = world
    with pytest.raises(DataError, match="needs 8 with likes, found 7"):
        Tastes.of(judge, [features], likes[:7])


@pytest.mark.parametrize("images", [0, -3, "some", True, 2.5])
def test_options_that_name_no_number_of_images_are_refused(images):
    """A count above 0, all or none; the message says so."""
    with pytest.raises(OptionsError, match="images must be"):
        ScoreOptions(images)


def test_options_say_how_many():
    """None is 0, all has no limit."""
    assert [ScoreOptions(images).most for images in ("none", "all", 7)] == [0, None, 7]
