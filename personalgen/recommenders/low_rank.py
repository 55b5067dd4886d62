"""The linear next-item model for large catalogues: the same regression within a plane of low rank.

Sums for every pair of items stop fitting at some 15 thousand of them. Here people's decayed histories are brought to
the left singular vectors of what follows what, next items to the right ones, and the ridge regression between the two
planes is solved in closed form: B = U A V' with A = (U'X'X U + ridge I)^-1 U'X'Y V, from `rank` squared sums.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from personalgen.bounds import check_options
from personalgen.histories import History
from personalgen.recommenders.base import LearntAnew, Matrix, decayed_rows, likes_of

_PEOPLE = 20_000
"""People whose rows are summed at once."""


@dataclass(frozen=True)
class LowRankOptions:
    """Settings of the low-rank next-item model."""

    rank: int = 512
    """Columns of item and user vectors."""
    half_life: float = 5.0
    """Likes after which a like weighs half."""
    window: int = 24
    """Newest likes that a person is asked with."""
    lags: int = 8
    """Likes ahead that count as what follows, where the planes are found."""
    ridge: float = 10.0
    """Weight of the squared coefficients beside that of the errors."""
    seed: int = 0
    """Of the randomised singular vectors."""

    def __post_init__(self) -> None:
        """Refuse settings that give no model, all in one message."""
        least = {"rank": 1, "window": 1, "lags": 1}
        check_options("recommender", self, least=least, above={"half_life": 0, "ridge": 0})


class LowRankNextItem(LearntAnew):
    """Recommends by ridge regression from a person's newest likes, within a plane of low rank."""

    name = "next-item, low rank"

    def __init__(self, options: LowRankOptions | None = None) -> None:
        """Wait for a fit."""
        self.options = options or LowRankOptions()
        self.item_ids: tuple[str, ...] = ()
        nothing = np.zeros((0, self.options.rank), dtype=np.float32)
        self._earlier, self._next = nothing, nothing
        self._second = np.zeros((self.options.rank, self.options.rank))

    def fit(self, history: History) -> Self:
        """Learn from all of a history."""
        likes = likes_of(history)
        self.item_ids = history.item_ids
        earlier, following = _planes(likes, self.options)
        squares, products = _sums(likes, earlier, following, self.options.half_life)
        solution = np.linalg.solve(squares + self.options.ridge * np.eye(len(squares)), products)
        # What a person's history is multiplied with, U A, and the second moments of the fitted rows' products with it.
        self._earlier, self._second = (earlier @ solution).astype(np.float32), solution.T @ squares @ solution
        self._next = following
        return self

    def to_arrays(self) -> dict[str, Matrix]:
        """Return all that was learnt, by name; see `recommenders.stored`."""
        return {"earlier": self._earlier, "next": self._next}

    @classmethod
    def from_arrays(
        cls, options: LowRankOptions, item_ids: tuple[str, ...], arrays: Mapping[str, Matrix]
    ) -> "LowRankNextItem":
        """Return the model of `to_arrays`."""
        found = cls(options)
        found.item_ids, found._earlier, found._next = item_ids, arrays["earlier"], arrays["next"]
        return found

    def user_vectors(self, history: History) -> Matrix:
        """Return (n_users, rank) of the newest likes."""
        rows = decayed_rows(likes_of(history), half_life=self.options.half_life, window=self.options.window)
        return np.asarray(rows @ self._earlier, dtype=np.float32)

    def user_map(self, dim: int) -> Matrix:
        """Return (n_items, dim) rows of decayed likes: no other plane keeps more of the vectors of the fitted rows.

        Columns beyond the rank are zero.
        """
        kept = min(dim, self.options.rank)
        directions = np.linalg.eigh(self._second)[1][:, ::-1][:, :kept]
        return np.pad(self._earlier @ directions.astype(np.float32), ((0, 0), (0, dim - kept)))

    def item_vectors(self) -> Matrix:
        """Return (n_items, rank)."""
        return self._next


def _planes(likes: History, options: LowRankOptions) -> tuple[Matrix, Matrix]:
    """Return (n_items, rank) singular vectors of what follows what within some likes, popular items damped.

    Columns beyond the number of items are zero.
    """
    from sklearn.utils.extmath import randomized_svd

    place = np.arange(len(likes.item_index))
    start = np.repeat(likes.bounds[:-1], np.diff(likes.bounds))
    n_items = len(likes.item_ids)
    follows = csr_array((n_items, n_items), dtype=np.float32)
    for lag in range(1, options.lags + 1):
        later = place[place - lag >= start]
        weight = np.full(len(later), 2.0 ** (-(lag - 1) / options.half_life), dtype=np.float32)
        pairs = likes.item_index[later - lag], likes.item_index[later]
        follows = follows + csr_array((weight, pairs), shape=(n_items, n_items))
    popularity = np.bincount(likes.item_index, minlength=n_items)
    damped = diags_array(1 / np.sqrt(popularity + 1.0)).astype(np.float32)
    rank = min(options.rank, n_items)
    if not rank:
        return np.zeros((0, options.rank), dtype=np.float32), np.zeros((0, options.rank), dtype=np.float32)
    left, _, right = randomized_svd(damped @ follows @ damped, rank, n_iter=2, random_state=options.seed)
    missing = ((0, 0), (0, options.rank - rank))
    return np.pad(left, missing).astype(np.float32), np.pad(right.T, missing).astype(np.float32)


def _sums(
    likes: History, earlier: Matrix, following: Matrix, half_life: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return U'X'X U and U'X'Y V, (rank, rank) each: a row for each like that has another one after it."""
    rank = earlier.shape[1]
    squares, products = np.zeros((rank, rank)), np.zeros((rank, rank))
    decay, counts = np.float32(2.0 ** (-1 / half_life)), np.diff(likes.bounds)
    for first in range(0, len(counts), _PEOPLE):
        own, begin = counts[first : first + _PEOPLE], likes.bounds[first : first + _PEOPLE]
        order = np.argsort(-own, kind="stable")
        begin, own = begin[order], own[order]
        sums = np.zeros((len(own), rank), dtype=np.float32)
        for place in range(own.max(initial=0)):
            active = slice(0, int(np.searchsorted(-own, -place, side="left")))  # those with a like at this place
            items = likes.item_index[begin[active] + place]
            if place:
                squares += sums[active].T @ sums[active]
                products += sums[active].T @ following[items]
            sums[active] = decay * sums[active] + earlier[items]
    return squares, products
