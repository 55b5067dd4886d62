"""Two models on the same users, real items and judge: what the promotion gate reads."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personalgen.errors import DataError
from personalgen.evaluation.diversity import diversity_difference
from personalgen.evaluation.fidelity import kid_estimate
from personalgen.evaluation.interval import FloatArray, Interval, mean_interval, percentile_interval, resample_counts
from personalgen.evaluation.measure import has_spread, memorised_of
from personalgen.evaluation.options import EvaluationOptions
from personalgen.evaluation.preference import own_and_others, per_user_gain
from personalgen.evaluation.yardstick import Yardstick


@dataclass(frozen=True)
class Comparison:
    """Challenger less champion, with intervals of the *differences*: what both share cancels."""

    fit: Interval
    """Of personal fit (own score less shuffled); above zero the challenger is better. The interval is over users."""

    kid: Interval
    """Of KID; below zero the challenger is better. The interval is over users and real items."""

    within: Interval | None
    """Of the diversity within users, as a share of that of their real likes; None where it cannot be measured."""

    between: Interval | None
    """Of the diversity between users, likewise."""

    memorised: Interval | None
    """Of the share of pictures that are too near to a training picture; None where nobody told what was trained on."""

    n_users: int
    """Users both models were judged on."""

    n_real: int
    """Real pictures both were compared with."""

    def metrics(self) -> dict[str, float]:
        """Return flat names and numbers, each difference as `_diff`, `_low` and `_high`; what is missing has none."""
        names = ("fit", "kid", "within", "between", "memorised")
        found = {name: interval for name in names if (interval := getattr(self, name)) is not None}
        values = {f"{name}_diff": interval.value for name, interval in found.items()}
        values |= {f"{name}_low": interval.low for name, interval in found.items()}
        values |= {f"{name}_high": interval.high for name, interval in found.items()}
        return values | {"n_users": float(self.n_users), "n_real": float(self.n_real)}


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
    within, between = _diversity_difference(challenger, champion, yardstick, options)
    return Comparison(
        fit=fit_difference(scores, options),
        kid=kid_difference(challenger, champion, yardstick, options),
        within=within,
        between=between,
        memorised=_memorised_difference(challenger, champion, yardstick, options),
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


def _diversity_difference(
    challenger: NDArray[Any], champion: NDArray[Any], yardstick: Yardstick, options: EvaluationOptions
) -> tuple[Interval | None, Interval | None]:
    """Return the differences within and between users, both None where too few users have two held-out likes."""
    if not has_spread(challenger, yardstick):
        return None, None
    return diversity_difference(
        challenger,
        champion,
        yardstick.items.features,
        yardstick.selection.held_out_likes,
        n_resamples=options.bootstrap,
        confidence=options.confidence,
        seed=options.seed,
    )


def _memorised_difference(
    challenger: NDArray[Any], champion: NDArray[Any], yardstick: Yardstick, options: EvaluationOptions
) -> Interval | None:
    """Return the mean over users of the difference of their shares."""
    shares = [memorised_of(features, yardstick, options) for features in (challenger, champion)]
    per_user = [np.array(found.per_user) for found in shares if found]
    return mean_interval(per_user[0] - per_user[1], options.confidence) if per_user else None
