"""One model's measurement against held-out rows, by a yardstick that all models share."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personalgen.evaluation.agreement import Agreement, agreement
from personalgen.evaluation.diversity import MIN_PICTURES, Diversity, diversity
from personalgen.evaluation.fidelity import FrechetDistance, frechet_with_floor, kid, kid_floor
from personalgen.evaluation.identification import Identification, identify
from personalgen.evaluation.interval import FloatArray, Interval, flat_intervals
from personalgen.evaluation.judge import ContentJudge, Pictures, weighted_rows
from personalgen.evaluation.manifold import ManifoldWithControl, manifold_with_control
from personalgen.evaluation.memorisation import Memorisation, Mifid, memorisation, mifid_with_control
from personalgen.evaluation.options import MIN_USERS, EvaluationOptions
from personalgen.evaluation.preference import PreferenceGain, gain_interval, preference_gain
from personalgen.evaluation.retrieval import Retrieval, retrieve
from personalgen.evaluation.yardstick import Yardstick


@dataclass(frozen=True)
class SecondOpinion:
    """What judge B says, who is of another make, and how far it agrees with the first one."""

    judge: str
    """Which judge."""

    preference: PreferenceGain
    """Personal fit, for the users it may judge."""

    agreement: Agreement
    """With the first judge, over the same users and pictures."""


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
    """Personal fit by the first judge, with control and ceiling."""

    judge: str
    """Which judge that is."""

    second: SecondOpinion | None
    """What a judge of another make says; None where there is none."""

    second_missing: str
    """Why there is none."""

    identification: Identification
    """How often users are named from their pictures."""

    retrieval: Retrieval | None
    """How high held-out likes stand by likeness to the pictures; None where the first judge has no space of its own."""

    history_gain: Interval | None
    """How much more pictures resemble their own user's history than other users'; None where it is not told."""

    manifold: ManifoldWithControl
    """Precision, recall, density and coverage, beside those of real pictures in the place of the generated ones."""

    diversity: Diversity | None
    """How much pictures differ within and between users, beside real likes; None where too few users have two."""

    memorisation: Memorisation | None
    """Pictures nearer to a training picture than new real ones are; None where it is not told what was trained on."""

    mifid: Mifid | None
    """Fréchet distance to the training pictures, raised where they are copied; None likewise."""

    n_images: int
    """Generated pictures measured."""

    n_real: int
    """Real pictures they were compared with."""

    def metrics(self) -> dict[str, float]:
        """Return flat names and numbers for a metric logger; what is missing has no entry."""
        values = flat_intervals(
            {
                "kid": self.kid,
                "kid_floor": self.kid_floor,
                "fit_gain": self.preference.gain,
                "fit_real_gain": self.preference.real_gain,
                "npg": self.preference.npg,
                "history_gain": self.history_gain,
            }
        )
        values |= self.identification.metrics() | (self.retrieval.metrics() if self.retrieval else {})
        values |= _crowd_metrics(self.manifold, self.diversity, self.memorisation, self.mifid)
        return (
            values
            | (_second_metrics(self.second) if self.second else {})
            | {
                "fit_generated": self.preference.generated.value,
                "fit_shuffled": self.preference.shuffled.value,
                "fit_real": self.preference.real.value,
                "fit_p_value": self.preference.p_value,
                "frechet": self.frechet.value,
                "frechet_floor": self.frechet.floor,
                "n_users": float(self.preference.n_users),
            }
        )


def measure(
    features: NDArray[Any], yardstick: Yardstick, *, options: EvaluationOptions, images: NDArray[np.uint8] | None = None
) -> Evaluation:
    """Return the measurement of one model from the features (n_users, k, d) of each evaluated user's pictures.

    `images` are their pixels, for judges that look at them. Deterministic for given inputs and `options.seed`.
    """
    by_picture = yardstick.picture_scores(yardstick.first, features, images)
    scores = np.asarray(by_picture.mean(axis=1))
    flat, real, other = (
        features.reshape(-1, features.shape[-1]),
        yardstick.real_features(),
        yardstick.other_real_features(),
    )
    second, missing = _second_opinion(features, yardstick, options, images, scores)
    likes, groups = yardstick.selection.held_out_likes, yardstick.users_of_rows(features)
    training = yardstick.training
    return Evaluation(
        kid=kid(real, flat, groups=groups, confidence=options.confidence),
        kid_floor=kid_floor(real, other, confidence=options.confidence),
        frechet=frechet_with_floor(real, other, flat, seed=options.seed),
        preference=preference_gain(scores, yardstick.real_scores, options=options),
        judge=yardstick.judge.name,
        second=second,
        second_missing=missing,
        identification=identify(by_picture, yardstick.first.item_scores, likes, options=options),
        retrieval=_retrieved(features, yardstick, options),
        history_gain=_history_gain(features, yardstick, options),
        manifold=manifold_with_control(
            real, other, flat, groups=groups, confidence=options.confidence, seed=options.seed
        ),
        diversity=spread_of(features, yardstick, options),
        memorisation=memorised_of(features, yardstick, options),
        mifid=mifid_with_control(training.items.features, real, flat, seed=options.seed) if training else None,
        n_images=len(flat),
        n_real=len(real),
    )


def spread_of(features: NDArray[Any], yardstick: Yardstick, options: EvaluationOptions) -> Diversity | None:
    """Return the diversity of users' pictures beside that of their held-out likes; None where too few have two."""
    if not has_spread(features, yardstick):
        return None
    return diversity(
        features,
        yardstick.items.features,
        yardstick.selection.held_out_likes,
        n_resamples=options.bootstrap,
        confidence=options.confidence,
        seed=options.seed,
    )


def has_spread(features: NDArray[Any], yardstick: Yardstick) -> bool:
    """Return whether diversity can be measured: 8 people with two held-out likes, and two pictures of each."""
    n_likes = np.diff(yardstick.selection.held_out_likes.indptr)
    return bool((n_likes >= MIN_PICTURES).sum() >= MIN_USERS and features.shape[1] >= MIN_PICTURES)


def memorised_of(features: NDArray[Any], yardstick: Yardstick, options: EvaluationOptions) -> Memorisation | None:
    """Return how many pictures are too near to a training picture.

    None where it is not told what was trained on, or where fewer than 16 different held-out pictures set the threshold.
    """
    real = yardstick.real_features()
    if yardstick.training is None or len(np.unique(real, axis=0)) < 2 * MIN_USERS:
        return None
    train = yardstick.training.items.features
    flat, groups = features.reshape(-1, features.shape[-1]), yardstick.users_of_rows(features)
    return memorisation(train, real, flat, groups=groups, confidence=options.confidence, seed=options.seed)


def _crowd_metrics(
    found: ManifoldWithControl, spread: Diversity | None, copied: Memorisation | None, mifid: Mifid | None
) -> dict[str, float]:
    """Return the figures of pictures as a crowd, each with its control."""
    named: dict[str, Interval | None] = {}
    for name in ("precision", "recall", "density", "coverage"):
        named |= {name: getattr(found.generated, name), f"{name}_real": getattr(found.real, name)}
    if spread:
        named |= {"diversity_within": spread.intra_ratio, "diversity_between": spread.inter_ratio}
    if copied:
        named |= {"memorised": copied.share, "memorised_real": copied.control}
    return flat_intervals(named) | ({"mifid": mifid.value, "mifid_real": mifid.control} if mifid else {})


def _second_metrics(second: SecondOpinion) -> dict[str, float]:
    fit = second.preference
    found = {"b_fit_gain": fit.gain, "b_fit_real_gain": fit.real_gain, "b_npg": fit.npg}
    agreed = {"judges_agree": second.agreement.same_winner, "judges_correlation": second.agreement.correlation}
    return flat_intervals(found | agreed) | {"b_fit_p_value": fit.p_value, "b_n_users": float(fit.n_users)}


def _second_opinion(
    features: NDArray[Any],
    yardstick: Yardstick,
    options: EvaluationOptions,
    images: NDArray[np.uint8] | None,
    first_scores: FloatArray,
) -> tuple[SecondOpinion | None, str]:
    """Return what judge B says, or why it says nothing."""
    panel = yardstick.second
    if panel is None or images is None:
        return None, yardstick.second_missing or "The second judge looks at pixels, and was given none."
    scores = np.asarray(yardstick.picture_scores(panel, features, images).mean(axis=1))
    agreed = agreement(first_scores[np.ix_(panel.users, panel.users)], scores, options=options)
    return SecondOpinion(
        panel.judge.name, preference_gain(scores, panel.real_scores, options=options), agreed
    ), yardstick.second_missing


def _retrieved(features: NDArray[Any], yardstick: Yardstick, options: EvaluationOptions) -> Retrieval | None:
    """Return how high held-out likes stand among all test rows, by judge A's whitened features."""
    judge, selection = yardstick.judge, yardstick.selection
    if not isinstance(judge, ContentJudge):
        return None
    rows = judge.whiten(yardstick.items.features)
    test = np.flatnonzero(~selection.is_judge)
    pictures = judge.whiten(features.reshape(-1, features.shape[-1])).reshape(*features.shape[:2], -1).mean(axis=1)
    profiles = np.asarray(weighted_rows(selection.profile_likes) @ rows)
    return retrieve(pictures, profiles, rows[test], selection.held_out_likes[:, test], options=options)


def _history_gain(features: NDArray[Any], yardstick: Yardstick, options: EvaluationOptions) -> Interval | None:
    """Return how much more pictures resemble the weighted mean of their own user's history than that of others.

    None where fewer than 8 of the users have a history.
    """
    training = yardstick.training
    if training is None:
        return None
    users = np.flatnonzero(np.diff(training.history.indptr))
    if len(users) < MIN_USERS:
        return None
    flat = Pictures(features[users].reshape(-1, features.shape[-1]))
    scores = yardstick.judge.score(flat, training.items, training.history[users])
    return gain_interval(np.asarray(scores.reshape(len(users), -1, len(users)).mean(axis=1)), options=options)
