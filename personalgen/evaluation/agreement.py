"""How far two judges of different make agree about the same pictures: what only one of them sees may be its fault."""

from dataclasses import dataclass

import numpy as np

from personalgen.errors import DataError
from personalgen.evaluation.interval import FloatArray, Interval, percentile_interval, resample_counts
from personalgen.evaluation.options import EvaluationOptions


@dataclass(frozen=True)
class Agreement:
    """Agreement of two judges over the same users and pictures; intervals are over users."""

    same_winner: Interval
    """Of pairs of one user's pictures for another user and for the own one: share in which both judges say the same
    about whom they suit better; 0.5 is chance."""

    correlation: Interval
    """Correlation of both judges' personal fit over users."""


def agreement(first: FloatArray, second: FloatArray, *, options: EvaluationOptions) -> Agreement:
    """Return how far two (n_users, n_users) score matrices agree: pictures of u (rows) judged for v (columns).

    Columns are compared after what a user thinks of everybody's pictures was taken off.

    Raises:
        DataError: the two are not of the same users.
    """
    if first.shape != second.shape or first.ndim != 2 or first.shape[0] != first.shape[1]:
        raise DataError(
            f"Two judges are compared by two square matrices of the same users, found {first.shape} and "
            f"{second.shape}. Nothing was measured."
        )
    own_less_others = [_own_less_others(scores) for scores in (first, second)]
    off = ~np.eye(len(first), dtype=np.bool_)
    same = (np.sign(own_less_others[0]) == np.sign(own_less_others[1])) & off
    of_user = same.sum(axis=1) / (len(first) - 1)
    fit_a, fit_b = (matrix.sum(axis=1) / (len(first) - 1) for matrix in own_less_others)
    counts = resample_counts(len(first), options.bootstrap, np.random.default_rng(options.seed))
    shares = counts @ of_user / counts.sum(axis=1)
    return Agreement(
        same_winner=percentile_interval(float(of_user.mean()), shares, options.confidence),
        correlation=percentile_interval(
            float(_correlation(np.ones((1, len(first))), fit_a, fit_b)[0]),
            _correlation(counts, fit_a, fit_b),
            options.confidence,
        ),
    )


def _own_less_others(scores: FloatArray) -> FloatArray:
    """Return (n, n): how much better the pictures of u suit u than v."""
    centred = scores - scores.mean(axis=0)
    return np.asarray(centred.diagonal()[:, None] - centred)


def _correlation(counts: FloatArray, first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the weighted correlation for each row of how often users are counted; 0 where one of them is constant."""
    weight = counts / counts.sum(axis=1, keepdims=True)
    mean_a, mean_b = weight @ first, weight @ second
    covariance = weight @ (first * second) - mean_a * mean_b
    variance = (weight @ np.square(first) - np.square(mean_a)) * (weight @ np.square(second) - np.square(mean_b))
    scale = np.sqrt(np.maximum(variance, 0))
    return np.where(scale > 1e-12, covariance / np.maximum(scale, 1e-12), 0.0)
