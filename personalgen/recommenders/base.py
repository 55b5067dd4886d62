"""What every model of people's next likes can do, and how histories become its rows."""

from abc import ABC, abstractmethod
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from personalgen.histories import History

Matrix = NDArray[np.float32]
_ODD = np.uint64(0x9E3779B97F4A7C15)


class Forgetting(StrEnum):
    """When a model that was told to forget a person will have done so."""

    AT_ONCE = "at once"
    NEXT_SOLVE = "its statistics at once, its coefficients at the next solve"
    NEXT_FIT = "at the next fit, on histories without the person"


class Recommender(Protocol):
    """A model of what people like next. Ids travel with matrices; rows follow the history that is asked about.

    What counts of a history is what was liked, in its order: an event with a negative weight is not a like.
    """

    name: str
    item_ids: tuple[str, ...]
    """Columns of `scores` and rows of `item_vectors`; empty before the first fit."""

    def fit(self, history: History) -> Self:
        """Learn from all of a history; what was learnt before is dropped."""

    def update(self, history: History, n_known: NDArray[np.int64]) -> Self:
        """Learn what is new: the history as it is now, of which the first n_known[k] likes of user k were known.

        The items must be those of the fit, in its order.
        """

    def forget(self, person: History) -> Forgetting:
        """Forget one person, whose likes are those of `person`; return when that will have happened."""

    def scores(self, history: History) -> Matrix:
        """Return (n_users, n_items): higher is sooner liked; what was liked before has a score, too."""

    def user_vectors(self, history: History) -> Matrix:
        """Return (n_users, dim), whose products with `item_vectors` are, or approximate, `scores`."""

    def item_vectors(self) -> Matrix:
        """Return (n_items, dim)."""


class LearntAnew(ABC):
    """A recommender whose vectors depend on all likes: it learns and forgets by a new fit; scores are products."""

    @abstractmethod
    def fit(self, history: History) -> Self:
        """Learn from all of a history."""

    @abstractmethod
    def user_vectors(self, history: History) -> Matrix:
        """Return (n_users, dim)."""

    @abstractmethod
    def item_vectors(self) -> Matrix:
        """Return (n_items, dim)."""

    def update(self, history: History, n_known: NDArray[np.int64]) -> Self:
        """Learn anew."""
        del n_known
        return self.fit(history)

    def forget(self, person: History) -> Forgetting:
        """Do nothing yet."""
        del person
        return Forgetting.NEXT_FIT

    def scores(self, history: History) -> Matrix:
        """Return (n_users, n_items) products of the vectors."""
        found: Matrix = self.user_vectors(history) @ self.item_vectors().T
        return found


def likes_of(history: History) -> History:
    """Return what was liked, oldest first.

    Likes of one second have no order of their own. They stand in one that follows from the items' ids and says nothing
    of them, so that nothing is learnt from the order of a catalogue, and that stays when a catalogue grows.
    """
    likes = history.where(history.weight > 0)
    user, time = likes.user_index, likes.timestamp
    if not ((user[1:] == user[:-1]) & (time[1:] == time[:-1])).any():
        return likes
    mixed = _numbers(likes.item_ids)[likes.item_index] * (time.astype(np.uint64) * _ODD | np.uint64(1)) * _ODD
    order = np.lexsort((mixed >> np.uint64(32), time, user))
    return History(likes.user_ids, likes.item_ids, user, likes.item_index[order], time, likes.weight[order])


@lru_cache(maxsize=4)
def _numbers(item_ids: tuple[str, ...]) -> NDArray[np.uint64]:
    """Return (n_items,) numbers that follow from the ids and look random."""
    digests = b"".join(blake2b(item_id.encode(), digest_size=8).digest() for item_id in item_ids)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def decayed_rows(likes: History, *, half_life: float, window: int) -> csr_array:
    """Return (n_users, n_items) float32: each user's newest `window` likes, halved every `half_life` likes."""
    counts = np.diff(likes.bounds)
    age = np.repeat(likes.bounds[1:], counts) - 1 - np.arange(len(likes.item_index))
    recent = age < window
    weight = 2.0 ** (-age[recent] / half_life)
    entries = (weight.astype(np.float32), (likes.user_index[recent], likes.item_index[recent]))
    return csr_array(entries, shape=(len(likes.user_ids), len(likes.item_ids)))
