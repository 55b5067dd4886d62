"""The rows of a bucket: sums by user and item, and each user's newest events; made, joined, written and read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.sparse import csr_array

from personalgen.affinity.events import (
    Events,
    Ids,
    Keys,
    Places,
    SummedEvents,
    bounds_of,
    by_user,
    coded,
    stable_order,
)
from personalgen.artifacts import atomic_path
from personalgen.histories import DAY_SEC


@dataclass(frozen=True)
class Sums:
    """A sparse matrix in rows: the entries of user k stand from bounds[k] to bounds[k + 1], items ascending."""

    bounds: Places
    item: Keys
    value: NDArray[np.float64]

    @classmethod
    def of(cls, bounds: Places, items: Keys, column: NDArray[np.int32], value: NDArray[np.float64]) -> "Sums":
        """Return the sums of entries that stand user by user, in any order within one; `column` points into `items`."""
        matrix = csr_array((value, column, bounds.astype(np.int32)), shape=(len(bounds) - 1, max(len(items), 1)))
        matrix.sum_duplicates()
        return cls(matrix.indptr.astype(np.int64), items[matrix.indices], matrix.data)

    @classmethod
    def joined(cls, parts: Sequence["Sums"], places: Sequence[Places], n_users: int) -> "Sums":
        """Return the sum of matrices, of which the rows of part k are those at places[k] of the whole."""
        user = np.concatenate([place[part.user()] for part, place in zip(parts, places, strict=True)])
        order = stable_order(user, n_users)
        item, value = (np.concatenate([getattr(part, name) for part in parts])[order] for name in ("item", "value"))
        return cls.of(bounds_of(np.bincount(user, minlength=n_users)), *coded(item), value)

    def user(self) -> Places:
        """Return the row of each entry."""
        return np.repeat(np.arange(len(self.bounds) - 1), np.diff(self.bounds))

    def rows(self, kept: NDArray[np.bool_]) -> "Sums":
        """Return the chosen rows."""
        entry = np.repeat(kept, np.diff(self.bounds))
        return Sums(bounds_of(np.diff(self.bounds)[kept]), self.item[entry], self.value[entry])

    def times(self, factors: NDArray[np.float64]) -> "Sums":
        """Return the matrix with each row times its factor."""
        return Sums(self.bounds, self.item, self.value * np.repeat(factors, np.diff(self.bounds)))


@dataclass(frozen=True)
class AffinityRows:
    """What is known of some users. Sums are as of each user's newest event: so they fade never, however old it is."""

    users: Ids
    """(n,) ids, ascending: whole numbers, or texts."""
    n_events: NDArray[np.int64]
    """(n,) events of all time."""
    newest: NDArray[np.int32]
    """(n,) seconds of the newest one after the state's landmark."""
    liked: Sums
    disliked: Sums
    """Of events with a negative weight, without the sign: a dislike is no negative like."""
    recent_bounds: Places
    """(n + 1,)."""
    recent: Events
    """The newest events, user by user, oldest first."""

    @classmethod
    def of_events(
        cls,
        users: Ids,
        user: NDArray[np.integer],
        events: Events,
        *,
        half_life_days: float,
        n_recent: int,
    ) -> "AffinityRows":
        """Return the rows of the events of `users`, of which `user` says whose each is; their order does not matter."""
        bounds, own = by_user(user, len(users), events)
        newest, counts = own.seconds[bounds[1:] - 1], np.diff(bounds)
        value = np.abs(own.weight, dtype=np.float64) * _left(own.seconds, np.repeat(newest, counts), half_life_days)
        items, column = coded(own.item)
        liked, disliked = (
            Sums.of(np.append(0, np.cumsum(chosen))[bounds], items, column[chosen], value[chosen])
            for chosen in (own.weight > 0, own.weight < 0)
        )
        return cls(users, counts, newest, liked, disliked, *_newest(bounds, own, n_recent))

    @classmethod
    def of_sums(
        cls, users: Ids, user: NDArray[np.integer], summed: SummedEvents, *, half_life_days: float
    ) -> "AffinityRows":
        """Return the rows of events that are summed already, without the newest ones, which sums do not tell."""
        events = Events(summed.item, summed.seconds, summed.weight)
        rows = cls.of_events(users, user, events, half_life_days=half_life_days, n_recent=0)
        counts = np.zeros(len(users), dtype=np.int64)
        np.add.at(counts, user, summed.n_events)
        return replace(rows, n_events=counts)

    @classmethod
    def of_newest(cls, users: Ids, user: NDArray[np.integer], newest: Events) -> "AffinityRows":
        """Return rows of newest events alone, which are counted and summed elsewhere."""
        bounds, own = by_user(user, len(users), newest)
        nothing = Sums(np.zeros(len(users) + 1, dtype=np.int64), own.item[:0], np.zeros(0))
        counts = np.zeros(len(users), dtype=np.int64)
        return cls(users, counts, own.seconds[bounds[1:] - 1], nothing, nothing, bounds, own)

    @classmethod
    def joined(cls, parts: Sequence["AffinityRows"], *, half_life_days: float, n_recent: int) -> "AffinityRows":
        """Return the rows of all the events of which each part holds some."""
        if len(parts) == 1:
            return parts[0]
        users = np.unique(np.concatenate([part.users for part in parts]))
        places = [np.searchsorted(users, part.users) for part in parts]
        counts = np.zeros(len(users), dtype=np.int64)
        newest = np.full(len(users), np.iinfo(np.int32).min, dtype=np.int32)
        for part, place in zip(parts, places, strict=True):
            counts[place] += part.n_events
            np.maximum.at(newest, place, part.newest)
        factors = [_left(part.newest, newest[place], half_life_days) for part, place in zip(parts, places, strict=True)]
        liked, disliked = (
            Sums.joined(
                [getattr(part, side).times(factor) for part, factor in zip(parts, factors, strict=True)],
                places,
                len(users),
            )
            for side in ("liked", "disliked")
        )
        user = np.concatenate(
            [np.repeat(place, np.diff(part.recent_bounds)) for part, place in zip(parts, places, strict=True)]
        )
        bounds, recent = by_user(user, len(users), Events.joined([part.recent for part in parts]))
        return cls(users, counts, newest, liked, disliked, *_newest(bounds, recent, n_recent))

    def where(self, kept: NDArray[np.bool_]) -> "AffinityRows":
        """Return the chosen users."""
        if kept.all():
            return self
        counts = np.diff(self.recent_bounds)
        return AffinityRows(
            self.users[kept],
            self.n_events[kept],
            self.newest[kept],
            self.liked.rows(kept),
            self.disliked.rows(kept),
            bounds_of(counts[kept]),
            self.recent.take(np.repeat(kept, counts)),
        )

    def as_of(self, seconds: float, half_life_days: float) -> "AffinityRows":
        """Return the rows with sums as of one moment, in seconds after the landmark."""
        factors = _left(self.newest, np.full(len(self.users), seconds), half_life_days)
        liked, disliked = self.liked.times(factors), self.disliked.times(factors)
        return replace(self, liked=liked, disliked=disliked)


def save_rows(path: Path, rows: AffinityRows) -> Path:
    """Write the rows as Parquet, one row a user, atomically; sums as float32."""
    columns: dict[str, Any] = {"user": pa.array(rows.users), "n_events": rows.n_events, "newest": rows.newest}
    for name, sums in (("liked", rows.liked), ("disliked", rows.disliked)):
        columns[f"{name}_item"] = _lists(sums.bounds, sums.item)
        columns[f"{name}_value"] = _lists(sums.bounds, sums.value.astype(np.float32))
    for name in ("item", "seconds", "weight"):
        columns[f"recent_{name}"] = _lists(rows.recent_bounds, getattr(rows.recent, name))
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns), temporary, compression="lz4", use_dictionary=False, write_statistics=False)
    return path


def load_rows(path: Path) -> AffinityRows:
    """Return the rows of a file."""
    table = pq.read_table(path, use_threads=False)
    users = table["user"].to_numpy()  # texts come as objects
    liked, disliked = (
        Sums(*_keys(table[f"{name}_item"]), _flat(table[f"{name}_value"])[1].astype(np.float64))
        for name in ("liked", "disliked")
    )
    bounds, item = _keys(table["recent_item"])
    recent = Events(item, *(_flat(table[f"recent_{name}"])[1] for name in ("seconds", "weight")))
    counts, newest = table["n_events"].to_numpy(), table["newest"].to_numpy()
    return AffinityRows(users, counts, newest, liked, disliked, bounds, recent)


def _left(seconds: NDArray[Any], until: NDArray[Any], half_life_days: float) -> NDArray[np.float64]:
    """Return what is left at a later moment of the weights of events."""
    found: NDArray[np.float64] = np.exp2((seconds.astype(np.float64) - until) / (half_life_days * DAY_SEC))
    return found


def _newest(bounds: Places, events: Events, count: int) -> tuple[Places, Events]:
    """Return the newest `count` events of each user, and where each user's begin and end."""
    own = np.diff(bounds)
    if own.max(initial=0) <= count:
        return bounds, events
    age = np.repeat(bounds[1:], own) - 1 - np.arange(len(events))
    return bounds_of(np.minimum(own, count)), events.take(age < count)


def _lists(bounds: Places, values: NDArray[Any]) -> pa.Array:
    """Return lists of the values; keys that fit are stored in half the bytes."""
    if values.dtype == np.int64 and (not len(values) or (values.min() >= -(1 << 31) and values.max() < 1 << 31)):
        values = values.astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(bounds.astype(np.int32)), pa.array(values))


def _keys(column: pa.ChunkedArray) -> tuple[Places, Keys]:
    """Return where each list begins and ends, and the keys of all of them."""
    bounds, keys = _flat(column)
    return bounds, keys.astype(np.int64)


def _flat(column: pa.ChunkedArray) -> tuple[Places, NDArray[Any]]:
    """Return where each list begins and ends, and the values of all of them."""
    lists = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    return lists.offsets.to_numpy().astype(np.int64) - lists.offsets[0].as_py(), lists.flatten().to_numpy()
