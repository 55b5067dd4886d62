"""What was made, by day, model and segment: sums of the roll-up, which reads no image."""

from collections.abc import Sequence
from datetime import date
from typing import Any, Literal

from sqlalchemy import BigInteger, Date, Engine, Integer, Select, String, bindparam, cast, func, select

from personalgen.catalogue.prepared import ask
from personalgen.catalogue.read import reading
from personalgen.catalogue.rows import DailyFigures
from personalgen.catalogue.schema import daily_stat, model_version, night
from personalgen.catalogue.scopes import EVERYTHING, AssetFilter, within
from personalgen.errors import ConfigError

Group = Literal["day", "model", "segment"]


def groups(names: Sequence[str]) -> tuple[Group, ...]:
    """Return names as groups.

    Raises:
        ConfigError: one of them is none.
    """
    known: dict[str, Group] = {"day": "day", "model": "model", "segment": "segment"}
    if wrong := [name for name in names if name not in known]:
        raise ConfigError(f"Sums are by {', '.join(known)}, not by {', '.join(wrong)}. Nothing was asked.")
    return tuple(known[name] for name in dict.fromkeys(names))


def stats(
    engine: Engine,
    asked: AssetFilter = EVERYTHING,
    *,
    by: Sequence[Group] = ("day",),
    since: date | None = None,
    until: date | None = None,
    limit: int = 400,
) -> tuple[DailyFigures, ...]:
    """Return what was made, summed by day, model or segment, the newest day first; by nothing it is one row.

    Segments are those that users had when their images were made. `since` and `until` are days, both included.

    Raises:
        ConfigError: a user or what is live was asked for: the roll-up knows neither.
    """
    if asked.user_id is not None or asked.live_only:
        raise ConfigError(
            "Sums by day, model and segment know no user, and not what is live. Ask `latest` or SQL. Nothing was asked."
        )
    ends = {name: day for name, day in (("since", since), ("until", until)) if day is not None}
    values = {**asked.values, **ends, "limit": limit}
    missing = dict.fromkeys(("day", "model_name", "model_version", "segment"))
    with reading(engine) as connection:
        rows = ask(connection, _sums, asked.shape.union(ends), tuple(by), **values)
        return tuple(DailyFigures(**{**missing, **row._asdict()}) for row in rows)


def _sums(shape: frozenset[str], by: tuple[Group, ...]) -> Select[Any]:
    table = daily_stat.c
    columns: dict[str, list[Any]] = {
        "day": [night.c.day],
        "model": [model_version.c.model_name, model_version.c.version.label("model_version")],
        "segment": [func.nullif(table.segment, "").label("segment")],
    }
    named = [column for group in by for column in columns[group]]
    counted = ("n_images", "n_users", "n_changed", "n_bytes")
    sums = [cast(func.sum(table[name]), BigInteger).label(name) for name in counted]  # PostgreSQL's own are decimals
    mean = (func.sum(table.score_sum) / func.nullif(func.sum(table.n_scored), 0)).label("mean_score")
    joined = daily_stat.join(night, night.c.night_id == table.night_id).join(
        model_version, model_version.c.model_version_id == table.model_version_id
    )
    query = within(select(*named, *sums, mean).select_from(joined), shape)
    if "since" in shape:
        query = query.where(night.c.day >= bindparam("since", type_=Date))
    if "until" in shape:
        query = query.where(night.c.day <= bindparam("until", type_=Date))
    if "segment" in shape:
        query = query.where(table.segment == bindparam("asked_segment", type_=String))
    falling = (column.desc() for column in named)
    return query.group_by(*named).order_by(*falling).having(func.count() > 0).limit(bindparam("limit", type_=Integer))
