"""The standing questions of analysts: the newest images, the best, and who changed.

Each answers in about a millisecond at ten million images: it starts from a range of ids or an index in the order that
is asked for, keeps the rows that fit (`fitting`) until there are enough, and pages by the last row that it showed,
never by counting rows. No condition is left to a planner that could start from anywhere else.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Select

from personalgen.catalogue import question_queries as queries
from personalgen.catalogue.bulk import chunks
from personalgen.catalogue.prepared import Build, ask, listed, padded
from personalgen.catalogue.read import reading
from personalgen.catalogue.rows import AssetSummary, ChangedUser, RatedAsset
from personalgen.catalogue.scopes import (
    EVERYTHING,
    NEWEST,
    AssetFilter,
    generators_of,
    newest_nights,
    nights_of,
    nights_of_changes,
    people,
    steps,
    windows,
)
from personalgen.errors import NotFoundError

T = TypeVar("T")
Dated = TypeVar("Dated", AssetSummary, RatedAsset)


def latest(
    engine: Engine, asked: AssetFilter = EVERYTHING, *, limit: int = 50, before_asset_id: int | None = None
) -> tuple[AssetSummary, ...]:
    """Return the newest assets, the newest first; `before_asset_id`, the last id of one page, gives the next."""
    end = NEWEST if before_asset_id is None else before_asset_id - 1
    with reading(engine) as connection:
        keys = people(connection, asked)
        nights = nights_of(connection, asked) if asked.names_night else None
        if keys is None:
            ranges = [(0, end)] if asked == EVERYTHING else steps(windows(connection, asked), end)
            n_nights = padded(len(nights or ()))
            query = partial(ask, connection, queries.newest, asked.shape, n_nights, **listed("nights", nights or ()))
        else:
            ranges, (shape, values) = [(0, end)], _of_people(connection, asked, keys, nights)
            query = partial(ask, connection, queries.newest_of_people, *shape, **values)
        ids: list[int] = []
        for first, last in ranges:
            if len(ids) == limit:
                break
            found = query(first=first, last=last, limit=limit - len(ids), **asked.values)
            ids += [row.asset_id for row in found]
        return _summaries(connection, ids)


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

        def best(
            build: Build, shape: tuple[Any, ...], places: Sequence[dict[str, int]], order: queries.Order
        ) -> tuple[AssetSummary, ...]:
            found = _best(connection, build, shape, places, order, asked, start, limit)
            return _summaries(connection, [row.asset_id for row in found])

        if keys is None:
            of_night = partial(best, queries.best_of_night, (asked.shape,), order=queries.BY_SCORE)
            return _of_newest(lambda among: of_night(_nights(among)), nights, newest_nights(connection, asked))
        of_newest = nights is None and asked.user_id is None
        order = queries.BY_NIGHT_AND_SCORE if of_newest else queries.BY_SCORE
        shape, values = _of_people(connection, asked, keys, nights)
        found = best(queries.best_of_people, shape, [values], order)
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

        def best(
            shape: tuple[Any, ...], places: Sequence[dict[str, int]], order: queries.Order
        ) -> tuple[RatedAsset, ...]:
            found = _best(connection, queries.ratings, (asked.shape, *shape), places, order, asked, start, limit)
            said = {row.asset_id: {"mean": row.mean, "n_ratings": row.n_ratings} for row in found}
            return tuple(_as(RatedAsset, one, **said[one.asset_id]) for one in _summaries(connection, list(said)))

        if keys is None:
            return _of_newest(
                lambda among: best((None, None), _nights(among), queries.BY_RATING),
                nights,
                newest_nights(connection, asked, rated=True),
            )
        of_newest = nights is None and asked.user_id is None
        order = queries.BY_NIGHT_AND_RATING if of_newest else queries.BY_RATING
        shape = (padded(len(keys)), None if nights is None else padded(len(nights)))
        found = best(shape, [listed("keys", keys) | listed("nights", nights or ())], order)
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
        keys = people(connection, asked)
        nights = nights_of_changes(connection, asked, keys)
        places, shape = _nights(nights), (0, 0, 0)
        if keys is not None:
            generators = generators_of(connection, EVERYTHING)
            places = [listed("keys", keys) | listed("generators", generators) | listed("nights", nights)]
            shape = (padded(len(keys)), padded(len(generators)), padded(len(nights)))
        start = None if after is None else _place_of_change(connection, nights, *after)
        order = queries.BY_SHIFT
        found = _best(connection, queries.changes, (asked.shape, *shape), places, order, asked, start, limit)
        return tuple(_as(ChangedUser, row) for row in found)


def _best(
    connection: Connection,
    build: Build,
    shape: tuple[Any, ...],
    places: Sequence[dict[str, Any]],
    order: queries.Order,
    asked: AssetFilter,
    after: Any,
    limit: int,
) -> list[Any]:
    """Return the first `limit` rows of all places together, from the highest `order` down, those after a row if given.

    A place is a set of bound values: each is asked by itself, so that each is read in the order of an index.
    """
    names = [str(column.key) for column in order]
    told = {f"after_{name}": getattr(after, name) for name in names} if after is not None else {}
    query = partial(ask, connection, queries.falling, build, shape, order, tuple(told))
    rows = [row for values in places for row in query(**values, **told, **asked.values, limit=limit)]
    if len(places) > 1:
        rows.sort(key=lambda row: [getattr(row, name) for name in names], reverse=True)
    return rows[:limit]


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


def _as(row_type: type[T], row: Any, **more: Any) -> T:
    """Return the columns of a row that a type names, and those given by name."""
    # every row type is a dataclass, which a type variable cannot say
    names = [field.name for field in fields(row_type) if field.name not in more]  # type: ignore[arg-type]
    return row_type(**{name: getattr(row, name) for name in names}, **more)


def _summaries(connection: Connection, ids: Sequence[int]) -> tuple[AssetSummary, ...]:
    """Return these assets in this order; without those that were deleted since their ids were found."""
    found = {
        row.asset_id: AssetSummary(*row)
        for part in chunks(ids)
        for row in ask(connection, queries.by_ids, padded(len(part)), **listed("ids", part))
    }
    return tuple(found[asset_id] for asset_id in ids if asset_id in found)


def _of_people(
    connection: Connection, asked: AssetFilter, keys: Sequence[int], nights: Sequence[int] | None
) -> tuple[tuple[Any, ...], dict[str, int]]:
    """Return shape and values of `_own` for these users, the model asked for and these nights."""
    generators = generators_of(connection, replace(asked, live_only=False))
    n_nights = None if nights is None else padded(len(nights))
    shape = (asked.shape, padded(len(keys)), padded(len(generators)), n_nights)
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
