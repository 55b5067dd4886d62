"""Compares tonight's tables with those of earlier nights, before anything of the night is written."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from personalgen.artifacts import read_json, write_json
from personalgen.catalogue import health
from personalgen.catalogue.health import HealthFacts, HealthRow
from personalgen.errors import HealthError
from personalgen.evaluation.series_plot import Series
from personalgen.status.places import refused_path
from personalgen.steps.workspace import Workspace
from personalgen.tables import PreparedTables, load_prepared
from personalgen.tables.health import Check, Past, check_tables, failing
from personalgen.tables.profile import Newcomers, profile_of


def check_source(workspace: Workspace, tables: PreparedTables, key: str, since: datetime | None) -> tuple[Check, ...]:
    """Return the verdicts on tonight's tables; `since` is the end of the last night that is done.

    Raises:
        HealthError: a check fails that nobody accepted. No night is begun; what failed stands in `refused_path`.
    """
    options = workspace.settings.health
    earlier = health.health(workspace.engine, nights=options.nights, but=key)
    profile = profile_of(tables, since=since, newcomers=_newcomers(workspace, tables) if earlier else None)
    checks = check_tables(profile, past_of(earlier), options)
    wrong = failing(checks)
    if wrong:
        _write_refused(workspace, tables, key, wrong)
        raise HealthError(_message(tables, wrong))
    refused_path(workspace.data).unlink(missing_ok=True)
    return checks


def past_of(rows: Sequence[HealthRow]) -> dict[str, Past]:
    """Return what earlier nights stored of each check, by full name, the newest first."""
    values, counts = defaultdict[str, list[float]](list), defaultdict[str, list[tuple[int, ...]]](list)
    for row in rows:
        name = f"{row.source_table}.{row.check_name}"
        if row.value is not None:
            values[name].append(row.value)
        if row.counts:
            counts[name].append(row.counts)
    return {name: Past(tuple(values[name]), tuple(counts[name])) for name in {*values, *counts}}


def record_checks(workspace: Workspace, night_id: int, checks: Sequence[Check]) -> None:
    """Keep tonight's figures for the nights to come."""
    facts = [
        HealthFacts(one.table, one.name, one.value, one.expected, one.low, one.high, one.status, one.counts or None)
        for one in checks
    ]
    health.record_health(workspace.engine, night_id, facts)


@dataclass(frozen=True)
class Listed:
    """A check as a person reads it."""

    night_id: int | None
    """None: the night was stopped by it, and never began."""
    day: str
    check: str
    """table.name."""
    value: float | None
    expected: float | None
    """Median of earlier nights."""
    low: float | None
    high: float | None
    status: str


def listed(workspace: Workspace, *, nights: int) -> list[Listed]:
    """Return the checks of the last nights, the newest first, those that stopped one before all others."""
    rows = health.health(workspace.engine, nights=nights)
    return [
        *refused_checks(workspace.data),
        *(
            Listed(
                row.night_id, row.day.isoformat(), f"{row.source_table}.{row.check_name}", row.value, row.expected,
                row.low, row.high, row.status,
            )
            for row in rows
        ),
    ]  # fmt: skip


def refused_checks(data: Path) -> list[Listed]:
    """Return the checks that stopped the newest night; none where a later one went on."""
    path = refused_path(data)
    facts = read_json(path) if path.is_file() else {"checks": []}
    return [
        Listed(
            None, facts["as_of"][:10], f"{one['table']}.{one['name']}", one["value"], one["expected"], one["low"],
            one["high"], one["status"],
        )
        for one in facts["checks"]
    ]  # fmt: skip


def series_of(rows: Sequence[HealthRow]) -> list[Series]:
    """Return each check over nights, as a report draws it; those that nobody can tell yet are left out."""
    by_name = defaultdict[str, list[HealthRow]](list)
    for row in rows:
        if row.value is not None:
            by_name[f"{row.source_table}.{row.check_name}"].append(row)
    return [
        Series(name, [float(row.value or 0) for row in reversed(own)], own[0].low, own[0].high, own[0].status)
        for name, own in sorted(by_name.items())
    ]


def _newcomers(workspace: Workspace, tables: PreparedTables) -> Newcomers:
    prepared = load_prepared(tables.folder)
    user_ids, item_ids = frozenset(prepared.users["user_id"]), frozenset(prepared.item_ids)
    of_users, of_items = health.n_known(workspace.engine, user_ids=user_ids, item_ids=item_ids)
    return Newcomers(len(user_ids) - of_users, len(item_ids) - of_items)


def _write_refused(workspace: Workspace, tables: PreparedTables, key: str, wrong: Sequence[Check]) -> None:
    facts = {
        "at": workspace.now().isoformat(),
        "as_of": tables.as_of.isoformat(),
        "night_key": key,
        "source": workspace.settings.source.name,
        "checks": [{name: value for name, value in asdict(one).items() if name != "counts"} for one in wrong],
    }
    write_json(refused_path(workspace.data), facts)


def _message(tables: PreparedTables, wrong: Sequence[Check]) -> str:
    accepted = " ".join(f"--accept {one.full_name}" for one in wrong)
    return (
        f"the source does not look like that of earlier nights, up to {tables.as_of.isoformat()}: "
        f"{'; '.join(one.told() for one in wrong)}. Look at it (`personalgen health`, and the tables in "
        f"{tables.folder}). Mend the source, or move the limit under [health]; or, where it is right, run again with "
        f"{accepted}, or with these names in health.accept. Nothing was changed: no night was begun, and users see "
        "what they saw."
    )
