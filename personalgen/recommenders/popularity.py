"""What everybody likes: the baseline that every other model has to beat, of all time and of the last days."""

from typing import Self

import numpy as np
from numpy.typing import NDArray

from personalgen.histories import DAY_SEC, History
from personalgen.recommenders.base import Forgetting, Matrix, likes_of


class Popularity:
    """Recommends to everybody what most people liked, ever or in the `days` before the newest like."""

    def __init__(self, *, days: float | None = None) -> None:
        """Wait for a fit; without `days` all likes count."""
        self.days = days
        self.name = "popularity" if days is None else f"popular-{days:g}-days"
        self.item_ids: tuple[str, ...] = ()
        self._counts: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._newest = 0

    def fit(self, history: History) -> Self:
        """Count likes."""
        likes = likes_of(history)
        self.item_ids, self._newest = history.item_ids, int(likes.timestamp.max(initial=0))
        self._counts = self._count(likes)
        return self

    def update(self, history: History, n_known: NDArray[np.int64]) -> Self:
        """Count again: the days move with the newest like."""
        del n_known
        return self.fit(history)

    def forget(self, person: History) -> Forgetting:
        """Count one person's likes no more; the days end with the newest like of all, until they are counted again."""
        self._counts -= self._count(likes_of(person))
        return Forgetting.AT_ONCE if self.days is None else Forgetting.NEXT_FIT

    def scores(self, history: History) -> Matrix:
        """Return (n_users, n_items) counts, the same for everybody."""
        return np.tile(self._counts.astype(np.float32), (len(history.user_ids), 1))

    def user_vectors(self, history: History) -> Matrix:
        """Return (n_users, 1) ones."""
        return np.ones((len(history.user_ids), 1), dtype=np.float32)

    def item_vectors(self) -> Matrix:
        """Return (n_items, 1) counts."""
        return self._counts.astype(np.float32)[:, None]

    def _count(self, likes: History) -> NDArray[np.int64]:
        """Return (n_items,) likes within the days."""
        recent = slice(None) if self.days is None else likes.timestamp > self._newest - self.days * DAY_SEC
        return np.bincount(likes.item_index[recent], minlength=len(self.item_ids)).astype(np.int64)
