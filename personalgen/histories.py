"""Histories as arrays, and which of a user's events are known at the moment of another."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DAY_SEC = 86_400


@dataclass(frozen=True)
class History:
    """Valid interactions sorted by (user_index, timestamp, item_index); index arrays point into the two id tuples."""

    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]
    user_index: NDArray[np.int64]
    item_index: NDArray[np.int64]
    timestamp: NDArray[np.int64]
    weight: NDArray[np.float32]
    """Positive: like; negative: dislike."""
    segments: tuple[str | None, ...] = ()
    """What each user's row says of a segment; empty where nobody's says anything."""

    @property
    def bounds(self) -> NDArray[np.int64]:
        """(n_users + 1,) where each user's events begin and, in the next entry, end."""
        return np.asarray(np.searchsorted(self.user_index, np.arange(len(self.user_ids) + 1)), dtype=np.int64)

    def known_before(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return for each event which ones were known before its second: [start, stop), all of the same user.

        The point-in-time join of training pairs: neither the event itself nor another at its second or later is inside.
        """
        places = np.arange(len(self.timestamp))
        same_user = np.diff(self.user_index, prepend=-1) == 0
        same_second = same_user & (np.diff(self.timestamp, prepend=0) == 0)
        start, stop = (np.maximum.accumulate(np.where(same, 0, places)) for same in (same_user, same_second))
        return start, stop

    def newest_of(self, start: NDArray[np.int64], stop: NDArray[np.int64], count: int) -> "History":
        """Return moments as people: each has the newest `count` of the events [start, stop), all of one user."""
        place = stop[:, None] - count + np.arange(count)
        there = place >= start[:, None]
        moment, event = np.nonzero(there)[0], place[there]
        columns = self.item_index[event], self.timestamp[event], self.weight[event]
        return History(tuple(map(str, range(len(start)))), self.item_ids, moment.astype(np.int64), *columns)

    def newest(self, count: int) -> "History":
        """Return everybody's newest `count` events."""
        place = np.arange(len(self.item_index))
        return self.where(place >= self.bounds[1:][self.user_index] - count)

    def faded(self, half_life_days: float) -> NDArray[np.float64]:
        """Return for each event what is left of what its user's events before weighed; 0 at the first one."""
        ages_days = np.diff(self.timestamp, prepend=0) / DAY_SEC
        is_first = np.diff(self.user_index, prepend=-1) != 0
        return np.where(is_first, 0.0, 2.0 ** (-np.where(is_first, 0, ages_days) / half_life_days))

    def where(self, mask: NDArray[np.bool_]) -> "History":
        """Return the chosen interactions; users and items stay."""
        return History(
            self.user_ids,
            self.item_ids,
            self.user_index[mask],
            self.item_index[mask],
            self.timestamp[mask],
            self.weight[mask],
            self.segments,
        )
