"""What needs a person, and the command that shows or mends it: facts in, sentences out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

LEAST_FREE_BYTES = 2 << 30
LEAST_FREE_SHARE = 0.05
OVERDUE = timedelta(hours=36)
"""A night that is scheduled and has not ended for so long is missed."""
_CUT = ("running", "killed")
"""What a night is called whose process died: before another night began, and after."""


@dataclass(frozen=True)
class NightLine:
    """A night as status shows it."""

    night_id: int
    kind: str
    """nightly, retrain, generate or backfill."""
    day: str
    status: str
    attempts: int
    began: datetime
    sec: float | None
    """How long the last attempt's end is after the first one's beginning; None while it runs."""
    n_images: int | None
    outcome: str
    """promoted, held, or empty where the night decided nothing."""
    is_evaluated: bool
    health: str
    """The worst verdict on its data: ok, warn, accepted or unknown."""
    as_of: str = ""
    """The instant that the night is of, ISO 8601."""
    is_warm: bool = False
    """Whether it is a retrain from what was live."""


@dataclass(frozen=True)
class Facts:
    """What was found in a home."""

    newest: Sequence[NightLine]
    """The newest night that is no backfill, and the newest backfill where it came later."""
    is_running: bool
    """Whether a process holds the home's lock."""
    refused: Sequence[str]
    """Checks that stopped the newest night."""
    damaged_shards: int
    near_quarantine: Sequence[str]
    """Tables of the newest night near the limit, with their share."""
    free_bytes: int
    total_bytes: int
    overdue_since: datetime | None = None
    """The scheduled instant that no night followed."""
    alias: str = ""
    """What is wrong with the registry's alias; empty where nothing is, or nobody asked."""
    options: str = ""
    """What makes a command look at the same settings, with a space before it."""


@dataclass(frozen=True)
class Need:
    """One thing that needs a person."""

    what: str
    found: str
    command: str
    """What shows it, or mends it."""


def needs(facts: Facts) -> tuple[Need, ...]:
    """Return what needs a person, the most urgent first."""
    return tuple(_needs(facts))


def _again(night: NightLine, options: str) -> str:
    if night.kind == "backfill":
        return f"personalgen backfill{options} with the same days goes on with it"
    command = {"generate": "generate-only"}.get(night.kind, night.kind) + (" --warm" if night.is_warm else "")
    return f"personalgen {command} --as-of {night.as_of}{options} goes on with it"


def _unfinished(facts: Facts) -> Iterator[Need]:
    """Yield the newest nights that failed, or that nobody works on."""
    for night in facts.newest:
        if night.status == "failed":
            yield Need("night", f"night {night.night_id} of {night.day} failed", _again(night, facts.options))
        if night.status in _CUT and not facts.is_running:
            found = f"night {night.night_id} of {night.day} was cut off: no process works on it"
            yield Need("night", found, _again(night, facts.options))


def _needs(facts: Facts) -> Iterator[Need]:
    options = facts.options
    if facts.refused:
        found = f"the newest night was stopped by {', '.join(facts.refused)}"
        accepted = " ".join(f"--accept {name}" for name in facts.refused)
        look, run = f"personalgen health{options}", f"personalgen nightly {accepted}{options}"
        yield Need("data", found, f"{look}, then {run} where the data are right")
    yield from _unfinished(facts)
    if facts.overdue_since is not None:
        found = f"no night since {facts.overdue_since.isoformat()}, which is overdue"
        yield Need("schedule", found, f"personalgen serve{options}")
    for night in facts.newest:
        if night.status == "done" and night.outcome == "held" and not night.is_evaluated:
            found = f"night {night.night_id} held its model back without an evaluation"
            yield Need("evaluation", found, f"personalgen evaluate{options}, and the night's report")
    if facts.damaged_shards:
        yield Need("shards", f"{facts.damaged_shards} are missing or of another size", f"personalgen doctor{options}")
    for table in facts.near_quarantine:
        yield Need("quarantine", f"{table}, near limits.max_quarantine_share", f"personalgen health{options}")
    if facts.alias:
        mend, look = f"personalgen nightly{options}", f"personalgen models list{options}"
        yield Need("registry", facts.alias, f"{mend} puts it right, or {look} shows it")
    if facts.free_bytes < max(LEAST_FREE_BYTES, LEAST_FREE_SHARE * facts.total_bytes):
        found = f"{facts.free_bytes / 2**30:.1f} GiB free"
        yield Need("disk", found, f"personalgen nights delete{options}, or a larger disk")
