"""Personal fit: do a user's pictures suit this user better than they suit the others?

Everything rests on one square matrix: row u, column v holds the judge's mean score of user u's pictures for user v. Its
diagonal is `generated`, all the rest is `shuffled`: every way of giving pictures to wrong users at once, not one random
permutation. Pictures that please everybody and users who like everything add the same to both, so the difference
(`gain`) is what is personal and nothing else. One good average picture for all users gains nothing.

Held-out real likes in place of the pictures give `real_gain`, the ceiling, and NPG = gain / real_gain. Each side has
its own control: real pictures differ from generated ones also in ways that are not personal, and a shared control would
count that as taste. With equal controls this is (generated - shuffled) / (real - shuffled).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personalgen.errors import DataError
from personalgen.evaluation.interval import FloatArray, Interval, percentile_interval, resample_counts
from personalgen.evaluation.options import MIN_USERS, EvaluationOptions

MIN_CEILING_ERRORS = 3.0
"""NPG is given only where the ceiling is this many standard errors above zero."""


@dataclass(frozen=True)
class PreferenceGain:
    """Personal fit of generated pictures beside its control and its ceiling; intervals are over users."""

    generated: Interval
    """Mean score of users' own pictures."""

    shuffled: Interval
    """Mean score of the same pictures for all other users."""

    real: Interval
    """Mean score of held-out real likes for the users who gave them."""

    real_shuffled: Interval
    """Mean score of the same real likes for all other users."""

    gain: Interval
    """generated - shuffled."""

    real_gain: Interval
    """real - real_shuffled: the most that a judge of this make can see."""

    npg: Interval | None
    """gain / real_gain: 1 as personal as real likes, 0 not personal; None where the judge hardly sees taste at all."""

    npg_missing: str | None
    """Why there is no NPG; None where there is one."""

    p_value: float
    """Share of random reassignments of users that fit at least as well as the true one (one-sided)."""

    n_users: int
    """Users measured."""

    per_user: tuple[float, ...]
    """Own score less the mean score for others, for each user; the mean is `gain`."""


def preference_gain(generated: NDArray[Any], real: NDArray[Any], *, options: EvaluationOptions) -> PreferenceGain:
    """Return the personal fit from two (n_users, n_users) score matrices: pictures of u (rows) judged for v (columns).

    Users are resampled jointly for both matrices; a user drawn twice is never its own control.

    Raises:
        DataError: fewer than 8 users, or the matrices are not square and alike.
    """
    _require_scores(generated, real)
    generated, real = np.asarray(generated, np.float64), np.asarray(real, np.float64)
    counts = resample_counts(len(generated), options.bootstrap, np.random.default_rng(options.seed))
    fit, ceiling = _fit(generated, counts, options.confidence), _fit(real, counts, options.confidence)
    missing = _npg_missing(ceiling)
    return PreferenceGain(
        generated=fit.own,
        shuffled=fit.others,
        real=ceiling.own,
        real_shuffled=ceiling.others,
        gain=fit.gain,
        real_gain=ceiling.gain,
        npg=None if missing else _ratio(fit, ceiling, options.confidence),
        npg_missing=missing,
        p_value=permutation_p_value(generated, options.permutations, np.random.default_rng([options.seed, 1])),
        n_users=len(generated),
        per_user=tuple(per_user_gain(generated).tolist()),
    )


def gain_interval(scores: NDArray[Any], *, options: EvaluationOptions) -> Interval:
    """Return the gain of one (n_users, n_users) score matrix alone: for people without held-out likes to compare with.

    Raises:
        DataError: fewer than 8 users, or the matrix is not square.
    """
    _require_scores(scores, scores)
    counts = resample_counts(len(scores), options.bootstrap, np.random.default_rng(options.seed))
    return _fit(np.asarray(scores, np.float64), counts, options.confidence).gain


def per_user_gain(scores: FloatArray) -> FloatArray:
    """Return (n_users,) own score less the mean score of the same pictures for all other users."""
    own = scores.diagonal()
    return np.asarray(own - (scores.sum(axis=1) - own) / (len(scores) - 1))


def own_and_others(scores: FloatArray, counts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the mean of the diagonal and of pairs of different users, for each row of how often users are counted."""
    diagonal, squares = scores.diagonal(), np.square(counts)
    totals = counts.sum(axis=1)
    pairs = np.square(totals) - squares.sum(axis=1)
    other_sum = ((counts @ scores) * counts).sum(axis=1) - squares @ diagonal
    return counts @ diagonal / totals, other_sum / np.maximum(pairs, 1.0)


def permutation_p_value(scores: FloatArray, n_permutations: int, rng: np.random.Generator) -> float:
    """Return (1 + reassignments at least as good as the truth) / (1 + all): exact where pictures are not personal."""
    users = np.arange(len(scores))
    shuffled = rng.permuted(np.tile(users, (n_permutations, 1)), axis=1)
    # Both sums run over the same numbers where nothing is personal; rounding must not decide then.
    truth = scores.diagonal().mean() - 1e-12 * np.abs(scores).max()
    at_least = int((scores[users, shuffled].mean(axis=1) >= truth).sum())
    return (1 + at_least) / (1 + n_permutations)


@dataclass(frozen=True)
class _Fit:
    """One score matrix summed up, with the resamples of its gain."""

    own: Interval
    others: Interval
    gain: Interval
    gains: FloatArray


def _fit(scores: FloatArray, counts: FloatArray, confidence: float) -> _Fit:
    owns, others = own_and_others(scores, counts)
    own, gain = float(scores.diagonal().mean()), float(per_user_gain(scores).mean())
    return _Fit(
        own=percentile_interval(own, owns, confidence),
        others=percentile_interval(own - gain, others, confidence),
        gain=percentile_interval(gain, owns - others, confidence),
        gains=owns - others,
    )


def _ratio(fit: _Fit, ceiling: _Fit, confidence: float) -> Interval:
    """Return gain / ceiling; a resample without a ceiling counts as endless in the direction of its gain."""
    safe = np.where(ceiling.gains > 0, ceiling.gains, 1.0)
    ratios = np.where(ceiling.gains > 0, fit.gains / safe, np.copysign(np.inf, fit.gains))
    return percentile_interval(fit.gain.value / ceiling.gain.value, ratios, confidence)


def _npg_missing(ceiling: _Fit) -> str | None:
    """Return why gain / ceiling would be noise, or None where it would not."""
    least = MIN_CEILING_ERRORS * float(ceiling.gains.std())
    if ceiling.gain.value > least:
        return None
    return (
        f"The judge tells real held-out likes from other users' by {ceiling.gain.value:.2g}, and "
        f"{MIN_CEILING_ERRORS:.0f} standard errors are {least:.2g}: a share of it would be noise. "
        "Judge more users, or hold out more likes."
    )


def _require_scores(generated: NDArray[Any], real: NDArray[Any]) -> None:
    n_users = len(generated)
    if generated.shape != (n_users, n_users) or real.shape != generated.shape:
        raise DataError(
            f"Scores must be two square (n_users, n_users) arrays, found {generated.shape} and {real.shape}. "
            "Score the pictures of every user for every user. Nothing was measured."
        )
    if n_users < MIN_USERS:
        raise DataError(
            f"Personal fit needs at least {MIN_USERS} users with held-out likes, found {n_users}. "
            "Give more history. The evaluation is missing; nothing was measured."
        )
