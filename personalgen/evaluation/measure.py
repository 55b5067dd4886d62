"""One model's measurement against held-out rows: the yardstick is built once a night and shared by all models."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personalgen.errors import DataError
from personalgen.evaluation.fidelity import FrechetDistance, frechet_with_floor, kid, kid_floor
from personalgen.evaluation.interval import FloatArray, Interval
from personalgen.evaluation.judge import ContentJudge, Judge, Pictures, weighted_rows
from personalgen.evaluation.options import EvaluationOptions
from personalgen.evaluation.preference import PreferenceGain, preference_gain
from personalgen.evaluation.selection import Selection


@dataclass(frozen=True)
class Yardstick:
    """What models are measured against: held-out rows, their judge features and a fitted judge."""

    selection: Selection
    items: Pictures
    judge: Judge
    real_scores: FloatArray
    """(n_users, n_users): held-out real likes of u (rows) judged for v (columns)."""

    @property
    def n_users(self) -> int:
        """Users whose pictures are judged."""
        return len(self.selection.user_index)

    def real_features(self) -> NDArray[Any]:
        """Return features of the reference items of the test split."""
        return np.asarray(self.items.features[self.selection.is_reference & ~self.selection.is_judge])

    def other_real_features(self) -> NDArray[Any]:
        """Return features of the reference items of the judge split: the other side of the real-vs-real floor."""
        return np.asarray(self.items.features[self.selection.is_reference & self.selection.is_judge])

    def scores(self, features: NDArray[Any], images: NDArray[np.uint8] | None = None) -> FloatArray:
        """Return (n_users, n_users) mean scores of u's pictures for v, from (n_users, k, d) features."""
        self._require_users(features)
        n_users, k = features.shape[:2]
        flat = None if images is None else images.reshape(n_users * k, *images.shape[2:])
        pictures = Pictures(features.reshape(n_users * k, -1), flat)
        scores = self.judge.score(pictures, self.items, self.selection.profile_likes)
        return np.asarray(scores.reshape(n_users, k, n_users).mean(axis=1))

    def users_of_rows(self, features: NDArray[Any]) -> NDArray[np.int64]:
        """Return the user position of each row of `features` flattened to (n_users * k, d)."""
        return np.repeat(np.arange(len(features)), features.shape[1])

    def _require_users(self, features: NDArray[Any]) -> None:
        if features.ndim != 3 or len(features) != self.n_users:
            raise DataError(
                f"Expected features (n_users={self.n_users}, images_per_user, d) in the order of selection.user_index, "
                f"found {features.shape}. Generate for exactly these users. Nothing was measured."
            )


@dataclass(frozen=True)
class Evaluation:
    """One model measured: fidelity of the crowd of pictures, and personal fit."""

    kid: Interval
    """KID of generated pictures against test items; lower is better."""

    kid_floor: Interval
    """KID of judge items against test items: two sets of real pictures."""

    frechet: FrechetDistance
    """Fréchet distance of generated pictures, with its real-vs-real floor at the same size."""

    preference: PreferenceGain
    """Personal fit by the judge, with control and ceiling."""

    judge: str
    """Which judge."""

    n_images: int
    """Generated pictures measured."""

    n_real: int
    """Real pictures they were compared with."""

    def metrics(self) -> dict[str, float]:
        """Return flat names and numbers for a metric logger; an NPG that is missing has no entry."""
        intervals = {
            "kid": self.kid,
            "kid_floor": self.kid_floor,
            "fit_gain": self.preference.gain,
            "fit_real_gain": self.preference.real_gain,
            "npg": self.preference.npg,
        }
        named = {name: interval for name, interval in intervals.items() if interval is not None}
        values = {name: interval.value for name, interval in named.items()}
        values |= {f"{name}_low": interval.low for name, interval in named.items()}
        values |= {f"{name}_high": interval.high for name, interval in named.items()}
        return values | {
            "fit_generated": self.preference.generated.value,
            "fit_shuffled": self.preference.shuffled.value,
            "fit_real": self.preference.real.value,
            "fit_p_value": self.preference.p_value,
            "frechet": self.frechet.value,
            "frechet_floor": self.frechet.floor,
            "n_users": float(self.preference.n_users),
        }


def build_yardstick(
    selection: Selection, items: Pictures, *, options: EvaluationOptions, judge: Judge | None = None
) -> Yardstick:
    """Return the yardstick from `selection` and the judge features of its rows; without `judge`, judge A is fitted.

    Raises:
        DataError: features and rows differ in number, a like is of an item of the wrong split, or rows are too few.
    """
    _require_apart(selection, items)
    if judge is None:
        rows = selection.is_reference & selection.is_judge
        judge = ContentJudge(dims=options.judge_dims).fit(items.take(rows))
    item_scores = judge.score(items, items, selection.profile_likes)
    real_scores = np.asarray(weighted_rows(selection.held_out_likes) @ item_scores)
    return Yardstick(selection=selection, items=items, judge=judge, real_scores=real_scores)


def measure(
    features: NDArray[Any], yardstick: Yardstick, *, options: EvaluationOptions, images: NDArray[np.uint8] | None = None
) -> Evaluation:
    """Return the measurement of one model from the features (n_users, k, d) of each evaluated user's pictures.

    Deterministic for given inputs and `options.seed`.
    """
    scores = yardstick.scores(features, images)
    flat, real, other = (
        features.reshape(-1, features.shape[-1]),
        yardstick.real_features(),
        yardstick.other_real_features(),
    )
    return Evaluation(
        kid=kid(real, flat, groups=yardstick.users_of_rows(features), confidence=options.confidence),
        kid_floor=kid_floor(real, other, confidence=options.confidence),
        frechet=frechet_with_floor(real, other, flat, seed=options.seed),
        preference=preference_gain(scores, yardstick.real_scores, options=options),
        judge=yardstick.judge.name,
        n_images=len(flat),
        n_real=len(real),
    )


def _require_apart(selection: Selection, items: Pictures) -> None:
    if len(items) != len(selection.item_index):
        raise DataError(
            f"Expected judge features of the {len(selection.item_index)} rows of selection.item_index, found "
            f"{len(items)}. Compute them for exactly these rows. Nothing was measured."
        )
    wrong = int((~selection.is_judge[selection.profile_likes.indices]).sum())
    wrong += int(selection.is_judge[selection.held_out_likes.indices].sum())
    if wrong:
        raise DataError(
            f"Profiles must be built on judge items and the ceiling on test items, found {wrong} likes of the wrong "
            "split: the ceiling would contain itself. Mend the selection. Nothing was measured."
        )
