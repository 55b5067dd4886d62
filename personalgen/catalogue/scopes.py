"""Which images a question is about, and where they lie: read from the roll-up, never from the images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, Select, false, func, or_, select

from personalgen.catalogue.schema import asset, daily_stat, live_release, model_version, night, user, user_change
from personalgen.catalogue.views import v_assets

MOST = 2_000
"""Candidates, or ids, that one statement looks at: none is ever long."""
NEWEST = 2**63 - 1
"""No asset has a larger id."""

FEW_USERS = 200
"""Up to this many users of a segment, their images are found person by person; above it, among all images."""

_stats, _shown = daily_stat.c, v_assets.c
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
    """Return the nights asked for that made images (or changed users): all of one user's, else the newest that fits.

    Of a segment, the newest in which one of its present users has an image (or changed). The roll-up counts what was
    made, by the segments of that day and with people who were erased since: it says where to look, not what is there.
    """
    did = (_stats.n_changed if changed else _stats.n_images) > 0
    query = within(select(_stats.night_id).where(did).distinct(), asked).order_by(_stats.night_id.desc())
    if asked.names_night or asked.user_id is not None:
        return tuple(connection.scalars(query))
    if not changed and asked.segment is None:
        return tuple(connection.scalars(query.limit(1)))
    keys = people(connection, asked)
    if keys == []:
        return ()
    generators, nights = _generators(connection, asked), connection.scalars(query).all()
    if changed:
        return _first(nights, lambda one: _anybody_changed(connection, asked, one, keys, generators))
    if keys is None:
        return _first(nights, lambda one: _anything_made(connection, replace(asked, night_id=one)))
    return _newest_of_people(connection, keys, generators, nights)


def _first(nights: Sequence[int], fit: Callable[[int], bool]) -> tuple[int, ...]:
    return tuple(islice(filter(fit, nights), 1))


def _generators(connection: Connection, asked: AssetFilter) -> Sequence[int]:
    """Return the digests of the models asked for."""
    query = select(model_version.c.generator_digest)
    if asked.model_version is not None:
        query = query.where(model_version.c.version == asked.model_version)
    if asked.live_only:
        query = query.where(model_version.c.generator_digest == live_generator(connection))
    return connection.scalars(query).all()


def _anybody_changed(
    connection: Connection, asked: AssetFilter, night_id: int, keys: Sequence[int] | None, generators: Sequence[int]
) -> bool:
    """Return whether one of these users, or of the segment, changed in a night; read up to the first."""
    change = user_change.c
    query = select(change.user_key).where(
        change.night_id == night_id,
        change.generator_digest.in_(generators),
        change.old_asset_id != change.new_asset_id,
    )
    if keys is not None:
        return connection.execute(query.where(change.user_key.in_(keys))).first() is not None
    if asked.segment is not None:
        query = query.join(user, user.c.user_key == change.user_key)
        query = query.where(func.coalesce(user.c.segment, "") == asked.segment)
    # Without the order PostgreSQL expects a row so soon that it starts at the table's first page.
    falling = (change.shift.desc(), change.generator_digest.desc(), change.user_key.desc())
    return connection.execute(query.order_by(*falling).limit(1)).first() is not None


def _newest_of_people(
    connection: Connection, keys: Sequence[int], generators: Sequence[int], nights: Sequence[int]
) -> tuple[int, ...]:
    """Return the newest of these nights that made an image for one of these users; none, where none did."""
    own = select(func.max(asset.c.night_id)).where(asset.c.generator_digest.in_(generators), asset.c.user_key.in_(keys))
    newest = connection.scalar(own.where((asset.c.night_id + 0).in_(nights)))
    return () if newest is None else (newest,)


def _anything_made(connection: Connection, asked: AssetFilter) -> bool:
    """Return whether the night asked for made an image of the segment; read up to the first."""
    query = select(_shown.asset_id).where(*conditions(_shown, asked, (asked.night_id or 0,))).limit(1)
    ranges = steps(windows(connection, asked), NEWEST)
    return any(connection.execute(query.where(_shown.asset_id.between(*each))).first() for each in ranges)


def steps(found: Sequence[tuple[int, int]], end: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of at most MOST ids to look at one after the other, the newest first."""
    for first, last in found:
        for stop in range(min(last, end), first - 1, -MOST):
            yield max(first, stop - MOST + 1), stop


def people(connection: Connection, asked: AssetFilter) -> list[int] | None:
    """Return the keys of the users asked for, where these are few; None where all or many are."""
    if asked.user_id is None and asked.segment is None:
        return None
    named = select(user.c.user_key)
    if asked.segment is not None:
        without = user.c.segment.is_(None) if not asked.segment else false()
        named = named.where(or_(user.c.segment == asked.segment, without))
    if asked.user_id is not None:
        return list(connection.scalars(named.where(user.c.user_id == asked.user_id)))
    keys = connection.scalars(named.limit(FEW_USERS + 1)).all()
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
