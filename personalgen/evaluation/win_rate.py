"""How often a user would take the one picture over the other, by a judge: wins of one way to draw against another."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from personalgen.errors import DataError
from personalgen.evaluation.interval import FloatArray, Interval, percentile_interval, resample_counts
from personalgen.evaluation.options import EvaluationOptions


def win_rate(own: NDArray[Any], other: NDArray[Any], *, options: EvaluationOptions) -> Interval:
    """Return the share of pairs in which a user's first picture is scored above the second one; half is no difference.

    Both are (n_users, k) scores of pictures for the user they were drawn for, k not necessarily the same: all k x k'
    pairs of a user count, ties as half a win, and users are the independent units.

    Raises:
        DataError: the two are not of the same users, or there is no picture.
    """
    if own.ndim != 2 or other.ndim != 2 or len(own) != len(other) or not (own.size and other.size):
        raise DataError(
            f"A win rate compares (n_users, k) scores of the same users, found {own.shape} and {other.shape}. Score "
            "both for the same users. Nothing was measured."
        )
    difference = np.asarray(own, np.float64)[:, :, None] - np.asarray(other, np.float64)[:, None, :]
    of_user: FloatArray = ((difference > 0) + 0.5 * (difference == 0)).mean(axis=(1, 2))
    counts = resample_counts(len(of_user), options.bootstrap, np.random.default_rng(options.seed))
    return percentile_interval(float(of_user.mean()), counts @ of_user / counts.sum(axis=1), options.confidence)


def own_scores(picture_scores: FloatArray) -> FloatArray:
    """Return (n_users, k) scores of pictures for their own users, from (n_users, k, n_users) for everybody."""
    n_users = len(picture_scores)
    return np.asarray(picture_scores[np.arange(n_users), :, np.arange(n_users)])
