"""What models are measured against: held-out rows, judges that were fitted on judge rows, and what training knew.

It is built once a night and shared by all models: no figure of another night enters.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from personalgen.errors import DataError
from personalgen.evaluation.descriptor_judge import DescriptorJudge
from personalgen.evaluation.interval import FloatArray
from personalgen.evaluation.judge import ContentJudge, Judge, Pictures, weighted_rows
from personalgen.evaluation.options import MIN_USERS, EvaluationOptions
from personalgen.evaluation.selection import Selection


@dataclass(frozen=True)
class Panel:
    """One judge, the users it may judge, and what it says of held-out real pictures."""

    judge: Judge
    users: NDArray[np.int64]
    """Positions in selection.user_index: those of whom the judge's fit has seen nothing."""
    item_scores: FloatArray
    """(n_rows, n of these users) scores of the selection's rows."""
    real_scores: FloatArray
    """(n, n): held-out real likes of u (rows) judged for v (columns), the mean over them."""


@dataclass(frozen=True)
class TrainingSide:
    """What training knew, as the judge's net sees it: for what is too near to it."""

    items: Pictures
    """Training pictures, or as many of them as are looked at."""
    history: csr_array
    """(n_users, n of these pictures) positive weights of what each evaluated user is known to have liked."""


@dataclass(frozen=True)
class Yardstick:
    """Held-out rows, their judge features and the fitted judges."""

    selection: Selection
    items: Pictures
    first: Panel
    """Judge A, or the one that took its place: the headline, and what the gate reads."""
    second: Panel | None = None
    """Judge B, of another make; None where it cannot be fitted."""
    second_missing: str = ""
    """Why there is no second judge."""
    training: TrainingSide | None = None
    """None where it is not told what was trained on."""

    @property
    def judge(self) -> Judge:
        """The headline's judge."""
        return self.first.judge

    @property
    def real_scores(self) -> FloatArray:
        """(n_users, n_users): held-out real likes of u (rows) judged for v (columns) by the first judge."""
        return self.first.real_scores

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
        return np.asarray(self.picture_scores(self.first, features, images).mean(axis=1))

    def picture_scores(
        self, panel: Panel, features: NDArray[Any], images: NDArray[np.uint8] | None = None
    ) -> FloatArray:
        """Return (n, k, n) scores of each picture of the panel's user u (first axis) for its user v (last axis).

        `features` are the (n_users, k, d) of all users' pictures; `images` gives their pixels, flat or user by user.
        """
        self._require_users(features)
        n, k = len(panel.users), features.shape[1]
        flat = None
        if images is not None:
            flat = images.reshape(len(features), k, *images.shape[-3:])[panel.users].reshape(n * k, *images.shape[-3:])
        pictures = Pictures(features[panel.users].reshape(n * k, -1), flat)
        scores = panel.judge.score(pictures, self.items, self.selection.profile_likes[panel.users])
        return np.asarray(scores.reshape(n, k, n))

    def users_of_rows(self, features: NDArray[Any]) -> NDArray[np.int64]:
        """Return the user position of each row of `features` flattened to (n_users * k, d)."""
        return np.repeat(np.arange(len(features)), features.shape[1])

    def _require_users(self, features: NDArray[Any]) -> None:
        if features.ndim != 3 or len(features) != self.n_users:
            raise DataError(
                f"Expected features (n_users={self.n_users}, images_per_user, d) in the order of selection.user_index, "
                f"found {features.shape}. Generate for exactly these users. Nothing was measured."
            )


def build_yardstick(
    selection: Selection,
    items: Pictures,
    *,
    options: EvaluationOptions,
    judge: Judge | None = None,
    training: TrainingSide | None = None,
) -> Yardstick:
    """Return the yardstick from `selection` and the judge features of its rows; without `judge`, judge A is fitted.

    Judge B is fitted where `items` has pixels and the selection has people who are there for judges alone.

    Raises:
        DataError: features and rows differ in number, a like is of an item of the wrong split, or rows are too few.
    """
    _require_apart(selection, items)
    if judge is None:
        rows = selection.is_reference & selection.is_judge
        judge = ContentJudge(dims=options.judge_dims).fit(items.take(rows))
    everybody = np.arange(len(selection.user_index))
    first = _panel(judge, everybody, selection, items)
    second, missing = _second_panel(selection, items)
    return Yardstick(selection, items, first, second, missing, training)


def of_users(yardstick: Yardstick, users: NDArray[np.int64], *, options: EvaluationOptions) -> Yardstick:
    """Return the yardstick of some of its users, by their positions; items and judges stay what they were."""
    selection = replace(
        yardstick.selection,
        user_index=yardstick.selection.user_index[users],
        profile_likes=yardstick.selection.profile_likes[users],
        held_out_likes=yardstick.selection.held_out_likes[users],
        is_judge_user=yardstick.selection.is_judge_user[users],
    )
    training = yardstick.training and replace(yardstick.training, history=yardstick.training.history[users])
    return build_yardstick(selection, yardstick.items, options=options, judge=yardstick.judge, training=training)


def _panel(judge: Judge, users: NDArray[np.int64], selection: Selection, items: Pictures) -> Panel:
    scores = judge.score(items, items, selection.profile_likes[users])
    real = np.asarray(weighted_rows(selection.held_out_likes[users]) @ scores)
    return Panel(judge, users, scores, real)


def _second_panel(selection: Selection, items: Pictures) -> tuple[Panel | None, str]:
    """Return judge B with the users it may judge, or why there is none."""
    users = np.flatnonzero(~selection.is_judge_user)
    if items.images is None:
        return None, "The second judge looks at pixels, and was given none."
    if len(users) < MIN_USERS:
        return None, f"The second judge may judge {len(users)} users of the test split; {MIN_USERS} are needed."
    try:
        judge = DescriptorJudge().fit(items, selection.judge_likes)
    except DataError as error:
        return None, str(error)
    return _panel(judge, users, selection, items), ""


def _require_apart(selection: Selection, items: Pictures) -> None:
    if len(items) != len(selection.item_index):
        raise DataError(
            f"Expected judge features of the {len(selection.item_index)} rows of selection.item_index, found "
            f"{len(items)}. Compute them for exactly these rows. Nothing was measured."
        )
    judge_side, test_side = (selection.profile_likes, selection.judge_likes), (selection.held_out_likes,)
    wrong = sum(int((~selection.is_judge[likes.indices]).sum()) for likes in judge_side)
    wrong += sum(int(selection.is_judge[likes.indices].sum()) for likes in test_side)
    if wrong:
        raise DataError(
            f"Profiles and judges must be built on judge items and the ceiling on test items, found {wrong} likes of "
            "the wrong split: the ceiling would contain itself. Mend the selection. Nothing was measured."
        )
