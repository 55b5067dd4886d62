"""The standing questions of analysts: the newest images, the best, and who changed.

Each answers in about a millisecond at ten million images: it starts from a range of ids or an index in the order that
is asked for, reads a page of candidates, keeps those that fit, and pages by the last row that it showed, never by
counting rows. No condition is left to a planner that could start from anywhere else.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from functools import partial
from math import ceil
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine, Select

from personalgen.catalogue import question_queries as queries
from personalgen.catalogue.bulk import chunks
from personalgen.catalogue.prepared import ask, listed, padded
from personalgen.catalogue.read import reading
from personalgen.catalogue.rows import AssetSummary, ChangedUser, RatedAsset
from personalgen.catalogue.scopes import (
    EVERYTHING,
    MOST,
    NEWEST,
    AssetFilter,
    fits,
    generators_of,
    live_generator,
    newest_nights,
    newest_of,
    nights_of,
    nights_of_changes,
    people,
    share_of_segment,
    steps,
    windows,
)
from personalgen.errors import NotFoundError

_GROWTH = 4
_SPARE = 1.5
"""How many more rows are looked at than a segment's share of them makes likely to be enough."""

T = TypeVar("T")
Dated = TypeVar("Dated", AssetSummary, RatedAsset)


def latest(
    engine: Engine, asked: AssetFilter = EVERYTHING, *, limit: int = 50, before_asset_id: int | None = None
) -> tuple[AssetSummary, ...]:
    """Return the newest assets, the newest first; `before_asset_id`, the last id of one page, gives the next."""
    end = NEWEST if before_asset_id is None else before_asset_id - 1
    with reading(engine) as connection:
        keys = people(connection, asked)
        found = [] if keys is not None or asked == EVERYTHING else windows(connection, asked)
        nights = nights_of(connection, asked) if asked.names_night else None
        if keys is None:
            n_nights = padded(len(nights or ()))
            query = partial(
                ask, connection, newest_of, asked.shape, n_nights, **asked.values, **listed("nights", nights or ())
            )
        else:
            shape, values = _of_people(connection, asked, keys, nights)
            query = partial(ask, connection, queries.newest_of_people, *shape, **values)

        def page(size: int, last: Any) -> Page:
            stop = end if last is None else last.asset_id - 1
            ranges = [(0, stop)] if keys is not None or asked == EVERYTHING else steps(found, stop)
            rows = _newest(query, ranges, size)
            return Page(rows, rows[-1] if len(rows) >= size else None)

        return _summaries_of(connection, asked, limit, page, first=limit)


def top(
    engine: Engine, asked: AssetFilter = EVERYTHING, *, limit: int = 50, after_asset_id: int | None = None
) -> tuple[AssetSummary, ...]:
    """Return the assets with the highest score of the judge, those without one left out.

    Of the nights asked for, else of the newest that has such assets; of one user, of all nights. `after_asset_id`, the
    last id of one page, gives the next, of the same night.

    Raises:
        NotFoundError: `after_asset_id` is unknown or has no score.
    """
    with reading(engine) as connection:
        keys, start = people(connection, asked), _start(connection, queries.place_by_score, after_asset_id)
        nights = _nights_asked(connection, asked, start)
        if keys is None:

            def best(among: Sequence[int]) -> tuple[AssetSummary, ...]:
                places, shape = _nights(among), (asked.shape,)
                order, first = queries.BY_SCORE, _first_page(connection, asked, among, limit)
                page = partial(_best, connection, queries.candidates, shape, places, order, asked)
                return _summaries_of(connection, asked, limit, lambda n, last: page(last or start, n), first=first)

            return _of_newest(best, nights, newest_nights(connection, asked))
        of_newest = nights is None and asked.user_id is None
        order = queries.BY_NIGHT_AND_OWN_SCORE if of_newest else queries.BY_OWN_SCORE
        shape, values = _of_people(connection, asked, keys, nights)
        page = partial(_best, connection, queries.best_of_people, shape, [values], order, EVERYTHING)
        found = _summaries_of(connection, asked, limit, lambda size, last: page(last or start, size), first=limit)
        return _of_first_night(found) if of_newest else found


def top_rated(
    engine: Engine, asked: AssetFilter = EVERYTHING, *, limit: int = 50, after_asset_id: int | None = None
) -> tuple[RatedAsset, ...]:
    """Return the assets that people rate highest; of equal ones those with more ratings first.

    Of the nights asked for, else of the newest that has such assets; of one user, of all nights. `after_asset_id`, the
    last id of one page, gives the next, of the same night.

    Raises:
        NotFoundError: `after_asset_id` has no rating.
    """
    with reading(engine) as connection:
        keys, start = people(connection, asked), _start(connection, queries.place_by_rating, after_asset_id)
        nights = _nights_asked(connection, asked, start)

        def kept(rows: Sequence[Any]) -> list[RatedAsset]:
            live = _live(connection, [row.asset_id for row in rows]) if asked.live_only else ()
            return [_as(RatedAsset, row) for row in rows if not asked.live_only or row.asset_id in live]

        def best(
            shape: tuple[Any, ...], places: Sequence[dict[str, int]], order: queries.Order, first: int
        ) -> tuple[RatedAsset, ...]:
            page = partial(_best, connection, queries.ratings, shape, places, order, asked)
            return _collect(lambda size, last: page(last or start, size), kept, limit=limit, first=first)

        if keys is None:
            return _of_newest(
                lambda among: best(
                    (None, None), _nights(among), queries.BY_RATING, _first_page(connection, asked, among, limit)
                ),
                nights,
                newest_nights(connection, asked, rated=True),
            )
        of_newest = nights is None and asked.user_id is None
        order = queries.BY_NIGHT_AND_RATING if of_newest else queries.BY_RATING
        shape = (padded(len(keys)), None if nights is None else padded(len(nights)))
        found = best(shape, [listed("keys", keys) | listed("nights", nights or ())], order, limit)
        return _of_first_night(found) if of_newest else found


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
    with reading(engine) as connection:
        keys, nights = people(connection, asked), nights_of_changes(connection, asked)
        places, shape = _nights(nights), (0, 0, 0)
        if keys is not None:
            generators = generators_of(connection, EVERYTHING)
            places = [listed("keys", keys) | listed("generators", generators) | listed("nights", nights)]
            shape = (padded(len(keys)), padded(len(generators)), padded(len(nights)))
        start = None if after is None else _place_of_change(connection, nights, *after)
        live = live_generator(connection) if asked.live_only else None
        first = limit if keys is not None else _first_page(connection, asked, nights, limit, changed=True)

        def page(size: int, last: Any) -> Page:
            return _best(connection, queries.changes, shape, places, queries.BY_SHIFT, asked, last or start, size)

        def kept(rows: Sequence[Any]) -> list[ChangedUser]:
            return [_as(ChangedUser, row) for row in rows if not asked.live_only or row.generator_digest == live]

        return _collect(page, kept, limit=limit, first=first)


class Page(NamedTuple):
    """Some rows of an answer, and the row after which the rest comes; None where there is no rest."""

    rows: Sequence[Any]
    last: Any


Pages = Callable[[int, Any], Page]


def _collect(page: Pages, kept: Callable[[Sequence[Any]], Sequence[T]], *, limit: int, first: int) -> tuple[T, ...]:
    """Return the first `limit` of what is kept of pages, `page(size, last row looked at)` giving the next.

    The first page has `first` rows; a page grows where a narrow filter leaves little of it, up to MOST rows looked at.
    """
    found, size, last = list[T](), first, None
    while len(found) < limit:
        rows, last = page(size, last)
        found += kept(rows)
        if last is None:
            break
        size = max(size, min(size * _GROWTH, MOST))
    return tuple(found[:limit])


def _first_page(
    connection: Connection, asked: AssetFilter, nights: Sequence[int], limit: int, *, changed: bool = False
) -> int:
    """Return how many rows to look at first, so that those of the segment asked for are likely enough."""
    if asked.segment is None:
        return limit
    share = share_of_segment(connection, asked, nights, changed=changed)
    return limit if not share else max(limit, min(MOST, ceil(limit / share * _SPARE)))


def _summaries_of(
    connection: Connection, asked: AssetFilter, limit: int, page: Pages, *, first: int
) -> tuple[AssetSummary, ...]:
    """Return the first `limit` assets of pages.

    What is live is told apart by the rows themselves: as a condition of the query, PostgreSQL would read the whole of
    `user_current` before the first row.
    """

    def kept(rows: Sequence[Any]) -> list[AssetSummary]:
        ids = [row.asset_id for row in rows]
        shown = _summaries(connection, ids if asked.live_only else ids[:limit])
        return [one for one in shown if one.is_live or not asked.live_only]

    return _collect(page, kept, limit=limit, first=first)


def _newest(query: Callable[..., list[Any]], ranges: Iterable[tuple[int, int]], limit: int) -> list[Any]:
    """Return the newest rows of the query with ids within the ranges, reading no further than needed."""
    rows: list[Any] = []
    for first, last in ranges:
        rows += query(first=first, last=last, limit=limit - len(rows))
        if len(rows) >= limit:
            break
    return rows


def _best(
    connection: Connection,
    build: Callable[..., Select[Any]],
    shape: tuple[Any, ...],
    places: Sequence[dict[str, Any]],
    order: queries.Order,
    asked: AssetFilter,
    after: Any,
    limit: int,
) -> Page:
    """Return what fits of the next `limit` rows of every place, from the highest `order` down.

    A place is a set of bound values. The database is asked for candidates in their order and filters none of them: so
    no planner starts from the filter. The rest of an answer comes after the last row of a full place; of several
    places the nearest such row counts.
    """
    names = [str(column.key) for column in order]
    told = {f"after_{name}": getattr(after, name) for name in names} if after is not None else {}
    rows: list[Any] = []
    ends: list[Any] = []
    for values in places:
        found = ask(connection, queries.falling, build, shape, order, tuple(told), **values, **told, limit=limit)
        rows += found
        ends += found[-1:] if len(found) == limit else []

    def key(row: Any) -> list[Any]:
        return [getattr(row, name) for name in names]

    rows.sort(key=key, reverse=True)
    last = max(ends, key=key, default=None)
    seen = rows if last is None else rows[: rows.index(last) + 1]
    return Page([row for row in seen if fits(row, asked)], last)


def _nights_asked(connection: Connection, asked: AssetFilter, start: Any) -> tuple[int, ...] | None:
    """Return the nights that the best are asked of: those named, or that of the page before.

    None stands for all nights of one user, and else for the newest that has an answer.
    """
    if asked.names_night:
        return nights_of(connection, asked)
    return None if start is None or asked.user_id is not None else (start.night_id,)


def _of_newest(
    ask_of: Callable[[Sequence[int]], tuple[T, ...]], nights: Sequence[int] | None, newest: Iterable[int]
) -> tuple[T, ...]:
    """Return the answer of these nights together, or where none are given that of the newest night that has one."""
    groups = ((one,) for one in newest) if nights is None else (nights,)
    return next(filter(None, map(ask_of, groups)), ())


def _of_first_night(found: tuple[Dated, ...]) -> tuple[Dated, ...]:
    """Return the rows, the newest night first, that are of the first row's night."""
    return tuple(one for one in found if one.night_id == found[0].night_id)


def _nights(nights: Sequence[int]) -> list[dict[str, Any]]:
    """Return where to look: at one night after the other."""
    return [{"night": one} for one in nights]


def _as(row_type: type[T], row: Any) -> T:
    """Return the columns of a row that a type names."""
    # every row type is a dataclass, which a type variable cannot say
    return row_type(**{field.name: getattr(row, field.name) for field in fields(row_type)})  # type: ignore[arg-type]


def _summaries(connection: Connection, ids: Sequence[int]) -> tuple[AssetSummary, ...]:
    """Return these assets in this order; without those that were deleted since their ids were found."""
    found = {
        row.asset_id: AssetSummary(*row)
        for part in chunks(ids)
        for row in ask(connection, queries.by_ids, padded(len(part)), **listed("ids", part))
    }
    return tuple(found[asset_id] for asset_id in ids if asset_id in found)


def _live(connection: Connection, ids: Sequence[int]) -> frozenset[int]:
    """Return which of these assets users see now."""
    parts = chunks(ids)
    found = (
        row for part in parts for row in ask(connection, queries.live_ids, padded(len(part)), **listed("ids", part))
    )
    return frozenset(row.asset_id for row in found if row.is_live)


def _of_people(
    connection: Connection, asked: AssetFilter, keys: Sequence[int], nights: Sequence[int] | None
) -> tuple[tuple[Any, ...], dict[str, int]]:
    """Return shape and values of `_own` for these users, the model asked for and these nights."""
    generators = generators_of(connection, replace(asked, live_only=False))
    shape = (padded(len(keys)), padded(len(generators)), None if nights is None else padded(len(nights)))
    return shape, listed("keys", keys) | listed("generators", generators) | listed("nights", nights or ())


def _place_of_change(connection: Connection, nights: Sequence[int], night_id: int, asset_id: int) -> Any:
    """Return the place, in the order of `changed`, of who changed to this asset in this night.

    By the asset's owner, a key; where the asset is deleted, among all who changed in the night.

    Raises:
        NotFoundError: there is none, or the night is not one of `nights`.
    """
    values = {"night": night_id, "asset": asset_id} | listed("nights", nights)
    count = padded(len(nights))
    kept = ask(connection, queries.changed_to_own, count, **values)
    return _only(kept or ask(connection, queries.changed_to, count, **values), asset_id)


def _start(connection: Connection, build: Callable[[], Select[Any]], asset_id: int | None) -> Any:
    """Return the row after which a page begins; None where none was asked for.

    Raises:
        NotFoundError: there is no such row.
    """
    return None if asset_id is None else _only(ask(connection, build, asset=asset_id), asset_id)


def _only(found: Sequence[Any], asset_id: int) -> Any:
    if not found:
        raise NotFoundError(
            f"No page of this answer ends with asset {asset_id}. Give the last asset of the page before, with the same "
            "filters. Nothing was changed."
        )
    return found[0]
