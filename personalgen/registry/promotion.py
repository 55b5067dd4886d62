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
    max_memorised: float = 0.1
    """First promotion only: the lower end of the share of pictures that are nearer to a training picture than 99 % of
    new real ones may not exceed this. The lower one, as few held-out pictures set the threshold of small catalogues."""
    min_diversity: float = 0.5
    """Least diversity between users' pictures, as a share of that of their real likes, in a first promotion; and within
    users' pictures, in a later one that lost some of it."""
    max_lost_diversity: float = 0.1
    """Later promotions: what a challenger may lose of the diversity within users' pictures, as a share of that of their
    real likes, before the loss holds it. Pictures that suit one person better are more alike (ADR 14)."""
    min_users: int = 8
    """Fewest held-out users an evaluation may stand on."""
    min_votes: int = 0
    """Fewest blind choices between challenger and champion that a promotion needs; 0 asks for none."""
    canary_share: float = 0.0
    """Share of the users who get images that a challenger which passed is drawn for first, and compared with the
    champion on (registry/canary.py); 0 draws for all at once."""

    def __post_init__(self) -> None:
        """Refuse thresholds that are not numbers."""
        faults = [f"{name} must be a number, found nan" for name, value in asdict(self).items() if math.isnan(value)]
        check_options(
            "gate",
            self,
            least={"min_users": 1, "min_votes": 0},
            shares=("canary_share", "max_lost_diversity"),
            more=faults,
        )


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
    diversity: float | None = None
    """Differences between users' pictures over those between their real likes; None where that cannot be measured."""
    within: float | None = None
    """Differences within users' pictures over those within their real likes; None where that cannot be measured."""
    memorised_low: float | None = None
    """Lower end of the share of pictures too near to a training picture; None where that cannot be measured."""

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
    between: Difference | None = None
    """Of the diversity between users' pictures, as a share of real likes'; None where it cannot be measured."""
    within: Difference | None = None
    """Of the diversity within users' pictures, likewise."""
    memorised: Difference | None = None
    """Of the share of pictures too near to a training picture; None where it cannot be measured."""


@dataclass(frozen=True)
class Votes:
    """What people chose between challenger and champion, not knowing which was which."""

    n: int
    """Blind choices."""
    preferred: float
    """Probability that the challenger is preferred; one half is no preference."""
    low: float
    high: float


@dataclass(frozen=True)
class Verdict:
    """The decision, with its reasons in words."""

    promote: bool
    reasons: tuple[str, ...]


def decide(
    challenger: Figures | None,
    champion: Figures | None,
    paired: PairedDifference | None,
    options: GateOptions,
    *,
    votes: Votes | None = None,
) -> Verdict:
    """Return whether the challenger is promoted.

    `champion` is None only where there is no champion: absolute thresholds then hold. A champion whose evaluation
    failed comes as `Figures.failed()`. Anything missing or not finite holds. `votes` count where there is a champion
    and the options ask for some.
    """
    asked = options.min_votes > 0 and champion is not None
    faults = _faults(challenger, champion, paired, options) + (_vote_faults(votes, options) if asked else ())
    if faults or challenger is None:
        return Verdict(promote=False, reasons=faults)
    if champion is None or paired is None:
        return _first(challenger, options)
    return _against_champion(paired, challenger.within, options, votes if asked else None)


def _first(challenger: Figures, options: GateOptions) -> Verdict:
    """Return the verdict by absolute thresholds; what cannot be measured holds nobody."""
    checks = [_kid_check(challenger, options), _gain_check(challenger, options)]
    if challenger.diversity is not None:
        least = options.min_diversity
        told = f"diversity between users is {challenger.diversity:.3g} of that of real likes"
        checks.append(_check(told, challenger.diversity >= least, f">= {least:g}", f"< {least:g}"))
    if challenger.memorised_low is not None:
        most = options.max_memorised
        told = f"memorised pictures: at least {challenger.memorised_low:.3g} of all,"
        good = challenger.memorised_low <= most
        checks.append(_check(told, good, f"{most:g} allowed", f"no more than {most:g} allowed"))
    words = tuple(text for _, text in checks)
    return Verdict(promote=all(good for good, _ in checks), reasons=("no champion: absolute thresholds hold", *words))


def _kid_check(challenger: Figures, options: GateOptions) -> tuple[bool, str]:
    excess, most = challenger.kid - challenger.kid_floor, options.max_kid_over_floor
    told = f"KID {challenger.kid:.4g} exceeds its floor {challenger.kid_floor:.4g} by {excess:.4g}"
    return _check(told, excess <= most, f"<= {most:g}", f"> {most:g}")


def _gain_check(challenger: Figures, options: GateOptions) -> tuple[bool, str]:
    least = options.min_gain
    told = f"the preference gain {challenger.gain:.4g} has an interval from {challenger.gain_low:.4g},"
    return _check(told, challenger.gain_low > least, f"above {least:g}", f"not above {least:g}")


def _check(told: str, good: bool, if_good: str, if_bad: str) -> tuple[bool, str]:  # noqa: FBT001 - a check is one
    """Return whether a threshold is met, and the words."""
    return good, f"{told} {if_good if good else if_bad}"


def _against_champion(
    paired: PairedDifference, within: float | None, options: GateOptions, votes: Votes | None
) -> Verdict:
    """Return the verdict by the paired differences, and by people's choices where they are asked for.

    Something must be better beyond its interval, and nothing worse, but for what diversity within users may lose.
    """
    judged = [judge("personal fit", paired.fit, better=1), judge("KID", paired.kid, better=-1)]
    if votes is not None:
        judged.append(_judge_votes(votes))
    guarded = [
        judge(name, difference, better=better)
        for name, difference, better in (
            ("diversity between users", paired.between, 1),
            ("the share of memorised pictures", paired.memorised, -1),
        )
        if difference is not None
    ]
    if paired.within is not None:
        guarded.append(_judge_within(paired.within, within, options))
    reasons = tuple(words for _, words in (*judged, *guarded))
    if any(outcome < 0 for outcome, _ in (*judged, *guarded)):
        return Verdict(promote=False, reasons=reasons)
    if max(outcome for outcome, _ in judged) == 0:
        return Verdict(promote=False, reasons=(*reasons, "no difference beyond its interval"))
    return Verdict(promote=True, reasons=reasons)


def judge(name: str, difference: Difference, *, better: int) -> tuple[int, str]:
    """Return 1, 0 or -1 for improved, undecided or regressed beyond the interval, and the words."""
    sign = (difference.low > 0) - (difference.high < 0)
    outcome = sign * better
    verb = {1: "improved", 0: "did not change beyond its interval", -1: "regressed"}[outcome]
    interval = f"interval {difference.low:+.4g} to {difference.high:+.4g}"
    return outcome, f"{name} {verb}: {difference.mean:+.4g} against the champion, {interval}"


def _judge_within(difference: Difference, left: float | None, options: GateOptions) -> tuple[int, str]:
    """Return what `judge` does for diversity within users, where a loss that is tolerated is no regression."""
    outcome, words = judge("diversity within users", difference, better=1)
    if outcome >= 0 or difference.high < -options.max_lost_diversity:
        return outcome, words
    least, most = options.min_diversity, options.max_lost_diversity
    if left is None or left < least:
        share = "an unknown share" if left is None else f"{left:.3g}"
        return outcome, f"{words}; {share} of that of real likes is left < {least:g}"
    return (
        0,
        f"{words}, not beyond the {most:g} that may be lost; {left:.3g} of that of real likes is left >= {least:g}",
    )


def _judge_votes(votes: Votes) -> tuple[int, str]:
    """Return 1, 0 or -1 for preferred, undecided or disliked beyond the interval around one half, and the words."""
    outcome = (votes.low > 0.5) - (votes.high < 0.5)
    whom = {
        1: "people prefer the challenger",
        0: "people prefer neither beyond the interval",
        -1: "people prefer the champion",
    }
    interval = f"interval {votes.low:.3g} to {votes.high:.3g}, {votes.n} blind choices"
    return outcome, f"{whom[outcome]}: the challenger with probability {votes.preferred:.3g}, {interval}"


def _vote_faults(votes: Votes | None, options: GateOptions) -> tuple[str, ...]:
    """Return why people's choices decide nothing, if so."""
    n = votes.n if votes else 0
    if votes is None or n < options.min_votes:
        found = f"people made {n} blind choices between challenger and champion, fewer than {options.min_votes}"
        return (f"{found}: `personalgen evaluate --vote` asks for them",)
    if not all(math.isfinite(value) for value in astuple(votes)) or not votes.low <= votes.high:
        return ("what people's blind choices say is not finite, or its interval ends before it starts",)
    return ()


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
        named = {
            "personal fit": paired.fit,
            "KID": paired.kid,
            "diversity between users": paired.between,
            "diversity within users": paired.within,
            "memorisation": paired.memorised,
        }
        faults += [fault for name, one in named.items() if one is not None for fault in _difference_faults(name, one)]
        if champion is None:
            faults.append("a paired difference came without a champion")
    return tuple(faults)


def _figure_faults(who: str, figures: Figures, options: GateOptions) -> list[str]:
    """Return what is wrong with one model's figures."""
    known = {field.name: value for field in fields(figures) if (value := getattr(figures, field.name)) is not None}
    bad = [name for name, value in known.items() if not math.isfinite(value)]
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
