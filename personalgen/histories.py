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

    def of(self, users: NDArray[np.int64]) -> "History":
        """Return the history of some users alone, in their order."""
        start, stop = (np.searchsorted(self.user_index, users, side) for side in ("left", "right"))
        owner = np.arange(len(users)).repeat(stop - start)
        first = np.cumsum(stop - start) - (stop - start)
        kept = start[owner] + np.arange(len(owner)) - first[owner]
        ids = tuple(self.user_ids[k] for k in users.tolist())
        columns = self.item_index[kept], self.timestamp[kept], self.weight[kept]
        segments = tuple(self.segments[k] for k in users.tolist()) if self.segments else ()
        return History(ids, self.item_ids, owner, *columns, segments)

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


@dataclass(frozen=True)
class HistoryChange:
    """What a history holds that an earlier one of the same source did not, person by person; exact, event by event."""

    now: History
    n_known: NDArray[np.int64]
    """(n_users of `now`,) how many of a user's events were known, which are the first ones; 0 for who is new, or whose
    known events are not the first ones any more, because one came late, was corrected or was withdrawn."""
    withdrawn: History
    """All that was known of users who are gone or whose known events are not the first ones; with the ids of then."""

    @classmethod
    def between(cls, before: History, now: History) -> "HistoryChange":
        """Return what leads from one history to the other.

        An event at the second of the newest known one counts as late: within a second events have no order.
        """
        user, item = _places(before.user_ids, now.user_ids), _places(before.item_ids, now.item_ids)
        n_before, n_now = np.diff(before.bounds), np.append(np.diff(now.bounds), 0)
        same = (user >= 0) & (n_before <= n_now[user])
        asked = np.flatnonzero(same[before.user_index])
        owner = before.user_index[asked]
        place = now.bounds[user[owner]] + asked - before.bounds[owner]
        equal = (
            (item[before.item_index[asked]] == now.item_index[place])
            & (before.timestamp[asked] == now.timestamp[place])
            & (before.weight[asked] == now.weight[place])
        )
        same[owner[~equal]] = False
        grown = np.flatnonzero(same & (n_before > 0) & (n_before < n_now[user]))
        first_new = now.bounds[user[grown]] + n_before[grown]
        same[grown[now.timestamp[first_new] == now.timestamp[first_new - 1]]] = False
        n_known = np.zeros(len(now.user_ids), dtype=np.int64)
        n_known[user[same]] = n_before[same]
        return cls(now, n_known, before.where(~same[before.user_index]))

    @property
    def is_new(self) -> NDArray[np.bool_]:
        """(n_events of `now`,) True for events that were not known, and for all of who is replaced."""
        place = np.arange(len(self.now.item_index)) - self.now.bounds[self.now.user_index]
        return np.asarray(place >= self.n_known[self.now.user_index])

    @property
    def unchanged(self) -> NDArray[np.bool_]:
        """(n_users of `now`,) True for users of whom the same was known before, and something."""
        return np.asarray((self.n_known == np.diff(self.now.bounds)) & (self.n_known > 0))

    @property
    def withdrawn_users(self) -> tuple[str, ...]:
        """The users who are gone or replaced, as far as anything was known of them."""
        return tuple(self.withdrawn.user_ids[k] for k in np.unique(self.withdrawn.user_index))


def _places(ids: tuple[str, ...], among: tuple[str, ...]) -> NDArray[np.int64]:
    """Return the place of each id among others, -1 where it is none of them."""
    place = {one: k for k, one in enumerate(among)}
    return np.array([place.get(one, -1) for one in ids], dtype=np.int64)
