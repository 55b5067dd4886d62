"""Which images a question is about, and where they lie: read from the roll-up, never from the images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Date,
    Integer,
    Select,
    String,
    bindparam,
    func,
    or_,
    select,
)

from personalgen.bounds import MAX_ID
from personalgen.catalogue.fitting import asked_for, fitting_changes
from personalgen.catalogue.prepared import ask, listed, padded, places_in
from personalgen.catalogue.schema import (
    asset_rating,
    daily_stat,
    live_release,
    model_version,
    night,
    user,
    user_change,
)

MOST = 2_000
"""Candidates, or ids, that one statement looks at: none is ever long."""
NEWEST = MAX_ID
"""No asset has a larger id."""

FEW_USERS = 200
"""Up to this many users of a segment, their images are found person by person; above it, among all images."""

_stats = daily_stat.c
_newest_id = func.max(daily_stat.c.last_asset_id)
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

    @property
    def shape(self) -> frozenset[str]:
        """What is asked for, by name: the same of filters that differ in their values alone."""
        given = {name for name, value in vars(self).items() if value is not None and value is not False}
        return frozenset(given | {"no_segment"} if self.segment == "" else given)

    @property
    def values(self) -> dict[str, Any]:
        """The values by the names of their places in a statement of this shape."""
        return {f"asked_{name}": value for name, value in vars(self).items() if value is not None}


EVERYTHING = AssetFilter()


def windows(connection: Connection, asked: AssetFilter) -> list[tuple[int, int]]:
    """Return ranges of ids, the newest first, in which the images of the nights and models asked for lie."""
    merged: list[tuple[int, int]] = []
    for _, first, last in ask(connection, _windows, asked.shape, **asked.values):
        if merged and last >= merged[-1][0]:
            merged[-1] = (min(merged[-1][0], first), merged[-1][1])
        else:
            merged.append((first, last))
    return merged


def _windows(shape: frozenset[str]) -> Select[Any]:
    query = (
        select(_stats.night_id, func.min(_stats.first_asset_id).label("first"), _newest_id.label("last"))
        .where(_stats.first_asset_id.is_not(None))
        .group_by(_stats.night_id)
        .order_by(_newest_id.desc())
    )
    return within(query, shape)


def nights_of(connection: Connection, asked: AssetFilter, *, changed: bool = False) -> tuple[int, ...]:
    """Return the nights asked for that made images (or changed users), the newest first.

    The roll-up counts what was made, by the segments of that day and with people who were erased since: it says where
    to look, not what is there.
    """
    found = ask(connection, _nights, asked.shape, "n_changed" if changed else "n_images", **asked.values)
    return tuple(row.night_id for row in found)


def _nights(shape: frozenset[str], counted: str) -> Select[Any]:
    query = within(select(_stats.night_id).where(_stats[counted] > 0).distinct(), shape)
    return query.order_by(_stats.night_id.desc())


def nights_of_changes(connection: Connection, asked: AssetFilter, keys: Sequence[int] | None) -> tuple[int, ...]:
    """Return the nights asked for that changed users (`people`): all of one user's, else the newest that fits."""
    nights = nights_of(connection, asked, changed=True)
    if asked.names_night or asked.user_id is not None:
        return nights
    if keys == []:
        return ()
    generators = generators_of(connection, asked)
    fitting = (one for one in nights if _anybody_changed(connection, asked, one, keys, generators))
    return tuple(islice(fitting, 1))


def newest_nights(connection: Connection, asked: AssetFilter, *, rated: bool = False) -> Iterator[int]:
    """Yield the nights that may have scored images (or rated ones) that fit, the newest first, each on demand.

    Nights that have none at all are passed by; whether those of a night fit, its images tell.
    """
    build, most = _newest_rated if rated else _newest_scored, NEWEST
    while found := ask(connection, build, asked.shape, most=most, **asked.values):
        (row,) = found
        yield row.night_id
        most = row.night_id - 1


def _newest_scored(shape: frozenset[str]) -> Select[Any]:
    """Return the query of the newest night up to `most` that scored images."""
    return _newest(shape, _stats.n_scored, bindparam("most", type_=BigInteger))


def _newest_rated(shape: frozenset[str]) -> Select[Any]:
    """Return the query of the newest night that made images, up to the newest up to `most` whose images were rated."""
    rated = asset_rating.c.night_id
    up_to = select(func.max(rated)).where(rated <= bindparam("most", type_=BigInteger)).scalar_subquery()
    return _newest(shape, _stats.n_images, up_to)


def _newest(shape: frozenset[str], counted: Column[int], up_to: ColumnElement[int]) -> Select[Any]:
    query = within(select(_stats.night_id).where(counted > 0, _stats.night_id <= up_to), shape)
    return query.order_by(_stats.night_id.desc()).limit(1)


def generators_of(connection: Connection, asked: AssetFilter) -> list[int]:
    """Return the digests of the models asked for."""
    return [row.generator_digest for row in ask(connection, _generators, asked.shape, **asked.values)]


def _generators(shape: frozenset[str]) -> Select[Any]:
    query = select(model_version.c.generator_digest)
    if "model_version" in shape:
        query = query.where(model_version.c.version == asked_for("model_version", BigInteger))
    if "live_only" in shape:
        query = query.where(model_version.c.generator_digest.in_(select(live_release.c.generator_digest)))
    return query


def _anybody_changed(
    connection: Connection, asked: AssetFilter, night_id: int, keys: Sequence[int] | None, generators: Sequence[int]
) -> bool:
    """Return whether one of these users, or of the segment, changed in a night; read up to the first."""
    n_keys = None if keys is None else padded(len(keys))
    values = asked.values | listed("keys", keys or ()) | listed("generators", generators) | {"night": night_id}
    return bool(ask(connection, _one_who_changed, asked.shape, n_keys, padded(len(generators)), **values))


def _one_who_changed(shape: frozenset[str], n_keys: int | None, n_generators: int) -> Select[Any]:
    change = user_change.c
    query = select(change.user_key).where(
        change.night_id == bindparam("night"),
        places_in(change.generator_digest, "generators", n_generators),
        change.old_asset_id != change.new_asset_id,
    )
    if n_keys is not None:
        return query.where(places_in(change.user_key, "keys", n_keys)).limit(1)
    # Without the order PostgreSQL expects a row so soon that it starts at the table's first page.
    return (
        query.where(*fitting_changes(shape))
        .order_by(change.shift.desc(), change.generator_digest.desc(), change.user_key.desc())
        .limit(1)
    )


def steps(found: Sequence[tuple[int, int]], end: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of at most MOST ids to look at one after the other, the newest first."""
    for first, last in found:
        for stop in range(min(last, end), first - 1, -MOST):
            yield max(first, stop - MOST + 1), stop


def people(connection: Connection, asked: AssetFilter) -> list[int] | None:
    """Return the keys of the users asked for, where these are few; None where all or many are."""
    query = partial(ask, connection, _people, asked.shape, **asked.values)
    if asked.user_id is None and (asked.segment is None or query(1, skipped=FEW_USERS)):
        return None
    return [row.user_key for row in query(FEW_USERS if asked.user_id is None else 1, skipped=0)]


def _people(shape: frozenset[str], limit: int) -> Select[Any]:
    """Return the query of some users asked for, after `skipped` others of them."""
    query, of_segment = select(user.c.user_key), user.c.segment == asked_for("segment", String)
    if "no_segment" in shape:
        of_segment = or_(of_segment, user.c.segment.is_(None))
    if "segment" in shape:
        query = query.where(of_segment)
    if "user_id" in shape:
        query = query.where(user.c.user_id == asked_for("user_id", String))
    return query.limit(limit).offset(bindparam("skipped", type_=Integer))


def within(query: S, shape: frozenset[str]) -> S:
    """Return a query of `daily_stat`, limited to the nights and models that a filter of this shape asks for."""
    if "night_id" in shape:
        query = query.where(_stats.night_id == asked_for("night_id", BigInteger))
    if "day" in shape:
        query = query.where(_stats.night_id.in_(select(night.c.night_id).where(night.c.day == asked_for("day", Date))))
    if "model_version" in shape:
        version = model_version.c.version == asked_for("model_version", BigInteger)
        query = query.where(_stats.model_version_id.in_(select(model_version.c.model_version_id).where(version)))
    if "live_only" in shape:
        query = query.where(_stats.model_version_id.in_(select(live_release.c.model_version_id)))
    return query
