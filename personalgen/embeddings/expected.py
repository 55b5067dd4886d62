"""What a person is expected to like next: the mean vector of the items that a recommender foretells.

The recommender may be fitted anew every night: the mean stays in the frozen space of the basis.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from personalgen.embeddings.basis import Basis, Matrix
from personalgen.embeddings.fields import FieldRows
from personalgen.histories import History
from personalgen.recommenders.base import likes_of
from personalgen.recommenders.by_size import NextItemModel, next_item_model
from personalgen.recommenders.statistics import NextItemOptions

TOP_ITEMS = 50
"""Foretold items that are averaged."""
_FOLDS, _CHUNK_SCORES = 4, 1 << 24


@dataclass(frozen=True)
class Foresight:
    """Recommenders that foretell people's likes, and which of them to ask about whom."""

    fitted: Callable[[int], NextItemModel]
    """Returns one of the recommenders by its number; they are large, so that one is held at a time."""
    of_user: NDArray[np.int64]
    """(n_users,) numbers of recommenders."""

    @classmethod
    def of(cls, history: History, options: NextItemOptions) -> Self:
        """Return one recommender of everybody's likes: what it foretells of a whole history is in no history."""
        return cls.by(next_item_model(history, options), len(history.user_ids))

    @classmethod
    def by(cls, recommender: NextItemModel, n_users: int) -> Self:
        """Return one fitted recommender, which is asked about all users."""
        return cls(lambda _: recommender, np.zeros(n_users, dtype=np.int64))

    @classmethod
    def of_others(cls, history: History, options: NextItemOptions) -> Self:
        """Return recommenders each of which has learnt nothing of the people that it is asked about.

        What it foretells of the middle of a history is then what it would have foretold at that time, had it known
        everybody else; one that had learnt from the person would know what came next.
        """
        of_user = np.arange(len(history.user_ids)) % _FOLDS
        fold = of_user[history.user_index]
        return cls(lambda number: next_item_model(history.where(fold != number), options), of_user)

    def expected(
        self, history: History, basis: Basis, items: Matrix, start: NDArray[np.int64], stop: NDArray[np.int64]
    ) -> FieldRows:
        """Return what is expected after the events [start, stop) of one user each, (n, dim).

        The mean of the (n_items, dim) `items` of the highest scores but those just liked, weighted by score and
        standardised as preferences are; absent where nothing is foretold, as without a like.
        """
        liked = history.weight > 0
        likes, before = likes_of(history), np.append(0, np.cumsum(liked))
        first, last = before[start], before[stop]
        values, mask = np.zeros((len(start), items.shape[1]), dtype=np.float32), last > first
        some, chunk = np.flatnonzero(mask), max(_CHUNK_SCORES // max(len(items), 1), 1)
        of_moment = self.of_user[history.user_index[stop[some] - 1]]
        for number in np.unique(of_moment).tolist():
            asked, recommender = some[of_moment == number], self.fitted(number)
            for rows in np.split(asked, np.arange(chunk, len(asked), chunk)):
                known = likes.newest_of(first[rows], last[rows], recommender.options.window)
                values[rows], mask[rows] = _mean_of_best(recommender.scores(known), known, items)
        values[mask] = basis.standardise(values[mask])
        return FieldRows(values, mask)


def _mean_of_best(scores: Matrix, known: History, items: Matrix) -> tuple[Matrix, NDArray[np.bool_]]:
    """Return the mean of the items with the highest positive scores, but those that are known; and if there are any."""
    scores = scores.copy()
    scores[known.user_index, known.item_index] = 0
    count = min(TOP_ITEMS, scores.shape[1])
    best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    weight = np.maximum(np.take_along_axis(scores, best, axis=1), 0)
    total = weight.sum(1)
    found: Matrix = np.einsum("nk,nkd->nd", weight / np.maximum(total, 1e-12)[:, None], items[best])
    return found, total > 0
