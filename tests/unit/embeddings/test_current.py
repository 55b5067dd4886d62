import dataclasses

import numpy as np
import pytest

from personalgen.embeddings.current import MOST_LIKES, current_known

CAMPS = (0, 6)


def known(history, basis, features, start=None, stop=None):
    """Return what is liked now, of everybody or at some moments."""
    items = basis.item_vectors(features, history.item_ids)
    bounds = history.bounds
    return current_known(
        history, basis, items, bounds[:-1] if start is None else start, bounds[1:] if stop is None else stop
    )


def one_by_one(likes, items, center):
    """Return the raw vector of (item, day, weight) likes by its definition: a loop over them."""
    sums, totals, weights, last = np.zeros((2, items.shape[1])), np.zeros(2), np.full(2, 0.5), None
    for item, day, weight in likes:
        if last is not None:
            faded = np.array([1.0, 2.0 ** (-1 / 4 - (day - last) / 10)])
            sums, totals = sums * faded[:, None], totals * faded
            means = (sums + center) / (totals + 1)[:, None]
            scaled = weights * np.exp(-3 * ((items[item] - means) ** 2).sum(1))
            weights = 0.97 * scaled / scaled.sum() + 0.015
        sums, totals, last = sums + weight * items[item], totals + weight, day
    return weights @ ((sums + center) / (totals + 1)[:, None])


def test_it_is_what_a_loop_over_likes_gives(make_history, basis, features):
    """Whatever the weights and times; people of any number of likes in one call, dislikes left out."""
    rng = np.random.default_rng(0)
    rows = [
        (user, int(rng.integers(12)), float(day), float(rng.choice([1, 2, -1])))
        for user in range(9)
        for day in np.sort(rng.choice(300, 5 * user, replace=False))
    ]
    history = make_history(rows, n_users=9)
    found = known(history, basis, features)
    items = basis.item_vectors(features, history.item_ids).astype(np.float64)
    for user in range(9):
        own = [(item, day, weight) for who, item, day, weight in rows if who == user and weight > 0]
        assert bool(found.mask[user]) == bool(own)
        if own:
            expected = basis.standardise(one_by_one(own, items, basis.center)[None].astype(np.float32))[0]
            assert np.allclose(found.values[user], expected, atol=1e-4)
    assert not found.values[~found.mask].any()


def test_who_has_moved_is_known_by_what_came_lately(make_history, basis, features):
    """After twelve likes in one camp and six in the other it stands by the other; without a move by the one."""
    camp = [[(0, k % 6 + first, float(day + k), 1.0) for k in range(n)] for first, day, n in ((0, 0, 12), (6, 40, 6))]
    moved = make_history([*camp[0], *camp[1]], n_users=1)
    stayed = make_history([*camp[0], *[(0, k % 6, float(40 + k), 1.0) for k in range(6)]], n_users=1)
    items = basis.item_vectors(features, moved.item_ids)
    centers = basis.standardise(np.stack([items[first : first + 6].mean(0) for first in CAMPS]))
    away = [np.linalg.norm(known(history, basis, features).values[0] - centers, axis=1) for history in (moved, stayed)]
    assert away[0][1] < 0.6 * away[0][0]
    assert away[1][0] < 0.5 * away[1][1]


def test_only_the_moment_counts(make_history, basis, features):
    """The same from a part of a history as from a history that holds nothing else, and only from the newest likes."""
    rng = np.random.default_rng(1)
    rows = [(0, int(rng.integers(12)), float(day), 1.0) for day in range(MOST_LIKES + 30)]
    history = make_history(rows, n_users=1)
    found = known(history, basis, features, np.array([0, 0]), np.array([20, len(rows)]))
    alone = known(make_history(rows[:20], n_users=1), basis, features)
    newest = known(make_history(rows[-MOST_LIKES:], n_users=1), basis, features)
    assert np.allclose(found.values, np.concatenate([alone.values, newest.values]), atol=1e-5)


def test_chunks_change_nothing(past, basis, features, monkeypatch):
    """Also where the last one is not full."""
    whole = known(past, basis, features)
    monkeypatch.setattr("personalgen.embeddings.current._CHUNK", 7)
    assert np.array_equal(known(past, basis, features).values, whole.values)


@pytest.mark.parametrize("weight", [1.0, 5.0])
def test_time_passing_changes_nothing(past, basis, features, weight):
    """The newest like is the anchor, as of a preference: the whole history later is the same history."""
    heavier = dataclasses.replace(past, weight=past.weight * np.float32(weight))
    later = dataclasses.replace(heavier, timestamp=heavier.timestamp + 1000 * 86_400)
    assert np.allclose(known(heavier, basis, features).values, known(later, basis, features).values, atol=1e-6)
