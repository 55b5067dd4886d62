"""Figures of a source's tables, night by night: written beside the night, read to judge the next one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Engine, delete, select

from personalgen.catalogue.bulk import execute_rows, insert_into
from personalgen.catalogue.engine import transaction
from personalgen.catalogue.read import reading
from personalgen.catalogue.schema import data_health, item, night, user


@dataclass(frozen=True)
class HealthFacts:
    """One figure of a table in a night."""

    source_table: str
    check_name: str
    value: float | None
    expected: float | None
    low: float | None
    high: float | None
    status: str
    counts: tuple[int, ...] | None = None
    """The histogram behind it."""


@dataclass(frozen=True)
class HealthRow:
    """A row of `data_health` with its night."""

    night_id: int
    day: date
    source_table: str
    check_name: str
    value: float | None
    expected: float | None
    low: float | None
    high: float | None
    status: str
    counts: tuple[int, ...]


def record_health(engine: Engine, night_id: int, facts: Sequence[HealthFacts]) -> None:
    """Write the figures of a night in the place of those that it wrote before, as one."""
    rows = [{**vars(one), "night_id": night_id, "counts": one.counts and list(one.counts)} for one in facts]
    with transaction(engine) as connection:
        connection.execute(delete(data_health).where(data_health.c.night_id == night_id))
        execute_rows(connection, insert_into(connection, data_health), rows)


def health(engine: Engine, *, nights: int = 30, but: str = "") -> tuple[HealthRow, ...]:
    """Return the figures of the last `nights` nights that have some, the newest first, without the night `but`."""
    told = select(data_health.c.night_id).join(night).where(night.c.night_key != but).distinct()
    newest = told.order_by(data_health.c.night_id.desc()).limit(nights).subquery()
    query = (
        select(data_health, night.c.day)
        .join(night)
        .join(newest, newest.c.night_id == data_health.c.night_id)
        .order_by(data_health.c.night_id.desc(), data_health.c.source_table, data_health.c.check_name)
    )
    with reading(engine) as connection:
        rows = [row._asdict() for row in connection.execute(query)]
    return tuple(HealthRow(**{**row, "counts": tuple(row["counts"] or ())}) for row in rows)


def n_known(engine: Engine, *, user_ids: frozenset[str], item_ids: frozenset[str]) -> tuple[int, int]:
    """Return how many of these users, and of these items, the catalogue knows already."""
    with reading(engine) as connection:
        of_users = sum(1 for (name,) in connection.execute(select(user.c.user_id)) if name in user_ids)
        of_items = sum(1 for (name,) in connection.execute(select(item.c.item_id)) if name in item_ids)
    return of_users, of_items
