"""Gathers the facts of a home: rows of the catalogue, a lock, a few files. Changes nothing, and makes nothing."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from personalgen.artifacts import read_json
from personalgen.catalogue import health, read
from personalgen.catalogue.engine import Engine, open_catalogue, parse_url, sqlite_path
from personalgen.catalogue.health import HealthRow
from personalgen.catalogue.rows import LiveRelease, Night, Promotion
from personalgen.locks import NIGHT, SERVE, is_held
from personalgen.status.needs import OVERDUE, Facts, Need, NightLine, needs
from personalgen.status.places import Places, next_night, refused_path

_DECISIONS = 20
"""So many may have been made by hand since the nights that are shown."""
_WORST_FIRST = ("fail", "accepted", "warn", "ok", "unknown")


@dataclass(frozen=True)
class Status:
    """How a home stands."""

    home: str
    is_running: bool
    live: str
    """Model, version and since when; empty before the first release."""
    next_night: str
    """Instant in the schedule's zone; empty where none is scheduled."""
    is_served: bool
    """Whether a `personalgen serve` of this machine will run it."""
    nights: Sequence[NightLine]
    needs: Sequence[Need]


def status_of(places: Places, *, nights: int, now: datetime, alias: str = "", options: str = "") -> Status:
    """Return how a home stands; `alias` is what somebody found wrong with the registry's.

    `options` go with every command that it names: what makes it look at the same settings, with a space before it.

    Raises:
        CatalogueError: the catalogue cannot be read.
        ConfigError: the catalogue's URL or the schedule is none.
    """
    engine = _opened(places.catalogue_url)
    try:
        lines = _lines(places, engine, read.nights(engine, limit=nights)) if engine else []
        live = read.live_release(engine) if engine else None
        facts = _facts(places, engine, now, alias, options)
    finally:
        if engine:
            engine.dispose()
    coming = next_night(places, now)
    return Status(
        home=str(places.root),
        is_running=facts.is_running,
        live=_live(live),
        next_night=coming.isoformat() if coming else "",
        is_served=is_held(places.data / SERVE),
        nights=lines if facts.is_running else [_as_it_is(line) for line in lines],
        needs=needs(facts),
    )


def _as_it_is(night: NightLine) -> NightLine:
    """Return a night of a home in which no process works: one that says it is running was killed."""
    return replace(night, status="killed") if night.status == "running" else night


def _opened(url: str) -> Engine | None:
    """Return the catalogue, or None before the first night: there is no file, or no table."""
    path = sqlite_path(parse_url(url))
    if path is not None and not path.exists():
        return None
    engine = open_catalogue(url, read_only=True)
    if read.has_tables(engine):
        return engine
    engine.dispose()
    return None


def _facts(places: Places, engine: Engine | None, now: datetime, alias: str, options: str) -> Facts:
    disk = shutil.disk_usage(next(path for path in (places.root, *places.root.parents) if path.exists()))
    rows = health.health(engine, nights=1) if engine else ()
    return Facts(
        newest=_newest(places, engine) if engine else (),
        is_running=is_held(places.data / NIGHT),
        refused=_refused(places.data),
        damaged_shards=_damaged(engine, places.shards) if engine else 0,
        near_quarantine=_near(rows, places.max_quarantine_share / 2),
        free_bytes=disk.free,
        total_bytes=disk.total,
        overdue_since=_overdue(places, engine, now) if engine else None,
        alias=alias,
        options=options,
    )


def _newest(places: Places, engine: Engine) -> list[NightLine]:
    """Return the newest night that is no backfill, and the newest backfill where it came later."""
    nights = read.nights(engine, limit=1, kinds=("nightly", "retrain", "generate"))
    last = read.nights(engine, limit=1, kinds=("backfill",))
    later = [one for one in last if not nights or one.night_id > nights[0].night_id]
    return _lines(places, engine, (*nights, *later))


def _lines(places: Places, engine: Engine, rows: Sequence[Night]) -> list[NightLine]:
    worst = _worst(health.health(engine, nights=max(1, len(rows))))
    decided = {
        one.night_id: one for one in reversed(read.promotions(engine, limit=_DECISIONS + 4 * len(rows))) if one.night_id
    }
    return [
        _line(row, decided.get(row.night_id), worst.get(row.night_id, ""), is_warm=_is_warm(places, row))
        for row in rows
    ]


def _is_warm(places: Places, row: Night) -> bool:
    """Return whether a night is a retrain from what was live, by what its `prepare` told."""
    told = places.data / "nights" / row.night_key[:16] / "prepare.json"
    return row.kind == "retrain" and told.is_file() and not read_json(told)["from_scratch"]


def _line(row: Night, decision: Promotion | None, verdict: str, *, is_warm: bool) -> NightLine:
    counts: dict[str, Any] = dict(row.counts or {})
    ended = row.finished_at
    return NightLine(
        night_id=row.night_id,
        kind=row.kind,
        day=row.day.isoformat(),
        status=row.status,
        attempts=row.attempts,
        began=row.created_at,
        sec=None if ended is None else (ended - row.created_at).total_seconds(),
        n_images=counts.get("images_made"),
        outcome=""
        if decision is None
        else {"promote": "promoted", "hold": "held"}.get(decision.action, decision.action),
        is_evaluated=counts.get("kid") is not None,
        health=verdict,
        as_of=row.as_of.isoformat(),
        is_warm=is_warm,
    )


def _worst(rows: Sequence[HealthRow]) -> dict[int, str]:
    """Return the worst verdict of each night."""
    found: dict[int, str] = {}
    for row in rows:
        known = found.get(row.night_id, _WORST_FIRST[-1])
        found[row.night_id] = min(known, row.status, key=_WORST_FIRST.index)
    return found


def _near(rows: Sequence[HealthRow], limit: float) -> list[str]:
    near = [row for row in rows if row.check_name == "quarantined" and limit and (row.value or 0.0) >= limit]
    return [f"{row.source_table}: {row.value:.1%} set aside" for row in near]


def _refused(data: Path) -> list[str]:
    path = refused_path(data)
    return [f"{one['table']}.{one['name']}" for one in read_json(path)["checks"]] if path.is_file() else []


def _damaged(engine: Engine, root: Path | None) -> int:
    """Return how many catalogued shards are missing or of another size; behind a URL nobody looks."""
    if root is None:
        return 0
    known = read.shard_digests(engine)
    return sum(1 for name, (n_bytes, _) in known.items() if _size(root / name) != n_bytes)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _overdue(places: Places, engine: Engine, now: datetime) -> datetime | None:
    """Return the scheduled instant after the newest nightly night that lies too far back, or None."""
    nights = read.nights(engine, limit=1, kinds=("nightly",))
    due = next_night(places, nights[0].created_at) if nights else None
    return due if due is not None and now - due > OVERDUE else None


def _live(live: LiveRelease | None) -> str:
    return "" if live is None else f"{live.model_name} v{live.version} since {live.moved_at:%Y-%m-%d %H:%M} UTC"
