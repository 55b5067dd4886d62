"""One suite for every recommender: what a pipeline may rely on, whichever is chosen."""

import numpy as np
import pytest

from personalgen.histories import History
from personalgen.recommenders.base import Forgetting, likes_of
from personalgen.recommenders.factors import Als, FactorOptions, Svd
from personalgen.recommenders.low_rank import LowRankNextItem, LowRankOptions
from personalgen.recommenders.next_item import LinearNextItem
from personalgen.recommenders.popularity import Popularity
from personalgen.recommenders.sequence import SequenceEncoder, SequenceOptions
from personalgen.recommenders.statistics import NextItemOptions

N_ITEMS = 12
MAKE = {
    "next-item": lambda: LinearNextItem(NextItemOptions(ridge=5.0), dim=4),
    "next-item, one scale": lambda: LinearNextItem(NextItemOptions(ridge=5.0, two_scales=False), dim=4),
    "next-item, low rank": lambda: LowRankNextItem(LowRankOptions(rank=6, ridge=1.0)),
    "popularity": Popularity,
    "popular-7-days": lambda: Popularity(days=7),
    "svd": lambda: Svd(FactorOptions(dim=4)),
    "sequence": lambda: SequenceEncoder(SequenceOptions(dim=8, longest=6, epochs=20, batch_size=8)),
    "als": lambda: Als(FactorOptions(dim=4, iterations=3)),
}


@pytest.fixture(params=MAKE)
def recommender(request):
    """Return each of them, before its first fit."""
    return MAKE[request.param]()


def history(sequences, *, start=1_700_000_000):
    """Return people who liked one item a day, oldest first; each has one dislike, which counts for nothing."""
    users, items, times, weights = [], [], [], []
    for user, sequence in enumerate(sequences):
        for day, item in enumerate(sequence):
            users.append(user), items.append(item), times.append(start + 86_400 * day), weights.append(1.0)
        users.append(user), items.append(0), times.append(start + 86_400 * 100), weights.append(-1.0)
    return History(
        tuple(f"u{k}" for k in range(len(sequences))),
        tuple(f"i{k}" for k in range(N_ITEMS)),
        np.array(users, dtype=np.int64),
        np.array(items, dtype=np.int64),
        np.array(times, dtype=np.int64),
        np.array(weights, dtype=np.float32),
    )


def walks(count, length, seed=0):
    """Return people who like the items in a circle, from anywhere on."""
    starts = np.random.default_rng(seed).integers(0, N_ITEMS, count)
    return [[int(item) for item in (start + np.arange(length)) % N_ITEMS] for start in starts]


def test_ids_travel_with_matrices(recommender):
    """A row for each person of the history, a column for each item of the fit; vectors multiply to scores' shape."""
    people = history(walks(20, 6))
    recommender.fit(people)
    scores, users, items = recommender.scores(people), recommender.user_vectors(people), recommender.item_vectors()
    assert recommender.item_ids == people.item_ids
    assert scores.shape == (20, N_ITEMS) == (users @ items.T).shape
    assert {array.dtype for array in (scores, users, items)} == {np.dtype(np.float32)}
    assert all(np.isfinite(array).all() for array in (scores, users, items))


def test_people_do_not_see_each_other(recommender):
    """Asked about alone, a person gets the same scores as among others."""
    everybody = walks(20, 6)
    recommender.fit(history(everybody))
    alone = recommender.scores(history(everybody[3:4]))
    assert np.allclose(recommender.scores(history(everybody))[3], alone[0], atol=1e-5)


def test_a_person_without_likes_gets_finite_scores(recommender):
    """Nobody is refused for being new."""
    recommender.fit(history(walks(20, 6)))
    assert np.isfinite(recommender.scores(history([[]]))).all()


def test_night_by_night_is_all_at_once(recommender):
    """An update with what is new gives the scores of a fit on everything."""
    sequences = walks(20, 8)
    known = np.arange(20) % 9
    recommender.fit(history([items[:count] for items, count in zip(sequences, known, strict=True)]))
    updated = recommender.update(history(sequences), known).scores(history(sequences))
    again = type(recommender).fit(recommender, history(sequences)).scores(history(sequences))
    assert np.allclose(updated, again, atol=1e-5)


def test_a_person_is_forgotten_when_it_says(recommender):
    """At once, at the next solve, or at the next fit: then scores are those of a fit on the others."""
    sequences = walks(20, 6, seed=1)
    recommender.fit(history(sequences))
    when = recommender.forget(history(sequences[:1]))
    if when == Forgetting.NEXT_SOLVE:
        recommender.solve()
    if when == Forgetting.NEXT_FIT:
        recommender.fit(history(sequences[1:]))
    left = recommender.scores(history(sequences))
    expected = recommender.fit(history(sequences[1:])).scores(history(sequences))
    assert np.allclose(left, expected, atol=1e-5)


def test_likes_are_ranked_above_what_nobody_likes(recommender):
    """Items that are never liked come last."""
    people = history([[k % 6 for k in range(start, start + 5)] for start in range(12)])
    scores = recommender.fit(people).scores(people)
    assert (scores[:, :6].mean(1) > scores[:, 6:].mean(1)).all()


def test_the_order_of_a_catalogue_is_nothing_to_learn():
    """Of likes in one second none is first: every item is as often before as after another, whoever liked them."""
    rng = np.random.default_rng(0)
    times = rng.integers(1_600_000_000, 1_700_000_000, 400)
    pairs = [sorted(rng.choice(N_ITEMS, 2, replace=False).tolist()) for _ in times]
    people = History(
        tuple(f"u{k}" for k in range(400)),
        tuple(f"i{k}" for k in range(N_ITEMS)),
        np.repeat(np.arange(400), 2),
        np.array(pairs).ravel(),
        np.repeat(times, 2),
        np.ones(800, dtype=np.float32),
    )
    found = likes_of(people).item_index.reshape(-1, 2)
    assert np.array_equal(np.sort(found, axis=1), np.array(pairs))
    assert abs(np.mean(found[:, 0] < found[:, 1]) - 0.5) < 0.1
    alone = people.where(people.user_index == 7)
    assert likes_of(alone).item_index.tolist() == found[7].tolist()
