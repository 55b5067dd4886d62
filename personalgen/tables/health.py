"""Whether tonight's tables look like those of earlier nights: figures in, verdicts out, nothing read or written."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from personalgen.bounds import check_options
from personalgen.tables.profile import Figure, Profile

OK, WARN, FAIL, ACCEPTED, UNKNOWN = "ok", "warn", "fail", "accepted", "unknown"
STATUSES = (OK, WARN, FAIL, ACCEPTED, UNKNOWN)
TABLES = ("interactions", "items", "users")
KINDS = ("volume", "new_events", "age_hours", "nulls", "quarantined", "unknown_items", "new", "weights", "taste")
"""What is looked at; a check's name is table.kind, and table.nulls.column for a column."""
_LIMITS = ("low", "high", "age_hours", "nulls", "quarantined", "unknown_items", "new", "weights", "taste")


@dataclass(frozen=True)
class HealthOptions:
    """Which figures of a source are odd (warn), and which stop a night before anything is touched (fail).

    A limit of 0 is never passed. The defaults are wide: a company narrows what it relies on.
    """

    nights: int = 14
    """Earlier nights whose median a figure is compared with."""
    min_nights: int = 3
    """Earlier nights from which on a figure that is compared with them can fail; before that it warns at most."""
    min_events: int = 1000
    """Fewest events, tonight and earlier, for distributions to be compared; fewest a day for their number to fail."""
    accept: tuple[str, ...] = ()
    """Names of failing checks, such as "interactions.volume", that somebody looked at: the night goes on."""
    low_warn: float = 0.7
    """Rows, or new events a day, as a share of their median: odd below this."""
    low_fail: float = 0.3
    """The same: fails below this."""
    high_warn: float = 3.0
    """Rows, or new events a day, as a multiple of their median: odd above this."""
    high_fail: float = 30.0
    """The same: fails above this."""
    age_hours_warn: float = 72.0
    """Age of the newest event at as_of: odd above this."""
    age_hours_fail: float = 0.0
    """The same: fails above this. Set it where events arrive daily; histories that ended long ago are not wrong."""
    nulls_warn: float = 0.1
    """Rise of the share of a column that is null above its median: odd above this."""
    nulls_fail: float = 0.5
    """The same: fails above this."""
    quarantined_warn: float = 0.02
    """Share of a table's rows that were set aside: odd above this."""
    quarantined_fail: float = 0.0
    """The same: fails above this. `limits.max_quarantine_share` stops a night in any case."""
    unknown_items_warn: float = 0.02
    """Share of the events on items that the items table lacks: odd above this."""
    unknown_items_fail: float = 0.0
    """The same: fails above this."""
    new_warn: float = 0.5
    """Share of tonight's users, or items, whom no earlier night knew: odd above this."""
    new_fail: float = 0.95
    """The same: fails above this, as where a source changed how it writes ids."""
    weights_warn: float = 0.2
    """Jensen-Shannon distance of the new events' weights to those of earlier nights, 0 to 1: odd above this."""
    weights_fail: float = 0.5
    """The same: fails above this."""
    taste_warn: float = 0.3
    """Jensen-Shannon distance of what new events are on to that of earlier nights, 0 to 1: odd above this."""
    taste_fail: float = 0.6
    """The same: fails above this."""

    def __post_init__(self) -> None:
        """Refuse limits that no figure can meet, and names that no check has, all in one message."""
        limits = dict.fromkeys((f"{kind}_{end}" for kind in _LIMITS for end in (WARN, FAIL)), 0.0)
        counts = {"nights": 1.0, "min_nights": 1.0, "min_events": 1.0}
        check_options("health", self, least=limits | counts, more=[*self._faults()])

    def limit(self, kind: str) -> tuple[float, float]:
        """Return from where on a figure is odd, and from where on it fails."""
        return getattr(self, f"{kind}_{WARN}"), getattr(self, f"{kind}_{FAIL}")

    def _faults(self) -> Iterator[str]:
        for kind in _LIMITS:
            warn, fail = self.limit(kind)
            if fail and (warn < fail if kind == "low" else warn > fail):
                yield f"{kind}_{WARN} must be met before {kind}_{FAIL}, found {warn:g} and {fail:g}"
        for name in self.accept:
            table, _, rest = name.partition(".")
            if table not in TABLES or rest.partition(".")[0] not in KINDS:
                yield f"accept holds {name!r}, and checks are called for example interactions.volume"


@dataclass(frozen=True)
class Past:
    """What earlier nights stored of one check, the newest first."""

    values: tuple[float, ...] = ()
    counts: tuple[tuple[int, ...], ...] = ()
    """Their distributions, where the check has one."""


@dataclass(frozen=True)
class Check:
    """One figure of one table, what was expected of it, and what that means."""

    table: str
    name: str
    """Kind, and the column after a dot where it is about one."""
    value: float | None
    """None: there was too little to tell."""
    expected: float | None
    """Median of earlier nights; None: there were none, or the figure needs none."""
    low: float | None
    """Below this it is odd."""
    high: float | None
    """Above this it is odd."""
    status: str
    """ok, warn, fail, accepted (it fails, and somebody said to go on) or unknown (too little to tell)."""
    counts: tuple[int, ...] = ()
    """The distribution behind the figure, for the nights to come."""

    @property
    def full_name(self) -> str:
        """table.name, as `--accept` takes it."""
        return f"{self.table}.{self.name}"

    def told(self) -> str:
        """Return the check as a phrase: expected, found."""
        bounds = [f"at least {self.low:.4g}"] if self.low is not None else []
        bounds += [f"at most {self.high:.4g}"] if self.high is not None else []
        usual = "" if self.expected is None else f" (median of earlier nights {self.expected:.4g})"
        found = "nothing to tell" if self.value is None else f"{self.value:.4g}"
        return f"{self.full_name}: expected {' and '.join(bounds) or 'anything'}{usual}, found {found}"


def check_tables(profile: Profile, past: Mapping[str, Past], options: HealthOptions) -> tuple[Check, ...]:
    """Return a verdict on every figure of a profile; `past` is by full name.

    A check in `options.accept` that fails is accepted. One that is compared with earlier nights fails only where
    `min_nights` of them are known.
    """
    return tuple(_check(one, past.get(one.full_name, Past()), options) for one in profile.figures)


def failing(checks: Sequence[Check]) -> tuple[Check, ...]:
    """Return the checks that stop the night."""
    return tuple(check for check in checks if check.status == FAIL)


def _check(figure: Figure, past: Past, options: HealthOptions) -> Check:
    kind = figure.name.partition(".")[0]
    known = past.values[: options.nights]
    usual = median(known) if known else None
    may_fail = len(known) >= options.min_nights
    match kind:
        case "volume":
            return _volume(figure, usual, options, may_fail=may_fail)
        case "new_events":  # a handful a day may be none by chance
            return _volume(figure, usual, options, may_fail=may_fail and (usual or 0) >= options.min_events)
        case "weights" | "taste":
            return _distribution(figure, past, options)
        case "nulls":
            return _above(figure, options, kind, usual=usual, base=usual or 0.0, needs_past=True, may_fail=may_fail)
        case "new":
            return _above(figure, options, kind, usual=usual, needs_past=True, may_fail=may_fail)
        case _:
            return _above(figure, options, kind, usual=usual)


def _volume(figure: Figure, usual: float | None, options: HealthOptions, *, may_fail: bool) -> Check:
    """Judge a count by its share of the median."""
    if figure.value is None or not usual:
        return Check(figure.table, figure.name, figure.value, usual, None, None, UNKNOWN)
    (few, too_few), (many, too_many) = options.limit("low"), options.limit("high")
    share = figure.value / usual
    is_odd, is_wrong = share < few or _beyond(share, many), share < too_few or _beyond(share, too_many)
    status = _status(figure, options, is_odd=is_odd, is_wrong=is_wrong, may_fail=may_fail)
    return Check(figure.table, figure.name, figure.value, usual, few * usual or None, many * usual or None, status)


def _above(
    figure: Figure,
    options: HealthOptions,
    kind: str,
    *,
    usual: float | None,
    base: float = 0.0,
    needs_past: bool = False,
    may_fail: bool = True,
) -> Check:
    """Judge how far a figure lies above `base`; with `needs_past` it says nothing where no night came before."""
    if figure.value is None or (needs_past and usual is None):
        return Check(figure.table, figure.name, figure.value, usual, None, None, UNKNOWN)
    warn, fail = options.limit(kind)
    is_odd, is_wrong = _beyond(figure.value - base, warn), _beyond(figure.value - base, fail)
    status = _status(figure, options, is_odd=is_odd, is_wrong=is_wrong, may_fail=may_fail)
    return Check(figure.table, figure.name, figure.value, usual, None, base + warn if warn else None, status)


def _distribution(figure: Figure, past: Past, options: HealthOptions) -> Check:
    """Judge a distribution by its distance to the sum of the earlier ones."""
    known = [counts for counts in past.counts[: options.nights] if len(counts) == len(figure.counts)]
    before = [sum(column) for column in zip(*known, strict=True)]
    if min(sum(figure.counts), sum(before)) < options.min_events:
        return Check(figure.table, figure.name, None, None, None, None, UNKNOWN, figure.counts)
    value = distance(figure.counts, before)
    warn, fail = options.limit(figure.name)
    is_odd, is_wrong = _beyond(value, warn), _beyond(value, fail)
    status = _status(figure, options, is_odd=is_odd, is_wrong=is_wrong, may_fail=len(known) >= options.min_nights)
    return Check(figure.table, figure.name, value, None, None, warn or None, status, figure.counts)


def _status(figure: Figure, options: HealthOptions, *, is_odd: bool, is_wrong: bool, may_fail: bool) -> str:
    if is_wrong and may_fail:
        return ACCEPTED if figure.full_name in options.accept else FAIL
    return WARN if is_odd or is_wrong else OK


def _beyond(value: float, limit: float) -> bool:
    """Return whether a limit is set and passed."""
    return limit > 0 and value > limit


def distance(one: Sequence[int], other: Sequence[int]) -> float:
    """Return the Jensen-Shannon distance (base 2) of two histograms, 0 to 1, less what chance alone gives.

    It is bounded and needs no invented counts where a bin is empty, as the population stability index does. Two samples
    of n and m from one distribution over k bins differ by (k - 1) / (8 ln 2) (1/n + 1/m) on average, which is taken
    off before the root. Source: Grosse et al., Analysis of symbolic sequences using the Jensen-Shannon divergence,
    Phys. Rev. E 65 (2002), for equal weights.
    """
    n, m = sum(one), sum(other)
    if not n or not m:
        return 0.0
    pairs = [(a / n, b / m) for a, b in zip(one, other, strict=True)]
    divergence = sum(_part(p, (p + q) / 2) + _part(q, (p + q) / 2) for p, q in pairs) / 2
    used = sum(1 for p, q in pairs if p or q)
    chance = (used - 1) / (8 * math.log(2)) * (1 / n + 1 / m)
    return math.sqrt(min(max(divergence - chance, 0.0), 1.0))


def _part(p: float, middle: float) -> float:
    return p * math.log2(p / middle) if p else 0.0
