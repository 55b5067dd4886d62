"""The canary: whether a challenger that the gate let through may be drawn for everybody. A pure function.

Some of the users who get images have been drawn by challenger and champion, told of the same and from the same z. What
is worse there beyond its interval holds the challenger, and so does a canary that could not be measured.
"""

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass

from personalgen.registry.promotion import Difference, Verdict, judge


@dataclass(frozen=True)
class CanaryFigures:
    """Challenger less champion over the users of a canary, paired; None where something cannot be measured."""

    n_users: int
    """Users who were drawn for."""
    n_judged: int
    """Those among them with held-out likes, on whom fit and diversity stand."""
    fit: Difference | None = None
    """Of the personal fit; above 0 the challenger is better."""
    between: Difference | None = None
    """Of the mean distance between pictures of different users, as a share of the champion's."""
    refused: Difference | None = None
    """Of the share of pictures that the safety filter refuses; None where no filter looks."""
    missing: str = ""
    """Why there is no fit; else empty."""

    def numbers(self) -> dict[str, float]:
        """Return all that was measured as flat names and numbers."""
        found: dict[str, float] = {"n_users": self.n_users, "n_judged": self.n_judged}
        for name, difference in self._named().items():
            if difference is not None:
                found |= {
                    f"{name}_diff": difference.mean,
                    f"{name}_low": difference.low,
                    f"{name}_high": difference.high,
                }
        return found

    def _named(self) -> Mapping[str, Difference | None]:
        return {"fit": self.fit, "between": self.between, "refused": self.refused}


def decide_canary(figures: CanaryFigures) -> Verdict:
    """Return whether the challenger goes on to all users: nothing may be worse beyond its interval.

    Personal fit must have been measured. Anything that is not finite holds.
    """
    head = f"canary of {figures.n_users:,} users, {figures.n_judged:,} of them judged"
    if figures.fit is None:
        return Verdict(promote=False, reasons=(f"{head}: {figures.missing or 'personal fit was not measured'}",))
    named = (
        ("personal fit", figures.fit, 1),
        ("diversity between users", figures.between, 1),
        ("the share of refused pictures", figures.refused, -1),
    )
    measured = [(name, difference, better) for name, difference, better in named if difference is not None]
    if bad := [name for name, difference, _ in measured if not _usable(difference)]:
        return Verdict(promote=False, reasons=(f"{head}: {', '.join(bad)} not finite, or its interval is reversed",))
    judged = [judge(name, difference, better=better) for name, difference, better in measured]
    return Verdict(
        promote=all(outcome >= 0 for outcome, _ in judged), reasons=tuple(f"{head}: {words}" for _, words in judged)
    )


def _usable(difference: Difference) -> bool:
    return all(math.isfinite(value) for value in astuple(difference)) and difference.low <= difference.high
