"""The standing questions of analysts: the newest images, the best, and who changed.

Each answers in about a millisecond at ten million images: it starts from a range of ids or an index in the order that
is asked for, reads a page of candidates, keeps those that fit, and pages by the last row that it showed, never by
counting rows. No condition is left to a planner that could start from anywhere else.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    Select,
    and_,
    bindparam,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
)

from personalgen.catalogue.bulk import chunks
from personalgen.catalogue.read import reading
from personalgen.catalogue.rows import AssetSummary, ChangedUser, RatedAsset
from personalgen.catalogue.schema import asset, asset_rating, model_version, night, user, user_change
from personalgen.catalogue.scopes import (
    EVERYTHING,
    MOST,
    NEWEST,
    AssetFilter,
    conditions,
    fits,
    live_generator,
    nights_of,
    people,
    steps,
    windows,
)
from personalgen.catalogue.views import v_assets
from personalgen.errors import NotFoundError

_LOWEST = -1e308
_FIRST = 200
_GROWTH = 4

T = TypeVar("T")
_shown, _asset, _change, _rated = v_assets.c, asset.c, user_change.c, asset_rating.c
_BY_IDS = select(v_assets).where(_shown.asset_id.in_(bindparam("ids", expanding=True)))
"""Its columns are in the order of `AssetSummary`."""
_candidate = (_shown.asset_id, _shown.score, _shown.night_id, _shown.model_version, _shown.segment)


def latest(
    engine: Engine, asked: AssetFilter = EVERYTHING, *, limit: int = 50, before_asset_id: int | None = None
) -> tuple[AssetSummary, ...]:
    """Return the newest assets, the newest first; `before_asset_id`, the last id of one page, gives the next."""
    end = NEWEST if before_asset_id is None else before_asset_id - 1
    with reading(engine) as connection:
        keys = people(connection, asked)
        found = [] if keys is not None or asked == EVERYTHING else windows(connection, asked)
        nights = nights_of(connection, asked) if asked.names_night else None
        query = select(_shown.asset_id).where(*conditions(_shown, asked, nights or ())).order_by(_shown.asset_id.desc())
        if keys is not None:
            query = _of_people(connection, asked, keys, nights).order_by((_asset.asset_id + 0).desc())
        column = _shown.asset_id if keys is None else _asset.asset_id

        def page(size: int, last: Row[Any] | None) -> Page:
            stop = end if last is None else last.asset_id - 1
            ranges = [(0, stop)] if keys is not None or asked == EVERYTHING else steps(found, stop)
            rows = _newest(connection, query, column, ranges, size)
            return Page(rows, rows[-1] if len(rows) >= size else None)

        return _summaries_of(connection, asked, limit, page, narrow=False)


def top(
    engine: Engine, asked: AssetFilter = EVERYTHING, *, limit: int = 50, after_asset_id: int | None = None
) -> tuple[AssetSummary, ...]:
    """Return the assets with the highest score of the judge, those without one left out.

    Of the nights asked for, else of the newest that made images within the filter; of one user, of all nights.
    `after_asset_id`, the last id of one page, gives the next.

    Raises:
        NotFoundError: `after_asset_id` is unknown or has no score.
    """
    with reading(engine) as connection:
        keys, nights = people(connection, asked), nights_of(connection, asked)
        order = (_shown.score, _shown.asset_id)
        query, places = select(*_candidate), _places(nights, _shown.night_id)
        if keys is not None:
            order, places = (_asset.score, _asset.asset_id), [()]
            query = _of_people(connection, asked, keys, nights)
        query = query.where(order[0] > _LOWEST)
        start = _scored(connection, after_asset_id)
        told = asked if keys is None else EVERYTHING

        def page(size: int, last: Row[Any] | None) -> Page:
            after = start if last is None else (last.score, last.asset_id)
            return _best(connection, query, places, order, after, told, size)

        return _summaries_of(connection, asked, limit, page, narrow=_narrow(asked))


def top_rated(
    engine: Engine, asked: AssetFilter = EVERYTHING, *, limit: int = 50, after_asset_id: int | None = None
) -> tuple[RatedAsset, ...]:
    """Return the assets that people rate highest; of equal ones those with more ratings first.

    Of the nights that `top` looks at. `after_asset_id`, the last id of one page, gives the next.

    Raises:
        NotFoundError: `after_asset_id` has no rating.
    """
    order = (_rated.mean, _rated.n_ratings, _rated.asset_id)
    own = {
        field.name: _rated[field.name] if field.name in _rated else _shown[field.name] for field in fields(RatedAsset)
    }
    with reading(engine) as connection:
        keys, nights = people(connection, asked), nights_of(connection, asked)
        query = select(*own.values()).select_from(asset_rating.join(v_assets, _shown.asset_id == _rated.asset_id))
        places = _places(nights, _rated.night_id)
        if keys is not None:
            places = [(_rated.user_key.in_(keys), (_rated.night_id + 0).in_(nights))]
        start = _last(connection, select(*order).where(_rated.asset_id == after_asset_id), after_asset_id)

        def page(size: int, last: Row[Any] | None) -> Page:
            after = start if last is None else (last.mean, last.n_ratings, last.asset_id)
            return _best(connection, query, places, order, after, asked, size)

        def kept(rows: Sequence[Row[Any]]) -> list[RatedAsset]:
            live = _live(connection, [row.asset_id for row in rows]) if asked.live_only else ()
            return [_as(RatedAsset, row) for row in rows if not asked.live_only or row.asset_id in live]

        return _collect(page, kept, limit=limit, narrow=_narrow(asked))


def changed(
    engine: Engine, asked: AssetFilter = EVERYTHING, *, limit: int = 50, after: tuple[int, int] | None = None
) -> tuple[ChangedUser, ...]:
    """Return the users whose picture of a model became another one in a night, the largest shift first.

    Of the nights asked for, else of the newest in which anybody changed; of one user, of all nights. With `live_only`
    under the live model.
    `after`, the night and the new asset of the last row of one page, gives the next; the asset may be deleted since.

    Raises:
        NotFoundError: nobody changed to this asset in this night, or the night is not among those asked for.
    """
    order = (_change.shift, _change.generator_digest, _change.user_key, _change.night_id)
    with reading(engine) as connection:
        keys, nights = people(connection, asked), nights_of(connection, asked, changed=True)
        query = _changes()
        if keys is not None:
            generators = connection.scalars(select(model_version.c.generator_digest)).all()
            query = query.where(_change.user_key.in_(keys), _change.generator_digest.in_(generators))
        places = _places(nights, _change.night_id) if keys is None else [(_change.night_id.in_(nights),)]
        start = None if after is None else _place_of_change(connection, nights, *after)
        live = live_generator(connection) if asked.live_only else None

        def page(size: int, last: Row[Any] | None) -> Page:
            place = start if last is None else tuple(getattr(last, str(column.key)) for column in order)
            return _best(connection, query, places, order, place, asked, size)

        def kept(rows: Sequence[Row[Any]]) -> list[ChangedUser]:
            return [_as(ChangedUser, row) for row in rows if not asked.live_only or row.generator_digest == live]

        return _collect(page, kept, limit=limit, narrow=_narrow(asked))


class Page(NamedTuple):
    """Some rows of an answer, and the row after which the rest comes; None where there is no rest."""

    rows: Sequence[Row[Any]]
    last: Row[Any] | None


Pages = Callable[[int, Row[Any] | None], Page]


def _collect(
    page: Pages, kept: Callable[[Sequence[Row[Any]]], Sequence[T]], *, limit: int, narrow: bool
) -> tuple[T, ...]:
    """Return the first `limit` of what is kept of pages, `page(size, last row looked at)` giving the next.

    A page grows where a narrow filter leaves little of it, up to MOST rows looked at.
    """
    found, size, last = list[T](), max(limit, _FIRST) if narrow else limit, None
    while len(found) < limit:
        rows, last = page(size, last)
        found += kept(rows)
        if last is None:
            break
        size = max(size, min(size * _GROWTH, MOST))
    return tuple(found[:limit])


def _narrow(asked: AssetFilter) -> bool:
    return asked.segment is not None


def _summaries_of(
    connection: Connection, asked: AssetFilter, limit: int, page: Pages, *, narrow: bool
) -> tuple[AssetSummary, ...]:
    """Return the first `limit` assets of pages.

    What is live is told apart by the rows themselves: as a condition of the query, PostgreSQL would read the whole of
    `user_current` before the first row.
    """

    def kept(rows: Sequence[Row[Any]]) -> list[AssetSummary]:
        ids = [row.asset_id for row in rows]
        shown = _summaries(connection, ids if asked.live_only else ids[:limit])
        return [one for one in shown if one.is_live or not asked.live_only]

    return _collect(page, kept, limit=limit, narrow=narrow)


def _newest(
    connection: Connection,
    query: Select[Any],
    column: ColumnElement[int],
    ranges: Iterable[tuple[int, int]],
    limit: int,
) -> list[Row[Any]]:
    """Return the newest rows of the query with ids within the ranges, reading no further than needed."""
    rows: list[Row[Any]] = []
    for first, last in ranges:
        rows += connection.execute(query.where(column.between(first, last)).limit(limit - len(rows)))
        if len(rows) >= limit:
            break
    return rows


def _best(
    connection: Connection,
    query: Select[Any],
    places: Sequence[tuple[ColumnElement[bool], ...]],
    order: tuple[ColumnElement[Any], ...],
    after: Sequence[Any] | None,
    asked: AssetFilter,
    limit: int,
) -> Page:
    """Return what fits of the next `limit` rows of every place, from the highest `order` down.

    The limit stands inside, the filter outside: so no planner starts from the filter. A row in the last place is told
    in any case, for the rest comes after it; of several places the nearest such row counts.
    """
    if after is not None:
        query = query.where(tuple_(*order) < tuple_(*map(literal, after)))
    falling = [column.desc() for column in order]
    place = func.row_number().over(order_by=falling).label("place")
    names = [str(column.key) for column in order]
    rows: list[Row[Any]] = []
    for where in places:
        looked_at = query.add_columns(place).where(*where).order_by(*falling).limit(limit).subquery()
        told = or_(and_(true(), *conditions(looked_at.c, asked)), looked_at.c.place == limit)
        rows += connection.execute(select(looked_at).where(told))

    def key(row: Row[Any]) -> list[Any]:
        return [getattr(row, name) for name in names]

    rows.sort(key=key, reverse=True)
    last = next((row for row in rows if row.place == limit), None)
    seen = rows if last is None else rows[: rows.index(last) + 1]
    return Page([row for row in seen if fits(row, asked)], last)


def _places(nights: Sequence[int], column: ColumnElement[int]) -> list[tuple[ColumnElement[bool], ...]]:
    """Return where to look: at one night after the other."""
    return [(column == one,) for one in nights]


def _as(row_type: type[T], row: Row[Any]) -> T:
    """Return the columns of a row that a type names."""
    # every row type is a dataclass, which a type variable cannot say
    return row_type(**{field.name: getattr(row, field.name) for field in fields(row_type)})  # type: ignore[arg-type]


def _summaries(connection: Connection, ids: Sequence[int]) -> tuple[AssetSummary, ...]:
    """Return these assets in this order."""
    found = {
        row.asset_id: AssetSummary(*row) for part in chunks(ids) for row in connection.execute(_BY_IDS, {"ids": part})
    }
    return tuple(found[asset_id] for asset_id in ids)


def _live(connection: Connection, ids: Sequence[int]) -> frozenset[int]:
    """Return which of these assets users see now."""
    query = select(_shown.asset_id, _shown.is_live)
    found = (row for part in chunks(ids) for row in connection.execute(query.where(_shown.asset_id.in_(part))))
    return frozenset(row.asset_id for row in found if row.is_live)


def _of_people(
    connection: Connection, asked: AssetFilter, keys: Sequence[int], nights: Sequence[int] | None
) -> Select[tuple[int, float | None]]:
    """Return a query of these users' assets by the natural key's index, of the model asked for and of these nights."""
    generators = select(model_version.c.generator_digest)
    if asked.model_version is not None:
        generators = generators.where(model_version.c.version == asked.model_version)
    digests = connection.scalars(generators).all()
    query = select(_asset.asset_id, _asset.score).where(_asset.generator_digest.in_(digests), _asset.user_key.in_(keys))
    return query if nights is None else query.where((_asset.night_id + 0).in_(nights))


def _changes() -> Select[Any]:
    """Return a query of `user_change` with the names of what it holds as keys; those who came back are left out."""
    joined = (
        user_change.outerjoin(night, night.c.night_id == _change.night_id)
        .outerjoin(user, user.c.user_key == _change.user_key)
        .outerjoin(model_version, model_version.c.generator_digest == _change.generator_digest)
    )
    names = (night.c.day, user.c.user_id, user.c.segment, model_version.c.model_name)
    version = model_version.c.version.label("model_version")
    return select(user_change, *names, version).select_from(joined).where(_change.old_asset_id != _change.new_asset_id)


def _place_of_change(connection: Connection, nights: Sequence[int], night_id: int, asset_id: int) -> tuple[Any, ...]:
    """Return the place, in the order of `changed`, of who changed to this asset in this night.

    By the asset's owner, a key; where the asset is deleted, among all who changed in the night.

    Raises:
        NotFoundError: there is none, or the night is not one of `nights`.
    """
    here = (_change.night_id == night_id) & (_change.new_asset_id == asset_id) & _change.night_id.in_(nights)
    same = (_change.generator_digest == _asset.generator_digest) & (_change.user_key == _asset.user_key)
    place = select(_change.shift, _change.generator_digest, _change.user_key, _change.night_id).where(here)
    kept = place.select_from(asset).join(user_change, same).where(_asset.asset_id == asset_id)
    return _only(connection.execute(kept).first() or connection.execute(place).first(), asset_id)


def _scored(connection: Connection, asset_id: int | None) -> tuple[Any, ...] | None:
    scored = select(asset.c.score, asset.c.asset_id).where(asset.c.asset_id == asset_id, asset.c.score.is_not(None))
    return _last(connection, scored, asset_id)


def _last(connection: Connection, query: Select[Any], asset_id: int | None) -> tuple[Any, ...] | None:
    """Return the one row of a query, which says where a page ended; None where none was asked for.

    Raises:
        NotFoundError: there is no such row.
    """
    if asset_id is None:
        return None
    return _only(connection.execute(query).first(), asset_id)


def _only(found: Row[Any] | None, asset_id: int) -> tuple[Any, ...]:
    if found is None:
        raise NotFoundError(
            f"No page of this answer ends with asset {asset_id}. Give the last asset of the page before, with the same "
            "filters. Nothing was changed."
        )
    return tuple(found)
