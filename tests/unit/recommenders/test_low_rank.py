import numpy as np
import pytest

from personalgen.errors import OptionsError
from personalgen.histories import History
from personalgen.recommenders import low_rank
from personalgen.recommenders.low_rank import LowRankNextItem, LowRankOptions
from personalgen.recommenders.next_item import LinearNextItem
from personalgen.recommenders.statistics import NextItemOptions

N_ITEMS = 10


def history(sequences):
    """Return people who liked these items in this order."""
    users = np.repeat(np.arange(len(sequences)), [len(items) for items in sequences])
    items = np.array([item for items in sequences for item in items], dtype=np.int64)
    names = tuple(f"u{k}" for k in range(len(sequences)))
    ones = np.ones(len(items), dtype=np.float32)
    return History(names, tuple(f"i{k}" for k in range(N_ITEMS)), users, items, np.arange(len(items)), ones)


@pytest.fixture
def people():
    """Return 60 people with one to eight likes at random."""
    rng = np.random.default_rng(0)
    return history([rng.permutation(N_ITEMS)[: rng.integers(1, 9)].tolist() for _ in range(60)])


def test_at_full_rank_it_is_the_dense_model(people):
    """With as many columns as items the planes are everything, and the scores are those of one scale."""
    dense = LinearNextItem(NextItemOptions(half_life=2.0, window=50, ridge=3.0, two_scales=False)).fit(people)
    found = LowRankNextItem(LowRankOptions(rank=N_ITEMS, half_life=2.0, window=50, ridge=3.0)).fit(people)
    assert np.allclose(found.scores(people), dense.scores(people), atol=1e-3)


def test_people_are_summed_in_parts(people, monkeypatch):
    """However many at once, the scores are the same."""
    whole = LowRankNextItem(LowRankOptions(rank=4)).fit(people).scores(people)
    monkeypatch.setattr(low_rank, "_PEOPLE", 7)
    assert np.allclose(LowRankNextItem(LowRankOptions(rank=4)).fit(people).scores(people), whole, atol=1e-4)


def test_order_is_learnt_in_few_columns():
    """Five pairs of items follow each other in a circle: five columns tell which pair comes next."""
    rng = np.random.default_rng(0)
    starts = rng.integers(0, 5, 300)
    walks = [[2 * int(k) + int(rng.integers(2)) for k in (start + np.arange(4)) % 5] for start in starts]
    scores = LowRankNextItem(LowRankOptions(rank=5, lags=1, half_life=0.5)).fit(history(walks)).scores(history(walks))
    best = np.argsort(-scores, axis=1)[:, :2] // 2
    assert np.mean(best == ((starts + 4) % 5)[:, None]) > 0.95


def test_settings_that_give_nothing_are_refused():
    """All faults in one message."""
    with pytest.raises(OptionsError, match=r"rank must be at least 1, found 0.*ridge must be above 0, found 0"):
        LowRankOptions(rank=0, ridge=0.0)
