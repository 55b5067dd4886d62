"""Whose pictures are these? Of all users, how often is the right one named from a few of the user's pictures.

A user who likes everything would be named for everybody's pictures, so what a judge thinks a user likes is compared
with what that user thinks of everybody's pictures. Real held-out likes are asked in the same way, with as many pictures
of each user, and chance stands beside both.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from personalgen.errors import DataError
from personalgen.evaluation.interval import (
    FloatArray,
    Interval,
    flat_intervals,
    percentile_interval,
    resample_counts,
)
from personalgen.evaluation.options import EvaluationOptions

TOP = 16
PICTURES = 8
"""Most pictures of a user that are looked at."""


@dataclass(frozen=True)
class Identification:
    """How often users are named from their pictures, beside their real likes and chance; intervals are over users."""

    top_1: Interval
    """Share of users who are named first."""

    top_16: Interval
    """Share of users who are among the first 16."""

    real_top_1: Interval
    """The first share from as many held-out real likes of the same users."""

    real_top_16: Interval
    """The second one."""

    of_real_1: Interval | None
    """top_1 / real_top_1; None where next to nobody is named by real likes."""

    of_real_16: Interval | None
    """top_16 / real_top_16."""

    n_users: int
    """Users to choose among."""

    n_pictures: float
    """Pictures that were looked at, of a user on average."""

    @property
    def chance_1(self) -> float:
        """`top_1` of pictures that tell nothing."""
        return 1 / self.n_users

    @property
    def chance_16(self) -> float:
        """`top_16` of pictures that tell nothing."""
        return min(TOP / self.n_users, 1.0)

    def metrics(self) -> dict[str, float]:
        """Return flat names and numbers; what is missing has no entry."""
        named = {
            "identified_1": self.top_1,
            "identified_16": self.top_16,
            "real_identified_1": self.real_top_1,
            "real_identified_16": self.real_top_16,
            "identified_1_of_real": self.of_real_1,
            "identified_16_of_real": self.of_real_16,
        }
        chance = {"identified_1_chance": self.chance_1, "identified_16_chance": self.chance_16}
        return flat_intervals(named) | chance


def identify(
    picture_scores: FloatArray, item_scores: FloatArray, held_out_likes: csr_array, *, options: EvaluationOptions
) -> Identification:
    """Return how often users are named, from a judge's scores.

    `picture_scores` (n_users, k, n_users) are of the pictures of u (rows) for v (columns), `item_scores`
    (n_rows, n_users) of real pictures, of which `held_out_likes` (n_users, n_rows) says whose likes they are. Of each
    user as many of both are looked at: at most 8, k, and the user's likes.

    Raises:
        DataError: somebody has no picture or no like.
    """
    n_pictures = np.minimum(np.minimum(np.diff(held_out_likes.indptr), picture_scores.shape[1]), PICTURES)
    if (n_pictures < 1).any():
        raise DataError(
            f"Naming users needs a picture and a held-out like of each, found {int((n_pictures < 1).sum())} without. "
            "Leave these out. Nothing was measured."
        )
    own = np.stack([scores[:n].mean(axis=0) for scores, n in zip(picture_scores, n_pictures, strict=True)])
    real = _drawn_likes(held_out_likes, n_pictures, np.random.default_rng([options.seed, 2])) @ item_scores
    places = np.stack([place_of_the_right_one(scores) for scores in (own, real)])
    counts = resample_counts(len(own), options.bootstrap, np.random.default_rng(options.seed))
    found = {top: _shares(places < top, counts, options.confidence) for top in (1, TOP)}
    return Identification(
        top_1=found[1][0],
        real_top_1=found[1][1],
        of_real_1=found[1][2],
        top_16=found[TOP][0],
        real_top_16=found[TOP][1],
        of_real_16=found[TOP][2],
        n_users=len(own),
        n_pictures=float(n_pictures.mean()),
    )


def place_of_the_right_one(scores: FloatArray) -> NDArray[np.int64]:
    """Return (n_users,) the place of u among all users by row u, from 0; equal scores count against u."""
    centred = scores - scores.mean(axis=0)
    rounding = 1e-9 * np.abs(scores).max(initial=0.0)
    at_least = centred >= centred.diagonal()[:, None] - rounding
    return np.asarray(at_least.sum(axis=1) - 1, dtype=np.int64)


def _drawn_likes(likes: csr_array, counts: NDArray[np.int64], rng: np.random.Generator) -> csr_array:
    """Return (n_users, n_rows) equal weights of `counts` likes of each user, which sum to 1."""
    chosen = [
        rng.permutation(likes.indices[start : start + n])[:count]
        for start, n, count in zip(likes.indptr[:-1], np.diff(likes.indptr), counts, strict=True)
    ]
    indptr = np.concatenate([[0], np.cumsum(counts)])
    return csr_array((np.repeat(1 / counts, counts), np.concatenate(chosen), indptr), shape=likes.shape)


def _shares(
    hits: NDArray[np.bool_], counts: FloatArray, confidence: float
) -> tuple[Interval, Interval, Interval | None]:
    """Return the shares of both rows of (2, n_users) hits, and their ratio, users drawn for both together."""
    resampled = counts @ hits.T / counts.sum(axis=1, keepdims=True)
    own, real = (
        percentile_interval(float(row.mean()), column, confidence)
        for row, column in zip(hits, resampled.T, strict=True)
    )
    named = resampled[:, 1] > 0
    if real.value <= 0 or (~named).mean() >= (1 - confidence) / 2:
        return own, real, None
    return own, real, percentile_interval(own.value / real.value, resampled[named, 0] / resampled[named, 1], confidence)
