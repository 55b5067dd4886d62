"""Personal fit by the truth: pictures for simulated people, scored by the utility that was planted in these people.

A judge has to guess tastes from likes; here they are known, and what a picture shows is read by an estimator. Generated
pictures and held-out real likes are read by the same one, so that its faults count on both sides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, eye_array, kron

from personalgen.errors import DataError
from personalgen.evaluation.attributes import AttributeEstimator
from personalgen.evaluation.interval import FloatArray, Interval
from personalgen.evaluation.judge import weighted_rows
from personalgen.evaluation.options import MIN_USERS, EvaluationOptions
from personalgen.evaluation.preference import PreferenceGain, gain_interval, preference_gain
from personalgen.worlds import Attributes, AttributeWorld, PlantedUsers

COLD_EVENTS = 4
"""Who has at most so many events before the split, and at least one, is cold."""
MIN_HELD_OUT_LIKES = 2
"""Fewest held-out real likes of a warm user: the ceiling is made of them."""
SURE = 0.9
"""Probability above which a value counts as read."""


@dataclass(frozen=True)
class PlantedSelection:
    """Which held-out people are measured; all arrays are positions in the history."""

    warm: NDArray[np.int64]
    """People with more than 4 events in their condition, and at least 2 held-out likes."""

    cold: NDArray[np.int64]
    """People with 1 to 4 events in their condition."""

    held_out_likes: csr_array
    """(n_warm, n_items): 1 for a later like of an item that is not trained on."""


@dataclass(frozen=True)
class PlantedFit:
    """One model measured against the truth."""

    warm: PreferenceGain
    """Personal fit for people with more than 4 events, in nats of true utility."""

    cold: Interval | None
    """Gain for people with 1 to 4 events over the warm people's real gain; None where these are fewer than 8."""

    n_cold: int
    """People behind `cold`."""

    sure: Mapping[str, float]
    """Share of the warm people's pictures with a value of probability above 0.9, by category."""

    def metrics(self) -> dict[str, float]:
        """Return flat names and numbers; what is missing has no entry."""
        named = {
            "gain_nats": self.warm.gain,
            "real_gain_nats": self.warm.real_gain,
            "warm_gain_over_real_gain": self.warm.npg,
            "cold_gain_over_real_gain": self.cold,
        }
        values: dict[str, float] = {}
        for name, interval in named.items():
            if interval is not None:
                values |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
        shares = {f"{name}_sure_share": share for name, share in self.sure.items()}
        return values | shares | {"n_warm_users": float(self.warm.n_users), "n_cold_users": float(self.n_cold)}


class PlantedYardstick:
    """What models are measured against: the world, its people, and how their held-out real likes score."""

    def __init__(
        self,
        world: AttributeWorld,
        estimator: AttributeEstimator,
        *,
        warm: PlantedUsers,
        cold: PlantedUsers,
        real_scores: FloatArray,
    ) -> None:
        self.world, self.estimator = world, estimator
        self.warm, self.cold, self.real_scores = warm, cold, real_scores

    def measure(
        self, warm_images: NDArray[np.uint8], cold_images: NDArray[np.uint8], *, options: EvaluationOptions
    ) -> PlantedFit:
        """Return the fit from (n * k, R, R, 3) pictures of warm and of cold people, user by user, k each."""
        shown = self.estimator.read(warm_images)
        fit = preference_gain(true_utility_scores(self.world, self.warm, shown), self.real_scores, options=options)
        return PlantedFit(
            warm=fit,
            cold=self._cold_gain(cold_images, fit.real_gain.value, options),
            n_cold=len(self.cold.user_ids),
            sure={name: float((value.max(axis=1) > SURE).mean()) for name, value in shown.categories.items()},
        )

    def _cold_gain(self, images: NDArray[np.uint8], ceiling: float, options: EvaluationOptions) -> Interval | None:
        """Return the gain over a ceiling that counts as known: the interval is that of the gain alone."""
        if len(self.cold.user_ids) < MIN_USERS or ceiling <= 0:
            return None
        scores = true_utility_scores(self.world, self.cold, self.estimator.read(images))
        gain = gain_interval(scores, options=options)
        return Interval(gain.value / ceiling, gain.low / ceiling, gain.high / ceiling)


def true_utility_scores(
    world: AttributeWorld, users: PlantedUsers, shown: Attributes, *, pictures_of_users: csr_array | None = None
) -> FloatArray:
    """Return (n_users, n_users): mean true utility, in nats, of the pictures of u (rows) for v (columns).

    `shown` is what n pictures show; `pictures_of_users` (n_users, n) says with positive weights whose they are. Without
    it they come user by user, equally many each.

    Raises:
        DataError: the pictures do not divide among the users, or a user has none.
    """
    utility = world.utility_of_attributes(users, shown)
    n_users, n_pictures = utility.shape
    if pictures_of_users is None:
        if n_users == 0 or n_pictures % n_users or not n_pictures:
            raise DataError(
                f"Expected equally many pictures of each of {n_users} users, found {n_pictures}. Nothing was measured."
            )
        pictures_of_users = csr_array(kron(eye_array(n_users), np.ones((1, n_pictures // n_users))))
    return np.asarray(weighted_rows(pictures_of_users) @ utility.T.astype(np.float64))


def select_planted(
    *,
    judged_users: NDArray[np.bool_],
    n_events: NDArray[Any],
    held_out_likes: tuple[NDArray[Any], NDArray[Any]],
    n_items: int,
    most_users: int,
) -> PlantedSelection:
    """Return the held-out people to measure, warm and cold, at most `most_users` of each: the first ones.

    `n_events` (n_users,) counts the events behind each condition; `held_out_likes` are the user and the item positions
    of later likes of items that are not trained on.
    """
    shape = (len(judged_users), n_items)
    user_index, item_index = held_out_likes
    likes = csr_array(coo_array((np.ones(len(user_index)), (user_index, item_index)), shape=shape))
    enough = np.diff(likes.indptr) >= MIN_HELD_OUT_LIKES
    warm = np.flatnonzero(judged_users & (n_events > COLD_EVENTS) & enough)[:most_users]
    cold = np.flatnonzero(judged_users & (n_events >= 1) & (n_events <= COLD_EVENTS))[:most_users]
    return PlantedSelection(warm=warm, cold=cold, held_out_likes=likes[warm])
