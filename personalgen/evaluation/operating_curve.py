"""Personal fit against fidelity over the knobs of sampling, and the rule that picks a point on that curve.

More guidance makes pictures more personal and less like real ones, less truncation more diverse and less clean. Nobody
can say beforehand how much of each a generator bears, so it is measured, on people whose likes nothing was trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from personalgen.errors import DataError
from personalgen.evaluation.interval import Interval


@dataclass(frozen=True)
class CurvePoint:
    """One setting of the knobs, measured."""

    guidance: float
    truncation_psi: float

    kid: Interval
    """Lower is better."""

    gain: Interval
    """Personal fit over shuffled users; higher is better."""

    npg: float | None = None
    """The gain over that of real likes; None where the judge hardly sees taste."""


def choose_point(points: Sequence[CurvePoint]) -> tuple[CurvePoint, str]:
    """Return the point to draw at, and why, in words.

    Of the points whose KID is no worse than the least KID's own interval reaches, the one whose gain has the highest
    lower end; of equal ones the one of the lower KID. So fit is bought with fidelity only within what cannot be told
    from the best.

    Raises:
        DataError: there is no point.
    """
    if not points:
        raise DataError("There is no operating point to choose among. Nothing was chosen.")
    best = min(points, key=lambda point: point.kid.value)
    bearable = [point for point in points if point.kid.value <= best.kid.high]
    chosen = max(bearable, key=lambda point: (point.gain.low, -point.kid.value))
    words = (
        f"guidance {chosen.guidance:g} and truncation {chosen.truncation_psi:g}: KID {chosen.kid.value:.4g} and a gain "
        f"from {chosen.gain.low:.4g}, the highest of {len(bearable)} of {len(points)} points with a KID up to "
        f"{best.kid.high:.4g}, where the interval of the least one ends"
    )
    return chosen, words
