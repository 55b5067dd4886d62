"""People's ratings of the pictures made for them, as a small term beside the sums of their events.

A rating is an event on a picture: its content in the basis, and a weight. It enters where the sums of events become a
vector, and nowhere else: the sums that are kept from night to night know nothing of it, and no training pair holds it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from personalgen.artifacts import atomic_path
from personalgen.embeddings.basis import Basis, Matrix
from personalgen.embeddings.content import FEATURE_DIM
from personalgen.embeddings.matrix_columns import from_lists, to_lists
from personalgen.histories import DAY_SEC

_NEUTRAL = 5
"""Ratings of 0 that everybody's middle is shrunk by: whoever rates all pictures alike still likes or dislikes them."""


@dataclass(frozen=True)
class RatedPictures:
    """Ratings of pictures by the people for whom they were made, as columns of one length."""

    user_ids: tuple[str, ...]
    """(n,) who rated the own picture."""
    asset_ids: NDArray[np.int64]
    seconds: NDArray[np.int64]
    """(n,) when, since 1970."""
    weight: NDArray[np.float64]
    """(n,) positive: a like; negative: a dislike; 1 weighs as a like of an item does."""
    vectors: Matrix
    """(n, dim) the pictures in the basis, as item vectors are."""

    def __len__(self) -> int:
        return len(self.user_ids)

    def of(self, rows: NDArray[np.int64]) -> "RatedPictures":
        """Return some of the ratings."""
        columns = (self.asset_ids[rows], self.seconds[rows], self.weight[rows], self.vectors[rows])
        return RatedPictures(tuple(self.user_ids[k] for k in rows.tolist()), *columns)


@dataclass(frozen=True)
class RatingTerms:
    """What ratings add to the sums of some users, as of each user's newest event or rating."""

    fade: NDArray[np.float64]
    """(n_users,) what is left then of sums as of the newest event."""
    liked: NDArray[np.float64]
    """(n_users, dim) weighted sums of the pictures."""
    like_total: NDArray[np.float64]
    """(n_users,)"""
    disliked: NDArray[np.float64]
    dislike_total: NDArray[np.float64]
    count: NDArray[np.int32]
    """(n_users,) ratings."""
    events: Mapping[int, Sequence[tuple[float, dict[str, Any]]]]
    """By the user's place, each rating's weight then and what is told of it; of those who rated alone."""


def rating_weights(user: NDArray[np.int64], value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n,) ratings in [-1, 1] less their user's own middle, the mean of these and of five ratings of 0.

    A generous person's praise weighs less; of ratings that are all alike, the sign stays.
    """
    total = np.bincount(user, value)
    middle = total / (np.bincount(user) + _NEUTRAL)
    return np.asarray(value - middle[user])


def picture_vectors(basis: Basis, features: Matrix) -> Matrix:
    """Return (n, dim) vectors of pictures from their (n, 1280) content features, as if their text said nothing."""
    padded = np.tile(basis.content_mean, (len(features), 1))
    padded[:, :FEATURE_DIM] = features
    return basis.item_vectors(padded, ("",) * len(features))


def rating_terms(
    rated: RatedPictures, user_ids: Sequence[str], newest: NDArray[np.int64], *, half_life_days: float, dim: int
) -> RatingTerms:
    """Return what ratings add to the sums of these users, whose `newest` (n_users,) events are in seconds since 1970.

    Who has no event has any `newest` up to the first rating, such as 0.
    """
    place = {user_id: k for k, user_id in enumerate(user_ids)}
    user = np.array([place.get(user_id, -1) for user_id in rated.user_ids], dtype=np.int64)
    own = np.flatnonzero(user >= 0)
    rated, user = rated.of(own), user[own]
    until = newest.astype(np.int64)
    np.maximum.at(until, user, rated.seconds)
    weight = rated.weight * _left(until[user] - rated.seconds, half_life_days)
    events: dict[int, list[tuple[float, dict[str, Any]]]] = {}
    columns = (user.tolist(), weight.tolist(), rated.asset_ids.tolist(), rated.seconds.tolist())
    for owner, each, asset_id, at in zip(*columns, strict=True):
        events.setdefault(owner, []).append((each, {"asset_id": asset_id, "timestamp": at}))
    liked, like_total = _sums(user, np.maximum(weight, 0), rated.vectors, (len(user_ids), dim))
    disliked, dislike_total = _sums(user, np.maximum(-weight, 0), rated.vectors, (len(user_ids), dim))
    return RatingTerms(
        fade=_left(until - newest, half_life_days),
        liked=liked,
        like_total=like_total,
        disliked=disliked,
        dislike_total=dislike_total,
        count=np.bincount(user, minlength=len(user_ids)).astype(np.int32),
        events=events,
    )


def _sums(
    user: NDArray[np.int64], weight: NDArray[np.float64], vectors: Matrix, shape: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weighted sum of each user's vectors, (n_users, dim), and the total weight, (n_users,)."""
    sums = np.zeros(shape)
    np.add.at(sums, user, weight[:, None] * vectors)
    return sums, np.bincount(user, weight, minlength=shape[0]).astype(np.float64)


def save_rated(path: Path, rated: RatedPictures) -> Path:
    """Write ratings as Parquet, atomically."""
    columns = {
        "user_id": pa.array(rated.user_ids, pa.string()),
        "asset_id": pa.array(rated.asset_ids),
        "seconds": pa.array(rated.seconds),
        "weight": pa.array(rated.weight),
        "vector": to_lists(rated.vectors, pa.float32()),
    }
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns), temporary)
    return path


def load_rated(path: Path) -> RatedPictures:
    """Return the ratings that `save_rated` wrote."""
    table = pq.read_table(path)
    asset_ids, seconds, weight = (table[name].to_numpy() for name in ("asset_id", "seconds", "weight"))
    ids = tuple(table["user_id"].to_pylist())
    return RatedPictures(ids, asset_ids, seconds, weight, from_lists(table["vector"], np.float32))


def _left(seconds: NDArray[np.int64], half_life_days: float) -> NDArray[np.float64]:
    """Return what is left of a weight after some seconds."""
    return np.asarray(2.0 ** (-seconds / (DAY_SEC * half_life_days)))
