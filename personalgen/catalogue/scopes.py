"""Which images a question is about, and where they lie: read from the roll-up, never from the images."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, Select, func, select

from personalgen.catalogue.schema import daily_stat, live_release, model_version, night, user

FEW_USERS = 200
"""Up to this many users of a segment, their images are found person by person; above it, among all images."""

_stats = daily_stat.c
S = TypeVar("S", bound=Select[Any])


@dataclass(frozen=True, kw_only=True)
class AssetFilter:
    """What a question is limited to; None asks for all."""

    user_id: str | None = None
    """Canonical id."""
    night_id: int | None = None
    day: date | None = None
    """Of the night."""
    model_version: int | None = None
    """The registry's number."""
    segment: str | None = None
    """The segment that users have now; '' means those without one."""
    live_only: bool = False
    """What users see now, alone."""

    @property
    def names_night(self) -> bool:
        """Whether it says which nights."""
        return self.night_id is not None or self.day is not None


EVERYTHING = AssetFilter()


def windows(connection: Connection, asked: AssetFilter) -> list[tuple[int, int]]:
    """Return ranges of ids, the newest first, in which the images of the nights and models asked for lie."""
    query = (
        select(_stats.night_id, func.min(_stats.first_asset_id), func.max(_stats.last_asset_id))
        .where(_stats.first_asset_id.is_not(None))
        .group_by(_stats.night_id)
        .order_by(func.max(_stats.last_asset_id).desc())
    )
    merged: list[tuple[int, int]] = []
    for _, first, last in connection.execute(within(query, asked)):
        if merged and last >= merged[-1][0]:
            merged[-1] = (min(merged[-1][0], first), merged[-1][1])
        else:
            merged.append((first, last))
    return merged


def nights_of(connection: Connection, asked: AssetFilter, *, changed: bool = False) -> tuple[int, ...]:
    """Return the nights asked for that made images (or changed users): all of one user's, else the newest."""
    did = (_stats.n_changed if changed else _stats.n_images) > 0
    query = within(select(_stats.night_id).where(did).distinct(), asked).order_by(_stats.night_id.desc())
    every = asked.names_night or asked.user_id is not None
    return tuple(connection.scalars(query if every else query.limit(1)))


def people(connection: Connection, asked: AssetFilter) -> list[int] | None:
    """Return the keys of the users asked for, where these are few; None where all or many are."""
    if asked.user_id is not None:
        return list(connection.scalars(select(user.c.user_key).where(user.c.user_id == asked.user_id)))
    if not asked.segment:
        return None
    named = select(user.c.user_key).where(user.c.segment == asked.segment).limit(FEW_USERS + 1)
    keys = connection.scalars(named).all()
    return None if len(keys) > FEW_USERS else list(keys)


def within(query: S, asked: AssetFilter) -> S:
    """Return a query of `daily_stat`, limited to the nights and models asked for."""
    if asked.night_id is not None:
        query = query.where(_stats.night_id == asked.night_id)
    if asked.day is not None:
        query = query.where(_stats.night_id.in_(select(night.c.night_id).where(night.c.day == asked.day)))
    if asked.model_version is not None:
        named = select(model_version.c.model_version_id).where(model_version.c.version == asked.model_version)
        query = query.where(_stats.model_version_id.in_(named))
    if asked.live_only:
        query = query.where(_stats.model_version_id.in_(select(live_release.c.model_version_id)))
    return query


def live_generator(connection: Connection) -> int | None:
    """Return the digest of the generator whose images users see now, or None before the first release."""
    return connection.scalar(select(live_release.c.generator_digest))


def conditions(columns: Any, asked: AssetFilter, nights: Sequence[int] = ()) -> list[ColumnElement[bool]]:
    """Return model, segment and `nights` as conditions on columns of these names, which no index serves.

    Where to look is said elsewhere. The expression around each column keeps a planner from starting at a table of
    names, which would read every image of a segment before the first is shown.
    """
    found: list[ColumnElement[bool]] = []
    if nights:
        found.append((columns.night_id + 0).in_(nights))
    if asked.model_version is not None:
        found.append(func.coalesce(columns.model_version, 0) == asked.model_version)
    if asked.segment is not None:
        found.append(func.coalesce(columns.segment, "") == asked.segment)
    return found


def fits(row: Row[Any], asked: AssetFilter) -> bool:
    """Return whether a row with model_version and segment is one asked for, as `conditions` says it."""
    same_model = asked.model_version is None or row.model_version == asked.model_version
    return same_model and (asked.segment is None or (row.segment or "") == asked.segment)
