"""Two models on the same users, real items and judge: what the promotion gate reads."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personalgen.errors import DataError
from personalgen.evaluation.fidelity import kid_estimate
from personalgen.evaluation.interval import FloatArray, Interval, percentile_interval, resample_counts
from personalgen.evaluation.measure import Yardstick
from personalgen.evaluation.options import EvaluationOptions
from personalgen.evaluation.preference import own_and_others, per_user_gain


@dataclass(frozen=True)
class Comparison:
    """Challenger less champion, with intervals of the *differences*: what both share cancels."""

    fit_diff: float
    """Difference of personal fit (own score less shuffled); above zero the challenger is better."""

    fit_low: float
    """Lower end of its bootstrap interval over users."""

    fit_high: float
    """Upper end."""

    kid_diff: float
    """Difference of KID; below zero the challenger is better."""

    kid_low: float
    """Lower end of its jackknife interval over users and real items."""

    kid_high: float
    """Upper end."""

    n_users: int
    """Users both models were judged on."""

    n_real: int
    """Real pictures both were compared with."""


def compare(
    challenger: NDArray[Any],
    champion: NDArray[Any],
    yardstick: Yardstick,
    *,
    options: EvaluationOptions,
    images: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None,
) -> Comparison:
    """Return the paired differences from (n_users, k, d) features of both models' pictures of the same users and z.

    `images` gives both models' pixels to judges that need them.

    Raises:
        DataError: the two differ in shape, or do not fit the yardstick.
    """
    if challenger.shape != champion.shape:
        raise DataError(
            f"Both models must be compared on the same users and z, found features {challenger.shape} and "
            f"{champion.shape}. Generate both for the same selection. Nothing was compared."
        )
    of_challenger, of_champion = (None, None) if images is None else images
    scores = yardstick.scores(challenger, of_challenger) - yardstick.scores(champion, of_champion)
    fit, fidelity = fit_difference(scores, options), kid_difference(challenger, champion, yardstick, options)
    return Comparison(
        fit_diff=fit.value,
        fit_low=fit.low,
        fit_high=fit.high,
        kid_diff=fidelity.value,
        kid_low=fidelity.low,
        kid_high=fidelity.high,
        n_users=yardstick.n_users,
        n_real=len(yardstick.real_features()),
    )


def fit_difference(score_difference: FloatArray, options: EvaluationOptions) -> Interval:
    """Return the gain of a difference of two score matrices: personal fit is linear in the scores."""
    counts = resample_counts(len(score_difference), options.bootstrap, np.random.default_rng(options.seed))
    own, others = own_and_others(score_difference, counts)
    return percentile_interval(float(per_user_gain(score_difference).mean()), own - others, options.confidence)


def kid_difference(
    challenger: NDArray[Any], champion: NDArray[Any], yardstick: Yardstick, options: EvaluationOptions
) -> Interval:
    """Return the difference of KID with its interval; leaving out a user takes both models' pictures of that user."""
    real, groups = yardstick.real_features(), yardstick.users_of_rows(challenger)
    of_challenger, of_champion = (
        kid_estimate(real, rows.reshape(-1, rows.shape[-1]), groups=groups) for rows in (challenger, champion)
    )
    return (of_challenger - of_champion).interval(options.confidence)
