"""Events as columns, and the order in which they count."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Ids = NDArray[np.int64] | NDArray[np.object_]
"""Ids of users or items: whole numbers, or texts."""
Keys = NDArray[np.int64] | NDArray[np.int32]
"""Keys of items, or ids that are whole numbers; places in a list of texts have 32 bits on their way into buckets."""
Places = NDArray[np.int64]
_DENSE = 4
"""Keys that spread over no more than so many times their number are counted, not hashed."""


@dataclass(frozen=True)
class Events:
    """Columns of one length; who did it is told beside them."""

    kinds: ClassVar[tuple[type[np.generic], ...]] = (np.int32, np.float32)
    """Of the columns after the item."""
    item: Keys
    seconds: NDArray[np.int32]
    """After the state's landmark."""
    weight: NDArray[np.float32]
    """Negative for a dislike."""

    def __len__(self) -> int:
        return len(self.item)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the events of all parts, one after another."""
        return cls(*map(np.concatenate, zip(*(part.columns() for part in parts), strict=True)))

    def take(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Self:
        """Return the chosen events."""
        return type(self)(*(column[chosen] for column in self.columns()))

    def columns(self) -> list[NDArray[Any]]:
        """Return the columns, the item first."""
        return [getattr(self, entry.name) for entry in fields(self)]


@dataclass(frozen=True)
class SummedEvents(Events):
    """Events of one user with one item and of one sign, as one: at the time of the newest, with what all weigh then."""

    kinds: ClassVar[tuple[type[np.generic], ...]] = (*Events.kinds, np.int64)
    n_events: NDArray[np.int64]
    """How many they are."""


def by_user(user: NDArray[np.integer], n_users: int, events: Events) -> tuple[Places, Events]:
    """Return where the events of each user, an index below `n_users`, begin and end, and the events, oldest first.

    Those of one second stand by item and weight, so that the order in which events came does not matter.
    """
    order = np.arange(len(events))
    if (events.seconds[1:] < events.seconds[:-1]).any():
        order = np.argsort(events.seconds, kind="stable")
    order = order[stable_order(user[order], n_users)]
    user, seconds = user[order], events.seconds[order]
    same = (user[1:] == user[:-1]) & (seconds[1:] == seconds[:-1])
    if same.any():
        tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
        own = order[tied]
        order[tied] = own[np.lexsort((events.weight[own], events.item[own], seconds[tied], user[tied]))]
    return bounds_of(np.bincount(user, minlength=n_users)), events.take(order)


def coded(keys: Keys) -> tuple[Keys, NDArray[np.int32]]:
    """Return the different keys, ascending, and which of them each one is."""
    least, span = (int(keys.min()), int(keys.max()) - int(keys.min()) + 1) if len(keys) else (0, 0)
    if span <= _DENSE * len(keys):
        place = keys - least
        is_there = np.zeros(span, dtype=np.bool_)
        is_there[place] = True
        ranks = np.cumsum(is_there, dtype=np.int32)
        ranks -= 1
        return np.flatnonzero(is_there) + least, ranks[place]
    encoded = pa.array(keys).dictionary_encode()
    found: Keys = encoded.dictionary.to_numpy()
    order = np.argsort(found)
    return found[order], ranks_in(order, encoded)


def ranks_in(order: Places, encoded: pa.DictionaryArray) -> NDArray[np.int32]:
    """Return which value of a dictionary, sorted in this order, each entry is."""
    ranks = np.empty(len(order), dtype=np.int32)
    ranks[order] = np.arange(len(order), dtype=np.int32)
    of_each: NDArray[np.int32] = ranks[encoded.indices.to_numpy()]
    return of_each


def stable_order(code: NDArray[np.integer], n_codes: int) -> Places:
    """Return the order that sorts small whole numbers; equal ones stay as they are. Linear for up to 65,536 of them."""
    return np.argsort(code.astype(np.uint16) if n_codes <= 1 << 16 else code, kind="stable")


def bounds_of(counts: NDArray[np.integer]) -> Places:
    """Return where each part begins and, in the next entry, ends."""
    return np.append(0, np.cumsum(counts, dtype=np.int64))
