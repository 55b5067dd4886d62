"""Which likes a recommender has to foretell, and what it may know of each person: two splits of histories."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from personalgen.evaluation.ranking import Ranking, rank
from personalgen.histories import History
from personalgen.recommenders.base import Matrix, likes_of


@dataclass(frozen=True)
class HeldOutLikes:
    """A ranking task; rows of both parts are the same people, in the same order."""

    known: History
    """What a recommender is fitted on, and asked with."""
    liked: csr_array
    """(n_users, n_items) with an entry for each item to foretell."""

    def rank(self, scores: Matrix) -> Ranking:
        """Return how high the held-out likes stand in (n_users, n_items) scores, known items left out."""
        return rank(scores, _matrix(self.known), self.liked)


def last_like_out(history: History) -> HeldOutLikes:
    """Hold out each person's newest like; whoever has only one is not asked about.

    Time does not divide people: what others liked later is known. So it measures the order of likes, and no trend.
    """
    likes = likes_of(history)
    bounds = likes.bounds
    last = np.zeros(len(likes.item_index), dtype=np.bool_)
    last[bounds[1:][np.diff(bounds) > 1] - 1] = True
    return HeldOutLikes(likes.where(~last), _matrix(likes.where(last)))


def later_likes_out(history: History, share: float) -> HeldOutLikes:
    """Hold out the last `share` of all likes in time, as a night would: nothing of anybody's later likes is known."""
    times = history.timestamp[history.weight > 0]
    return likes_out_from(history, float(np.quantile(times, 1 - share, method="higher")) if len(times) else 0)


def likes_out_from(history: History, seconds: float) -> HeldOutLikes:
    """Hold out all likes from a moment on, in seconds since 1970."""
    likes = likes_of(history)
    later = likes.timestamp >= seconds
    return HeldOutLikes(likes.where(~later), _matrix(likes.where(later)))


def _matrix(likes: History) -> csr_array:
    """Return (n_users, n_items) with an entry for each item that a person liked."""
    ones = np.ones(len(likes.item_index), dtype=np.float32)
    shape = (len(likes.user_ids), len(likes.item_ids))
    found = csr_array((ones, (likes.user_index, likes.item_index)), shape=shape)
    found.sum_duplicates()
    return found
