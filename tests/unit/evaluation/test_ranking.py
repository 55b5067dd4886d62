import numpy as np
import pytest
from scipy.sparse import csr_array

from personalgen.evaluation.ranking import rank

N_ITEMS = 30


def marked(*rows):
    """Return a matrix with an entry for each item of each row."""
    users = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    items = np.array([item for row in rows for item in row], dtype=np.int64)
    return csr_array((np.ones(len(items)), (users, items)), shape=(len(rows), N_ITEMS))


def descending(count=1):
    """Return scores by which item 0 is best and the last one worst, for each user."""
    return np.tile(-np.arange(N_ITEMS, dtype=np.float32), (count, 1))


@pytest.mark.parametrize("place", [0, 4, 9, 10, 19, 20])
def test_one_item_counts_by_its_place(place):
    """1 / log2(place + 2) among the first ten, and a hit among the first twenty."""
    found = rank(descending(), marked([]), marked([place]))
    assert found.ndcg[0] == pytest.approx(1 / np.log2(place + 2) if place < 10 else 0)
    assert found.recall[0] == (place < 20)


def test_several_items_count_against_their_best_order():
    """At the top in any order they are worth 1; below, their discounts over the best ones."""
    found = rank(descending(2), marked([], []), marked([0, 1, 2], [1, 5]))
    assert found.ndcg[0] == pytest.approx(1)
    best = 1 + 1 / np.log2(3)
    assert found.ndcg[1] == pytest.approx((1 / np.log2(3) + 1 / np.log2(7)) / best)


def test_what_was_seen_is_not_ranked():
    """Places count among the rest, and an item that was seen cannot be held out."""
    found = rank(descending(2), marked([0, 1], [5]), marked([2], [5]))
    assert found.ndcg[0] == 1
    assert np.isnan(found.ndcg[1])
    assert found.metrics()["ndcg_at_10"] == 1


def test_equal_scores_count_against_the_model():
    """One that knows nothing gets nothing."""
    found = rank(np.zeros((1, N_ITEMS), dtype=np.float32), marked([]), marked([0]))
    assert (found.ndcg[0], found.recall[0]) == (0, 0)


def test_coverage_is_the_share_of_items_that_anybody_is_shown():
    """Two people with opposite orders are shown twenty of thirty items."""
    scores = np.concatenate([descending(), -descending()])
    assert rank(scores, marked([], []), marked([0], [1])).metrics()["coverage"] == pytest.approx(20 / N_ITEMS)


def test_places_agree_with_counting():
    """On random scores with many ties, against a count of what is not worse."""
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 5, (40, N_ITEMS)).astype(np.float32)
    liked = rng.integers(0, N_ITEMS, 40)
    found = rank(scores, marked(*[[]] * 40), marked(*([item] for item in liked)))
    place = (scores >= scores[np.arange(40), liked][:, None]).sum(1) - 1
    assert np.allclose(found.ndcg, np.where(place < 10, 1 / np.log2(place + 2), 0))


def test_some_people_can_be_looked_at_alone():
    """As segments by activity are."""
    found = rank(descending(2), marked([], []), marked([0], [25]))
    assert found.metrics(np.array([False, True]))["ndcg_at_10"] == 0
    assert found.metrics(np.array([True, False]))["ndcg_at_10"] == 1


@pytest.mark.parametrize("nothing", [np.nan, -np.inf])
def test_what_is_no_number_stands_last(nothing):
    """A model that has no score for what was liked gets nothing for it, and is not excused."""
    scores = descending()
    scores[0, 3] = nothing
    found = rank(scores, marked([]), marked([3]))
    assert (found.ndcg[0], found.recall[0]) == (0, 0)
    assert rank(np.full_like(scores, nothing), marked([]), marked([3])).metrics()["ndcg_at_10"] == 0
