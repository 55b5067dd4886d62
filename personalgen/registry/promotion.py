"""The gate: whether a challenger may reach users. A pure function, and the only place where this is decided.

Its figures come from a paired evaluation of tonight: challenger and champion on the same held-out users, items, z and
judge. Stored figures of other nights never enter.
"""

import math
from dataclasses import asdict, astuple, dataclass, fields

from personalgen.bounds import check_options


@dataclass(frozen=True)
class GateOptions:
    """What a challenger must show."""

    max_kid_over_floor: float = 2.0
    """First promotion only: KID may exceed the real-against-real floor by at most this much. In the units of our judge
    an untrained generator stands at about 19, coloured blobs at 4 to 6, and shapes one can name below 2."""
    min_gain: float = 0.0
    """First promotion only: the lower end of the preference gain's interval must exceed this."""
    min_users: int = 8
    """Fewest held-out users an evaluation may stand on."""

    def __post_init__(self) -> None:
        """Refuse thresholds that are not numbers."""
        faults = [f"{name} must be a number, found nan" for name, value in asdict(self).items() if math.isnan(value)]
        check_options("gate", self, least={"min_users": 1}, more=faults)


@dataclass(frozen=True)
class Figures:
    """What one model reached tonight, with the ends of its intervals."""

    kid: float
    """Kernel distance to held-out real items; lower is better."""
    kid_low: float
    kid_high: float
    kid_floor: float
    """Of real items against real items."""
    gain: float
    """Preference gain over shuffled users, not normalised; higher is better."""
    gain_low: float
    gain_high: float
    n_users: int
    """Held-out users behind the figures."""

    @classmethod
    def failed(cls) -> "Figures":
        """Return the figures of an evaluation that did not finish; the gate holds on them."""
        nan = math.nan
        return cls(nan, nan, nan, nan, nan, nan, nan, n_users=0)


@dataclass(frozen=True)
class Difference:
    """Challenger less champion, paired, with the ends of its interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedDifference:
    """Both differences over the same users, items, z and judge."""

    fit: Difference
    """Of the personal fit; above 0 the challenger is better."""
    kid: Difference
    """Of KID; below 0 the challenger is better."""


@dataclass(frozen=True)
class Verdict:
    """The decision, with its reasons in words."""

    promote: bool
    reasons: tuple[str, ...]


def decide(
    challenger: Figures | None, champion: Figures | None, paired: PairedDifference | None, options: GateOptions
) -> Verdict:
    """Return whether the challenger is promoted.

    `champion` is None only where there is no champion: absolute thresholds then hold. A champion whose evaluation
    failed comes as `Figures.failed()`. Anything missing or not finite holds.
    """
    faults = _faults(challenger, champion, paired, options)
    if faults or challenger is None:
        return Verdict(promote=False, reasons=faults)
    if champion is None or paired is None:
        return _first(challenger, options)
    return _against_champion(paired)


def _first(challenger: Figures, options: GateOptions) -> Verdict:
    """Return the verdict by absolute thresholds."""
    excess = challenger.kid - challenger.kid_floor
    good_images = excess <= options.max_kid_over_floor
    good_fit = challenger.gain_low > options.min_gain
    sign = "<=" if good_images else ">"
    kid = (
        f"KID {challenger.kid:.4g} exceeds its floor {challenger.kid_floor:.4g} by {excess:.4g} {sign} "
        f"{options.max_kid_over_floor:g}"
    )
    gain = (
        f"the preference gain {challenger.gain:.4g} has an interval from {challenger.gain_low:.4g}, "
        f"{'above' if good_fit else 'not above'} {options.min_gain:g}"
    )
    return Verdict(promote=good_images and good_fit, reasons=("no champion: absolute thresholds hold", kid, gain))


def _against_champion(paired: PairedDifference) -> Verdict:
    """Return the verdict by the paired differences."""
    fit, fit_words = _judge("personal fit", paired.fit, better=1)
    kid, kid_words = _judge("KID", paired.kid, better=-1)
    reasons = (fit_words, kid_words)
    if min(fit, kid) < 0:
        return Verdict(promote=False, reasons=reasons)
    if max(fit, kid) == 0:
        return Verdict(promote=False, reasons=(*reasons, "no difference beyond its interval"))
    return Verdict(promote=True, reasons=reasons)


def _judge(name: str, difference: Difference, *, better: int) -> tuple[int, str]:
    """Return 1, 0 or -1 for improved, undecided or regressed beyond the interval, and the words."""
    sign = (difference.low > 0) - (difference.high < 0)
    outcome = sign * better
    verb = {1: "improved", 0: "did not change beyond its interval", -1: "regressed"}[outcome]
    interval = f"interval {difference.low:+.4g} to {difference.high:+.4g}"
    return outcome, f"{name} {verb}: {difference.mean:+.4g} against the champion, {interval}"


def _faults(
    challenger: Figures | None, champion: Figures | None, paired: PairedDifference | None, options: GateOptions
) -> tuple[str, ...]:
    """Return why nothing can be decided, if so."""
    if challenger is None:
        return ("the challenger was not evaluated",)
    faults = _figure_faults("challenger", challenger, options)
    if champion is not None:
        faults += _figure_faults("champion", champion, options)
        if paired is None:
            faults.append("challenger and champion were not compared in pairs")
    if paired is not None:
        faults += _difference_faults("personal fit", paired.fit) + _difference_faults("KID", paired.kid)
        if champion is None:
            faults.append("a paired difference came without a champion")
    return tuple(faults)


def _figure_faults(who: str, figures: Figures, options: GateOptions) -> list[str]:
    """Return what is wrong with one model's figures."""
    bad = [field.name for field in fields(figures) if not math.isfinite(getattr(figures, field.name))]
    faults = [f"the {who}'s evaluation failed: {', '.join(bad)} not finite"] if bad else []
    if figures.n_users < options.min_users:
        faults.append(f"the {who} was evaluated on {figures.n_users} users, fewer than {options.min_users}")
    ends = (("KID", figures.kid_low, figures.kid_high), ("gain", figures.gain_low, figures.gain_high))
    return faults + [
        f"the {who}'s {name} interval ends before it starts: {low:.4g} to {high:.4g}"
        for name, low, high in ends
        if low > high
    ]


def _difference_faults(name: str, difference: Difference) -> list[str]:
    """Return what is wrong with one paired difference."""
    if not all(math.isfinite(value) for value in astuple(difference)):
        return [f"the paired difference of {name} is not finite"]
    if difference.low > difference.high:
        ends = f"{difference.low:.4g} to {difference.high:.4g}"
        return [f"the interval of the paired difference of {name} ends before it starts: {ends}"]
    return []
