"""The linear next-item model as a recommender: exact statistics, and the coefficients that follow from them."""

from typing import Self

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from personalgen.errors import DataError
from personalgen.histories import History
from personalgen.recommenders.base import Forgetting, Matrix, decayed_rows, likes_of
from personalgen.recommenders.statistics import NextItemOptions, NextItemStatistics, solve


class LinearNextItem:
    """Recommends by ridge regression from a person's newest likes (`statistics`).

    The same histories give the same statistics to the bit, whether in one go or night by night.
    """

    name = "next-item"

    def __init__(self, options: NextItemOptions | None = None, *, dim: int = 64) -> None:
        """Wait for a fit; `dim` is the number of columns of `user_vectors` and `item_vectors`."""
        self.options, self.dim = options or NextItemOptions(), dim
        self.item_ids: tuple[str, ...] = ()
        self.statistics = NextItemStatistics.empty(0, self.options)
        self._solution: tuple[Matrix, Matrix] | None = None
        self._directions: Matrix | None = None

    def fit(self, history: History) -> Self:
        """Learn from all of a history.

        Raises:
            DataError: there are more items than dense statistics have place for.
        """
        n_items = len(history.item_ids)
        if n_items > self.options.most_items:
            raise DataError(
                f"the linear next-item model keeps sums for every pair of items, and {n_items:,} items are more than "
                f"{self.options.most_items:,}, beyond which they take more than "
                f"{8 * self.statistics.n_sums * self.options.most_items**2 / 2**30:.0f} GiB. "
                "Use LowRankNextItem. Nothing was fitted."
            )
        self.item_ids, self.statistics = history.item_ids, NextItemStatistics.empty(n_items, self.options)
        return self.update(history, np.zeros(len(history.user_ids), dtype=np.int64))

    def update(self, history: History, n_known: NDArray[np.int64]) -> Self:
        """Add the rows of what is new; the coefficients are solved anew when they are asked for."""
        likes = likes_of(history)
        self.statistics.add(likes.item_index, likes.bounds, after=n_known)
        self._solution = self._directions = None
        return self

    def forget(self, person: History) -> Forgetting:
        """Subtract one person's rows: what is left is, to the bit, the sums over the others."""
        likes = likes_of(person)
        self.statistics.add(likes.item_index, likes.bounds, sign=-1)
        return Forgetting.NEXT_SOLVE

    def solve(self) -> Self:
        """Solve for the coefficients, where that was done before: now without whom the statistics forgot."""
        self._solution, self._directions = solve(self.statistics), None
        return self

    def scores(self, history: History) -> Matrix:
        """Return (n_users, n_items) predictions of what comes next; zero without a like."""
        return self._applied(likes_of(history), *self.coefficients())

    def user_vectors(self, history: History) -> Matrix:
        """Return (n_users, dim): the scores in the space of `item_vectors`."""
        return self._applied(likes_of(history), *self.user_maps())

    def user_maps(self) -> tuple[Matrix, Matrix]:
        """Return (n_items, dim) rows of decayed likes, and of the last like, whose sum is a user's vector.

        With one scale those of the last like are zero.
        """
        directions, (decayed, last) = self.item_vectors(), self.coefficients()
        return decayed @ directions, last @ directions if last.size else np.zeros_like(directions)

    def item_vectors(self) -> Matrix:
        """Return (n_items, dim): orthonormal columns in whose span the predictions for the fitted rows lie best."""
        if self._directions is None:
            self._directions = _main_directions(self.statistics, self.coefficients(), self.dim)
        return self._directions

    def coefficients(self) -> tuple[Matrix, Matrix]:
        """Return those of the decayed history and of the last item, as `solve` does."""
        if self._solution is None:
            self.solve()
        assert self._solution is not None  # noqa: S101 - solve has just set it
        return self._solution

    def _applied(self, likes: History, decayed: Matrix, last: Matrix) -> Matrix:
        """Return each user's newest likes times coefficients."""
        rows = decayed_rows(likes, half_life=self.options.half_life, window=self.options.window)
        found: Matrix = np.asarray(rows @ decayed, dtype=np.float32)
        if last.size:
            some = np.flatnonzero(np.diff(likes.bounds))
            found[some] += last[likes.item_index[likes.bounds[1:][some] - 1]]
        return found


def _main_directions(statistics: NextItemStatistics, coefficients: tuple[Matrix, Matrix], dim: int) -> Matrix:
    """Return (n, dim) eigenvectors of B' X'X B of the largest eigenvalues: no other plane keeps more of X B."""
    decayed, last = coefficients
    products, mixed = statistics.products()
    second = decayed.T @ products @ decayed
    if last.size:
        across = last.T @ mixed @ decayed
        second += across + across.T + last.T @ (statistics.last.astype(np.float32)[:, None] * last)
    n_items = len(second)
    found: Matrix = scipy.linalg.eigh(second, subset_by_index=(max(n_items - dim, 0), n_items - 1))[1][:, ::-1]
    return np.ascontiguousarray(np.pad(found, ((0, 0), (0, dim - found.shape[1]))), dtype=np.float32)
