"""The figures of an evaluation as people read them: value, interval, control, and how to read it."""

from collections.abc import Sequence
from dataclasses import dataclass

from personalgen.evaluation.diversity import Diversity
from personalgen.evaluation.interval import Interval
from personalgen.evaluation.measure import Evaluation
from personalgen.evaluation.paired import Comparison
from personalgen.evaluation.segments import SegmentFigure

Number = Interval | float
_CROWD_READINGS = {
    "precision": "Share of pictures that lie where real ones do.",
    "recall": "Share of real pictures that lie where the pictures do.",
    "density": "How many real pictures are near a picture, over those near a real one.",
    "coverage": "Share of real pictures with a generated one nearby.",
}


@dataclass(frozen=True)
class Figure:
    """One row of the report's table."""

    name: str
    """What was measured."""

    value: Number | None
    """The measurement; None shows as missing."""

    control: Number | None = None
    """What the same measurement gives where nothing is to be found, or at best."""

    control_name: str = ""
    """What the control is."""

    reading: str = ""
    """One sentence: how to read it, or why it is missing."""


def evaluation_figures(evaluation: Evaluation) -> tuple[Figure, ...]:
    """Return the table of one model's evaluation, headline first."""
    fit = evaluation.preference
    return (
        Figure(
            "Normalised preference gain",
            fit.npg,
            0.0,
            "not personal",
            fit.npg_missing or "1 is as personal as the user's own held-out likes, 0 is not personal at all.",
        ),
        Figure(
            "Personal fit",
            fit.generated,
            fit.shuffled,
            "same pictures, other users",
            f"Judge score of users' own pictures; permutation p = {fit.p_value:.3g} over {fit.n_users} users.",
        ),
        Figure(
            "Gain over shuffled users",
            fit.gain,
            fit.real_gain,
            "held-out real likes",
            "Personal fit less its control, beside the most that this judge can see.",
        ),
        Figure(
            "KID",
            evaluation.kid,
            evaluation.kid_floor,
            "real against real",
            f"Lower is better; {evaluation.n_images} generated against {evaluation.n_real} held-out real pictures.",
        ),
        Figure(
            "Fréchet distance",
            evaluation.frechet.value,
            evaluation.frechet.floor,
            "real against real",
            f"Lower is better, never below its floor; both from {evaluation.frechet.n_rows} pictures a side.",
        ),
        *_second_figures(evaluation),
        *_naming_figures(evaluation),
        *_crowd_figures(evaluation),
    )


def segment_rows(found: Sequence[SegmentFigure], gain: Interval) -> tuple[Figure, ...]:
    """Return the gain of each segment beside everybody's; none where all users are in one."""
    if len(found) < 2:
        return ()
    return tuple(
        Figure(
            f"Gain in the segment {part.segment}",
            part.value,
            gain,
            "everybody",
            f"Of {part.n_users} users." if part.value else f"Only {part.n_users} users: too few for a figure.",
        )
        for part in found
    )


def comparison_figures(comparison: Comparison) -> tuple[Figure, ...]:
    """Return the table of a challenger against what it started from: the champion, or a snapshot."""
    users = f"{comparison.n_users} users, the same latents"
    told = {
        "Personal fit": (comparison.fit, "Above zero is better"),
        "KID": (comparison.kid, "Below zero is better"),
        "Diversity within users": (comparison.within, "As a share of real likes'; above zero is more"),
        "Diversity between users": (comparison.between, "As a share of real likes'; above zero is more"),
        "Too near to training pictures": (comparison.memorised, "Below zero is better"),
    }
    return tuple(
        Figure(f"{name}, challenger less before", interval, 0.0, "no difference", f"{reading}; {users}.")
        for name, (interval, reading) in told.items()
        if interval is not None
    )


def _second_figures(evaluation: Evaluation) -> tuple[Figure, ...]:
    """Return what a judge of another make says, or why there is none."""
    second = evaluation.second
    if second is None:
        return (Figure("Normalised preference gain, judge B", None, reading=evaluation.second_missing),)
    fit, agreed = second.preference, second.agreement
    told = f"By judge {second.judge}; p = {fit.p_value:.3g} over {fit.n_users} users that it never saw."
    return (
        Figure("Normalised preference gain, judge B", fit.npg, 0.0, "not personal", fit.npg_missing or told),
        Figure("Gain over shuffled users, judge B", fit.gain, fit.real_gain, "held-out real likes", told),
        Figure(
            "Both judges prefer the same",
            agreed.same_winner,
            0.5,
            "chance",
            f"Of pairs of users: whom of the two a picture suits better; over users their fit correlates by "
            f"{agreed.correlation.value:.2f}.",
        ),
    )


def _naming_figures(evaluation: Evaluation) -> tuple[Figure, ...]:
    """Return whether users are named by their pictures, find their likes by them, and resemble their history."""
    named, found, history = evaluation.identification, evaluation.retrieval, evaluation.history_gain
    of, looked_at = f"of {named.n_users} users", f"From {named.n_pictures:.2g} pictures each."
    chance = f"{looked_at} Chance is {named.chance_1:.2g} and {named.chance_16:.2g}."
    figures = [
        Figure(f"Named first {of}", named.top_1, named.real_top_1, "as many real likes", chance),
        Figure(f"Among the first 16 {of}", named.top_16, named.real_top_16, "as many real likes", looked_at),
    ]
    if found:
        told = f"Likes ranked among {found.n_items} items by likeness; real likes reach {found.real_ndcg_at_10:.3g}."
        control = found.shuffled_ndcg_at_10
        figures.append(Figure("NDCG@10 of later likes", found.ndcg_at_10, control, "other users' pictures", told))
    if history:
        told = "More is nearer to what the user liked; copying the history would give most."
        figures.append(Figure("Nearer to the own history", history, 0.0, "other users' histories", told))
    return tuple(figures)


def _crowd_figures(evaluation: Evaluation) -> tuple[Figure, ...]:
    """Return precision, recall and their kin, diversity and memorisation."""
    generated, real = evaluation.manifold.generated, evaluation.manifold.real
    return (
        *(
            Figure(name.capitalize(), getattr(generated, name), getattr(real, name), "other real pictures", reading)
            for name, reading in _CROWD_READINGS.items()
        ),
        *_diversity_figures(evaluation.diversity),
        *_memorisation_figures(evaluation),
    )


def _diversity_figures(spread: Diversity | None) -> tuple[Figure, ...]:
    if spread is None:
        return ()
    told = f"Over that of real likes, {len(spread.users)} users; 1 is as diverse."
    named = (("within", spread.intra_ratio), ("between", spread.inter_ratio))
    return tuple(Figure(f"Diversity {name} users", ratio, 1.0, "real likes", told) for name, ratio in named)


def _memorisation_figures(evaluation: Evaluation) -> tuple[Figure, ...]:
    copied, mifid = evaluation.memorisation, evaluation.mifid
    figures = []
    if copied:
        told = f"Share nearer to a training picture than {1 - copied.expected:.1%} of new real ones; less is better."
        name, control = "Too near to training pictures", "new real pictures"
        figures.append(Figure(name, copied.share, copied.control, control, told))
    if mifid:
        told = "Fréchet distance to training pictures, raised where they are copied; lower is better."
        figures.append(Figure("MiFID", mifid.value, mifid.control, "new real pictures", told))
    return tuple(figures)
