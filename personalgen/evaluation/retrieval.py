"""Whether what was drawn for a user finds what the user liked later, among all held-out items.

All items are ranked by how much they look like the user's pictures. The same is done with the pictures of other users,
the control, and with real likes of the user's profile, the ceiling: what a judge's eye can find at all.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from personalgen.errors import DataError
from personalgen.evaluation.interval import (
    FloatArray,
    Interval,
    flat_intervals,
    percentile_interval,
    resample_counts,
)
from personalgen.evaluation.nearest import unit_rows
from personalgen.evaluation.options import EvaluationOptions
from personalgen.evaluation.ranking import Ranking, rank

_SHUFFLES = 4
"""Ways of giving pictures to wrong users, over which the control is the mean."""


@dataclass(frozen=True)
class Retrieval:
    """How high held-out likes stand among all held-out items; intervals are over users."""

    ndcg_at_10: Interval
    """By the user's generated pictures."""

    recall_at_20: Interval
    """By the user's generated pictures."""

    shuffled_ndcg_at_10: float
    """By other users' generated pictures: what is liked by everybody."""

    shuffled_recall_at_20: float
    """By other users' generated pictures."""

    real_ndcg_at_10: float
    """By real likes of the user's profile, which are other items."""

    real_recall_at_20: float
    """By real likes of the user's profile."""

    n_items: int
    """Items that were ranked."""

    def metrics(self) -> dict[str, float]:
        """Return flat names and numbers."""
        found = flat_intervals({"found_ndcg_at_10": self.ndcg_at_10, "found_recall_at_20": self.recall_at_20})
        return found | {
            "found_ndcg_at_10_shuffled": self.shuffled_ndcg_at_10,
            "found_ndcg_at_10_real": self.real_ndcg_at_10,
            "found_recall_at_20_shuffled": self.shuffled_recall_at_20,
            "found_recall_at_20_real": self.real_recall_at_20,
        }


def retrieve(
    pictures: FloatArray, profiles: FloatArray, items: FloatArray, liked: csr_array, *, options: EvaluationOptions
) -> Retrieval:
    """Return how high `liked` (n_users, n_items) stands among `items` (n_items, d), ranked by likeness.

    `pictures` (n_users, d) are the means of users' generated pictures, `profiles` of what they really liked before; all
    in one space, where likeness is the cosine.

    Raises:
        DataError: users or widths differ.
    """
    if not (pictures.shape == profiles.shape == (liked.shape[0], items.shape[1])) or len(items) != liked.shape[1]:
        raise DataError(
            f"Expected pictures and profiles of {liked.shape[0]} users in {items.shape[1]} columns and "
            f"{liked.shape[1]} items, found {pictures.shape}, {profiles.shape} and {items.shape}. Nothing was measured."
        )
    own, real = (_ranked(queries, items, liked) for queries in (pictures, profiles))
    shuffled = Ranking.joined([_ranked(np.roll(pictures, k, axis=0), items, liked) for k in _steps(len(pictures))])
    others, ceiling = shuffled.metrics(), real.metrics()
    return Retrieval(
        ndcg_at_10=_over_users(own.ndcg, options),
        recall_at_20=_over_users(own.recall, options),
        shuffled_ndcg_at_10=others["ndcg_at_10"],
        shuffled_recall_at_20=others["recall_at_20"],
        real_ndcg_at_10=ceiling["ndcg_at_10"],
        real_recall_at_20=ceiling["recall_at_20"],
        n_items=len(items),
    )


def _ranked(queries: FloatArray, items: FloatArray, liked: csr_array) -> Ranking:
    scores = (unit_rows(queries) @ unit_rows(items).T).astype(np.float32)
    return rank(scores, csr_array(liked.shape, dtype=np.float32), liked)


def _steps(n_users: int) -> list[int]:
    """Return by how many places users are moved in each shuffle: nobody keeps their own pictures."""
    return sorted({1 + k * (n_users - 1) // _SHUFFLES for k in range(_SHUFFLES)})


def _over_users(values: FloatArray, options: EvaluationOptions) -> Interval:
    """Return the mean over users who have anything held out, with its interval."""
    known = values[np.isfinite(values)]
    counts = resample_counts(len(known), options.bootstrap, np.random.default_rng(options.seed))
    return percentile_interval(float(known.mean()), counts @ known / counts.sum(axis=1), options.confidence)
