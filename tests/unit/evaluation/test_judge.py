import numpy as np
import pytest
from scipy.sparse import csr_array

from personalgen.errors import DataError
from personalgen.evaluation import ContentJudge, Judge, Pictures
from personalgen.evaluation.judge import weighted_rows


def _features(n=200, d=40, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 5)) @ rng.normal(size=(5, d)) * 3 + rng.normal(size=(n, d)) * 0.1 + 7


def test_content_judge_follows_the_protocol():
    """Judge A can stand wherever a judge is asked for."""
    judge: Judge = ContentJudge()
    assert "lite2" in judge.name


def test_whitened_items_have_unit_variance_without_correlation():
    """With many items and little shrinkage the judge items have about the identity as covariance."""
    features = _features(n=5000)
    whitened = ContentJudge(dims=5).fit(Pictures(features)).whiten(features)
    assert np.abs(whitened.mean(axis=0)).max() < 1e-9
    assert np.allclose(np.cov(whitened.T), np.eye(5), atol=0.05)


def test_shrinkage_holds_noise_down():
    """With 40 items in 1280 dimensions of noise, whitened variances stay well below one instead of blowing noise up."""
    features = np.random.default_rng(0).normal(size=(40, 1280))
    judge = ContentJudge(dims=64).fit(Pictures(features))
    fresh = judge.whiten(np.random.default_rng(1).normal(size=(500, 1280)))
    assert judge.whitening_.shape == (1280, 10)
    assert fresh.var() < 1.2


def test_score_is_the_cosine_with_the_weighted_mean():
    """Scores equal the cosine of whitened rows computed user by user."""
    items = Pictures(_features(seed=0))
    judge = ContentJudge(dims=8).fit(items)
    likes = csr_array(([1.0, 3.0, 2.0], ([0, 0, 1], [4, 9, 7])), shape=(2, 200))
    pictures = Pictures(_features(n=3, seed=1))
    scores = judge.score(pictures, items, likes)
    whitened = judge.whiten(items.features)
    profiles = np.stack([(whitened[4] + 3 * whitened[9]) / 4, whitened[7]])
    for p, picture in enumerate(judge.whiten(pictures.features)):
        for u, profile in enumerate(profiles):
            expected = picture @ profile / np.linalg.norm(picture) / np.linalg.norm(profile)
            assert scores[p, u] == pytest.approx(expected)


def test_a_liked_item_scores_one():
    """A picture with the features of a user's only like gets the highest score there is."""
    items = Pictures(_features())
    likes = csr_array(([1.0], ([0], [3])), shape=(1, 200))
    judge = ContentJudge().fit(items)
    assert judge.score(items.take(np.array([3])), items, likes)[0, 0] == pytest.approx(1.0)


@pytest.mark.parametrize("weights", [[1.0, -1.0], [1.0, 0.0]])
def test_likes_must_be_positive(weights):
    """Dislikes and zero weights are refused instead of building a wrong profile."""
    with pytest.raises(DataError, match="1 weights at or below zero"):
        weighted_rows(csr_array((weights, ([0, 1], [0, 1])), shape=(2, 3)))


def test_a_user_without_likes_is_refused():
    """A user without a like has no profile, and says so."""
    with pytest.raises(DataError, match="1 users without"):
        weighted_rows(csr_array(([1.0], ([0], [0])), shape=(2, 3)))


def test_few_or_equal_items_cannot_build_a_judge():
    """Too few items, or items that all look alike, are refused."""
    with pytest.raises(DataError, match="at least 16 items"):
        ContentJudge().fit(Pictures(_features(n=15)))
    with pytest.raises(DataError, match="all look the same"):
        ContentJudge().fit(Pictures(np.full((50, 10), 0.25)))
