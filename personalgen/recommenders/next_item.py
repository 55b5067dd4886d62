"""The linear next-item model as a recommender: exact statistics, and the coefficients that follow from them."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from personalgen.errors import DataError
from personalgen.histories import History, HistoryChange
from personalgen.recommenders.base import Forgetting, Matrix, decayed_rows, likes_of
from personalgen.recommenders.statistics import NextItemOptions, NextItemStatistics, solve

_ROUNDS, _MORE_DIRECTIONS = 4, 16
"""Of the iteration that finds the main directions, and its columns beside those that are asked for."""


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
        self._require_place(n_items)
        self.item_ids, self.statistics = history.item_ids, NextItemStatistics.empty(n_items, self.options)
        return self.update(history, np.zeros(len(history.user_ids), dtype=np.int64))

    def update(self, history: History, n_known: NDArray[np.int64]) -> Self:
        """Add the rows of what is new; the coefficients are solved anew when they are asked for."""
        likes = likes_of(history)
        self.statistics.add(likes.item_index, likes.bounds, after=n_known)
        self._solution = self._directions = None
        return self

    def follow(self, change: HistoryChange) -> Self:
        """Bring what was learnt from the earlier history of a change to the later one, to the bit as by a fit on that.

        Items may have come and gone. The earlier history must be what was learnt from.

        Raises:
            DataError: there are more items than dense statistics have place for.
        """
        now, gone = change.now, likes_of(change.withdrawn)
        self._require_place(len(now.item_ids))
        self.statistics.add(gone.item_index, gone.bounds, sign=-1)
        if now.item_ids != self.item_ids:
            place = {item_id: k for k, item_id in enumerate(now.item_ids)}
            index = np.array([place.get(item_id, -1) for item_id in self.item_ids], dtype=np.int64)
            self.statistics = self.statistics.placed(index, len(now.item_ids))
            self.item_ids = now.item_ids
        liked = np.append(0, np.cumsum(now.weight > 0))
        first = now.bounds[:-1]
        return self.update(now, liked[first + change.n_known] - liked[first])

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

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return all that was learnt, by name; see `recommenders.stored`."""
        decayed, last = self.coefficients()
        solution = {"decayed_coefficients": decayed, "last_coefficients": last, "directions": self.item_vectors()}
        return {**self.statistics.sums(), **solution}

    @classmethod
    def from_arrays(
        cls, options: NextItemOptions, item_ids: tuple[str, ...], arrays: Mapping[str, NDArray[Any]]
    ) -> "LinearNextItem":
        """Return the model of `to_arrays`."""
        found = cls(options, dim=arrays["directions"].shape[1])
        sums = {name: arrays[name] for name in found.statistics.sums()}
        found.item_ids, found.statistics = item_ids, NextItemStatistics(options, **sums)
        found._solution = (arrays["decayed_coefficients"], arrays["last_coefficients"])
        found._directions = arrays["directions"]
        return found

    def _require_place(self, n_items: int) -> None:
        """Refuse more items than there is place for."""
        if n_items > self.options.most_items:
            raise DataError(
                f"the linear next-item model keeps sums for every pair of items, and {n_items:,} items are more than "
                f"{self.options.most_items:,}, beyond which they take more than "
                f"{8 * self.statistics.n_sums * self.options.most_items**2 / 2**30:.0f} GiB. "
                "Use LowRankNextItem. Nothing was fitted."
            )

    def _applied(self, likes: History, decayed: Matrix, last: Matrix) -> Matrix:
        """Return each user's newest likes times coefficients."""
        rows = decayed_rows(likes, half_life=self.options.half_life, window=self.options.window)
        found: Matrix = np.asarray(rows @ decayed, dtype=np.float32)
        if last.size:
            some = np.flatnonzero(np.diff(likes.bounds))
            found[some] += last[likes.item_index[likes.bounds[1:][some] - 1]]
        return found


def _main_directions(statistics: NextItemStatistics, coefficients: tuple[Matrix, Matrix], dim: int) -> Matrix:
    """Return (n, dim) eigenvectors of B' X'X B of the largest eigenvalues: no other plane keeps more of X B.

    By randomised subspace iteration, which needs products with thin matrices alone. Source: Halko, Martinsson & Tropp,
    SIAM Review 53 (2011), algorithm 4.4.
    """
    decayed, last = coefficients
    products, mixed = statistics.products()
    counts = statistics.last.astype(np.float32)[:, None]

    def times(thin: Matrix) -> Matrix:
        of_decayed = decayed @ thin
        found = decayed.T @ (products @ of_decayed)
        if last.size:
            of_last = last @ thin
            found += decayed.T @ (mixed.T @ of_last) + last.T @ (mixed @ of_decayed + counts * of_last)
        return np.asarray(found, dtype=np.float32)

    n_items = len(decayed)
    width = min(dim + _MORE_DIRECTIONS, n_items)
    plane: Matrix = np.random.default_rng(0).standard_normal((n_items, width)).astype(np.float32)
    for _ in range(_ROUNDS):
        plane = np.linalg.qr(times(plane))[0] if n_items else plane
    turned = np.linalg.eigh(plane.T @ times(plane))[1][:, ::-1][:, :dim]
    found = plane @ turned
    return np.ascontiguousarray(np.pad(found, ((0, 0), (0, dim - found.shape[1]))), dtype=np.float32)
