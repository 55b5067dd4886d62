"""The linear next-item model that a catalogue has place for: exact, or of low rank above `most_items`."""

import numpy as np

from personalgen.histories import History
from personalgen.recommenders.base import Matrix
from personalgen.recommenders.low_rank import LowRankNextItem, LowRankOptions
from personalgen.recommenders.next_item import LinearNextItem
from personalgen.recommenders.statistics import NextItemOptions

NextItemModel = LinearNextItem | LowRankNextItem


def next_item_model(history: History, options: NextItemOptions) -> NextItemModel:
    """Return the linear model, of low rank where there are more items than sums for every pair have place for."""
    return _exact(history, options) if _fits(history, options) else _low_rank(history, options)


def user_maps(history: History, options: NextItemOptions, dim: int) -> tuple[Matrix, Matrix]:
    """Return (n_items, dim) rows of decayed likes, and of the last like, whose sum is the model's vector of a user.

    The columns span what the predictions for the fitted histories need most. The model of low rank has no rows of the
    last like: they are zero.
    """
    if _fits(history, options):
        return _exact(history, options, dim).user_maps()
    decayed = _low_rank(history, options).user_map(dim)
    return decayed, np.zeros_like(decayed)


def _fits(history: History, options: NextItemOptions) -> bool:
    return len(history.item_ids) <= options.most_items


def _exact(history: History, options: NextItemOptions, dim: int = 64) -> LinearNextItem:
    return LinearNextItem(options, dim=dim).fit(history)


def _low_rank(history: History, options: NextItemOptions) -> LowRankNextItem:
    return LowRankNextItem(LowRankOptions(half_life=options.half_life, window=options.window)).fit(history)
