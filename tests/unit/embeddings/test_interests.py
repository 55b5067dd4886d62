import numpy as np
import pytest

from personalgen.embeddings.confidence import confidence_known
from personalgen.embeddings.interests import _split, interests_known

DAY = 86_400


def unit(rows):
    """Return the rows at length one."""
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def camps():
    """Return (4, 16) directions at right angles."""
    return np.eye(16, dtype=np.float32)[:4]


def people(camps, shown, noise=0.1, seed=0):
    """Return one person's likes around the shown camps, and equal weights."""
    rng = np.random.default_rng(seed)
    vectors = np.zeros((1, 32, 16), dtype=np.float32)
    vectors[0, : len(shown)] = camps[shown] + noise * rng.normal(size=(len(shown), 16))
    return vectors, (np.arange(32) < len(shown)).astype(np.float32)[None]


@pytest.mark.parametrize("n_camps", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(5))
def test_as_many_interests_as_there_are_camps(camps, n_camps, seed):
    """Twenty likes of one to four camps: each camp's centroid, its share of the likes, and no centroid more."""
    shown = np.random.default_rng(seed).permutation(np.arange(20) % n_camps)
    centroids, shares = _split(*people(camps, shown, seed=seed), 4)
    assert (shares[0] > 0).sum() == n_camps
    assert shares[0].sum() == pytest.approx(1, abs=1e-5)
    nearest = (unit(centroids[0, :n_camps]) @ camps.T).max(0)[:n_camps]
    assert (nearest > 0.95).all()


@pytest.mark.parametrize("n_likes", [1, 2, 3, 5, 10, 32])
def test_likes_without_order_are_one_interest(n_likes):
    """Random directions make hardly ever two interests, however few or many they are."""
    rng = np.random.default_rng(n_likes)
    vectors = unit(rng.normal(size=(200, 32, 16)))
    weights = np.broadcast_to((np.arange(32) < n_likes).astype(np.float32), (200, 32))
    _, shares = _split(vectors * weights[..., None], weights, 4)
    assert ((shares > 0).sum(1) > 1).mean() < 0.1


def test_the_heaviest_interest_comes_first(camps):
    """By decayed weight, not by number."""
    vectors, weights = people(camps, np.array([0] * 5 + [1] * 10), noise=0.05)
    weights[0, :5] = 10
    centroids, shares = _split(vectors, weights, 4)
    assert unit(centroids[0, 0]) @ camps[0] > 0.95
    assert shares[0].tolist() == pytest.approx([50 / 60, 10 / 60, 0, 0], abs=1e-5)


def test_what_is_known_is_what_was_before(make_history, basis, features, past):
    """Interests of a part of the events are those of a history that holds nothing else; dislikes are no interest."""
    items = basis.item_vectors(features, past.item_ids)
    history = make_history(
        [(0, 0, 1, 1.0), (0, 1, 2, 1.0), (0, 7, 3, -1.0), (0, 8, 4, 1.0), (1, 3, 1, -1.0)], n_users=3
    )
    start, stop = np.array([0, 0, 4, 5]), np.array([2, 4, 5, 5])
    found = interests_known(history, basis, items, start, stop, 4)
    assert found.mask.any(1).tolist() == [True, True, False, False]
    alone = make_history([(0, 0, 1, 1.0), (0, 1, 2, 1.0)], n_users=1)
    same = interests_known(alone, basis, items, alone.bounds[:-1], alone.bounds[1:], 4)
    assert np.allclose(found.values[0], same.values[0], atol=1e-6)
    weights = np.exp2(-np.array([1, 0]) / basis.options.half_life_days)
    mean = (weights[:, None] * items[[0, 1]]).sum(0) / weights.sum()
    assert np.allclose(same.values[0, 0, :-1], basis.standardise(mean), atol=1e-5)


def test_confidence_counts_what_is_known(make_history, basis, features, past):
    """Events, effective events, days since the newest, and the entropy of interests; nothing where nothing is known."""
    items = basis.item_vectors(features, past.item_ids)
    history = make_history([(0, 0, 0, 1.0), (0, 1, 10, 1.0), (0, 2, 10, -1.0)], n_users=2)
    start, stop, now = np.array([0, 0, 3]), np.array([1, 3, 3]), np.array([5, 13, 13]) * DAY
    interests = interests_known(history, basis, items, start, stop, 4)
    found = confidence_known(history, start, stop, now, n_events=stop - start, half_life_days=10.0, interests=interests)
    effective = (0.5 + 1 + 1) ** 2 / (0.25 + 1 + 1)
    assert found.values[0].tolist() == pytest.approx([*np.log1p([1, 1, 5]), 0], abs=1e-6)
    assert found.values[1].tolist() == pytest.approx([*np.log1p([3, effective, 3]), 0], abs=1e-6)
    assert not found.values[2].any()
    assert found.mask.all()
    two = interests_known(history, basis, items, start, stop, 4)
    two.values[1, :2, -1], two.mask[1, :2] = 0.5, True
    again = confidence_known(history, start, stop, now, n_events=stop - start, half_life_days=10.0, interests=two)
    assert again.values[1, 3] == pytest.approx(np.log(2))
