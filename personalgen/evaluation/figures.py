"""The figures of an evaluation as people read them: value, interval, control, and how to read it."""

from dataclasses import dataclass

from personalgen.evaluation.interval import Interval
from personalgen.evaluation.measure import Evaluation
from personalgen.evaluation.paired import Comparison

Number = Interval | float


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
    )


def comparison_figures(comparison: Comparison) -> tuple[Figure, ...]:
    """Return the table of a challenger against what it started from: the champion, or a snapshot."""
    fit = Interval(comparison.fit_diff, comparison.fit_low, comparison.fit_high)
    fidelity = Interval(comparison.kid_diff, comparison.kid_low, comparison.kid_high)
    users = f"{comparison.n_users} users, the same latents"
    return (
        Figure("Personal fit, challenger less before", fit, 0.0, "no difference", f"Above zero is better; {users}."),
        Figure("KID, challenger less before", fidelity, 0.0, "no difference", f"Below zero is better; {users}."),
    )
