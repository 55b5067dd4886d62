"""How much a user's pictures differ among themselves, and how much those of different users do, beside real likes.

The distance between two pictures is the squared Euclidean one between their judge features, as they are. Directions,
by which neighbours are found and taste is judged, would not do here: they forget lengths, and with them that pictures
shrink towards the mean picture. Blurring takes a third of real posters' diversity by distance, and adds to it by
direction (docs/experiments.md). Squares add up, so that what users' pictures differ by has two parts: within users, and
between them.

Both means are over pairs of different pictures: unbiased, however many pictures a user has. A resample of users draws
all pictures of a user, real and generated alike, and a user drawn twice is not its own other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array, eye_array, kron

from personalgen.errors import DataError
from personalgen.evaluation.interval import FloatArray, Interval, percentile_interval, resample_counts
from personalgen.evaluation.options import MIN_USERS
from personalgen.evaluation.preference import own_and_others

MIN_PICTURES = 2
"""Pictures of a user between which there is a distance."""


@dataclass(frozen=True)
class Spread:
    """Mean squared distances between pictures of the same users."""

    intra: Interval
    """Between two pictures of one user; zero where a user's pictures are copies."""

    inter: Interval
    """Between pictures of two different users; zero where all users get one picture."""

    between_share: Interval
    """1 - intra / inter, the share of the differences that lies between users: zero where pictures are not personal."""

    per_user: tuple[float, ...]
    """Intra of each user."""


@dataclass(frozen=True)
class Diversity:
    """Generated pictures beside the held-out real likes of the same users; intervals are over users."""

    generated: Spread
    real: Spread

    intra_ratio: Interval | None
    """Generated over real, 1 is as diverse; None where users' real likes are all copies of one another."""

    inter_ratio: Interval | None
    """Generated over real, 1 is as diverse; None where all real likes are one picture."""

    users: tuple[int, ...]
    """Positions of the users with two or more real likes, on whom all of it is measured."""


def diversity(
    features: NDArray[Any],
    items: NDArray[Any],
    user_items: csr_array,
    *,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Diversity:
    """Return the diversity of (n_users, k, d) features of users' pictures beside that of what they liked.

    `items` are (n_items, d) features; `user_items` (n_users, n_items) has an entry for each like, whatever its weight.
    Users with fewer than two likes are left out of both sides. Deterministic for given inputs and seed.

    Raises:
        DataError: fewer than two pictures a user, fewer than 8 users with two likes, or shapes that do not fit.
    """
    users, (fake, real) = _resampled([features], items, user_items, n_resamples, seed)
    return Diversity(
        generated=fake.spread(confidence),
        real=real.spread(confidence),
        intra_ratio=_ratio(fake.intra, real.intra, confidence),
        inter_ratio=_ratio(fake.inter, real.inter, confidence),
        users=tuple(users.tolist()),
    )


def diversity_difference(
    features: NDArray[Any],
    other_features: NDArray[Any],
    items: NDArray[Any],
    user_items: csr_array,
    *,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[Interval | None, Interval | None]:
    """Return how much more diverse the first pictures are than the second, within and between the same users.

    Both are differences of `intra_ratio` and of `inter_ratio`, which count up to 1: nothing is lost where pictures come
    down to the diversity of real likes. Users are drawn for both together.

    Raises:
        DataError: as in `diversity`.
    """
    _, (first, second, real) = _resampled([features, other_features], items, user_items, n_resamples, seed)
    within = _ratio(np.minimum(first.intra, real.intra) - np.minimum(second.intra, real.intra), real.intra, confidence)
    return within, _between(first, second, real, confidence)


def between_difference(
    features: NDArray[Any],
    other_features: NDArray[Any],
    items: NDArray[Any],
    user_items: csr_array,
    *,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval | None:
    """Return how much more diverse the first pictures are than the second between users, as `diversity_difference`.

    One picture a user, and one like of each, are enough. None where all real likes are one picture.
    """
    counts = resample_counts(len(features), n_resamples, np.random.default_rng(seed))
    rows = (_by_user(features), _by_user(other_features), (items, csr_array(user_items > 0, dtype=np.float64)))
    first, second, real = (_Resampled(pair_distances(*each), counts) for each in rows)
    return _between(first, second, real, confidence)


def pair_distances(rows: NDArray[Any], users_rows: csr_array) -> FloatArray:
    """Return (n_users, n_users) mean squared distances between pictures of two users, on the diagonal of one user.

    `users_rows` (n_users, n) has a one where a row is a picture of a user, at least one in each row. A picture is not
    paired with itself on the diagonal, which is 0 where a user has but one.
    """
    centred = np.asarray(rows, np.float64) - np.mean(rows, axis=0, dtype=np.float64)
    sizes = np.diff(users_rows.indptr).astype(np.float64)
    mean_of = diags_array(1 / sizes) @ users_rows
    means, lengths = mean_of @ centred, mean_of @ np.square(centred).sum(axis=1)
    squared = np.maximum(lengths[:, None] + lengths[None, :] - 2 * means @ means.T, 0.0)
    within = np.maximum(lengths - np.square(means).sum(axis=1), 0.0)
    np.fill_diagonal(squared, 2 * within * sizes / np.maximum(sizes - 1, 1))
    return np.asarray(squared)


def _resampled(
    generated: Sequence[NDArray[Any]], items: NDArray[Any], user_items: csr_array, n_resamples: int, seed: int
) -> "tuple[NDArray[np.int64], list[_Resampled]]":
    """Return the users with two real likes, and the spreads of each of the generated sets and of these likes."""
    for features in generated:
        _require_shapes(features, items, user_items)
    likes = csr_array(user_items > 0, dtype=np.float64)
    users = np.flatnonzero(np.diff(likes.indptr) >= MIN_PICTURES)
    _require_users(len(users))
    counts = resample_counts(len(users), n_resamples, np.random.default_rng(seed))
    rows = [*(_by_user(features[users]) for features in generated), (items, likes[users])]
    return users, [_Resampled(pair_distances(*each), counts) for each in rows]


class _Resampled:
    """Means of a matrix of distances over its own users and over resamples of them: the first row is the estimate."""

    def __init__(self, distances: FloatArray, counts: FloatArray) -> None:
        everybody = np.ones((1, len(distances)))
        self.intra, self.inter = own_and_others(distances, np.concatenate([everybody, counts]))
        self.per_user = tuple(distances.diagonal().tolist())

    def spread(self, confidence: float) -> Spread:
        """Return the means with their intervals."""
        share = 1 - self.intra / np.where(self.inter > 0, self.inter, np.inf)
        share = np.where(self.inter > 0, share, 0.0)
        intra, inter, between = (_interval(values, confidence) for values in (self.intra, self.inter, share))
        return Spread(intra=intra, inter=inter, between_share=between, per_user=self.per_user)


def _between(first: _Resampled, second: _Resampled, real: _Resampled, confidence: float) -> Interval | None:
    """Return the difference of both spreads between users as a share of that of real likes, up to which they count."""
    between = np.minimum(first.inter, real.inter) - np.minimum(second.inter, real.inter)
    return _ratio(between, real.inter, confidence)


def _interval(values: FloatArray, confidence: float) -> Interval:
    """Return the first value with the interval of the others."""
    return percentile_interval(float(values[0]), values[1:], confidence)


def _ratio(fake: FloatArray, real: FloatArray, confidence: float) -> Interval | None:
    """Return the quotient; a resample in which nothing real differs is left out."""
    known = real > 0
    return _interval(fake[known] / real[known], confidence) if known[0] and known[1:].any() else None


def _by_user(features: NDArray[Any]) -> tuple[NDArray[Any], csr_array]:
    """Return (n_users * k, d) rows, and (n_users, n_users * k) whose they are."""
    n_users, k = features.shape[:2]
    return features.reshape(n_users * k, -1), csr_array(kron(eye_array(n_users), np.ones((1, k))))


def _require_shapes(features: NDArray[Any], items: NDArray[Any], user_items: csr_array) -> None:
    if features.ndim != 3 or features.shape[1] < MIN_PICTURES:
        raise DataError(
            f"Diversity needs features (n_users, k, d) of {MIN_PICTURES} or more pictures a user, found "
            f"{features.shape}. Generate more for each. Nothing was measured."
        )
    expected = (len(features), len(items))
    if user_items.shape != expected or items.ndim != 2 or items.shape[1] != features.shape[2]:
        raise DataError(
            f"Diversity needs likes {expected} and items of width {features.shape[2]}, found {user_items.shape} and "
            f"{items.shape}. Pass the likes of these users and the same net's features. Nothing was measured."
        )


def _require_users(n_users: int) -> None:
    if n_users < MIN_USERS:
        raise DataError(
            f"Diversity needs at least {MIN_USERS} users with {MIN_PICTURES} or more held-out likes, found {n_users}. "
            "Evaluate on more users or hold out more likes. Nothing was measured."
        )
