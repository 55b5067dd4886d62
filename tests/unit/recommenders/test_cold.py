import numpy as np
import pytest

from personalgen.recommenders.cold import with_cold_items


@pytest.fixture
def world():
    """Return scores that are linear in four features of 40 items, the features, and which 30 items are known."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 4)).astype(np.float32)
    scores = (rng.normal(size=(7, 4)) @ features.T + rng.normal(size=(7, 1))).astype(np.float32)
    return scores, features, np.arange(40) < 30


def test_linear_scores_are_found_again(world):
    """Where scores follow from features, those of unknown items come out, whatever stood there."""
    scores, features, known = world
    hidden = np.where(known, scores, 1000.0).astype(np.float32)
    found = with_cold_items(hidden, features, known, ridge=1e-6)
    assert np.allclose(found, scores, atol=1e-3)
    assert hidden[0, 39] == 1000.0


def test_known_items_stay(world):
    """Their columns are not touched."""
    scores, features, known = world
    assert np.array_equal(with_cold_items(scores, features, known)[:, known], scores[:, known])


def test_features_that_tell_nothing_give_the_mean(world):
    """With equal features a cold item scores as known items do on average, for each person."""
    scores, features, known = world
    found = with_cold_items(scores, np.ones_like(features), known)
    assert np.allclose(found[:, ~known], scores[:, known].mean(1, keepdims=True), atol=1e-4)
