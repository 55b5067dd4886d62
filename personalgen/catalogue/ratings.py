"""People's opinions of assets: written by whoever asks people, read to come back as events."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine, Select, delete, func, or_, select

from personalgen.catalogue.bulk import chunks, execute_rows, insert_into
from personalgen.catalogue.engine import transaction
from personalgen.catalogue.facts import RatingFacts
from personalgen.catalogue.read import reading
from personalgen.catalogue.rows import Rating
from personalgen.catalogue.schema import asset, asset_rating, is_silent, rating, shard, user
from personalgen.errors import NotFoundError


class OwnRating(NamedTuple):
    """What a person said of a picture made for this very person, and where its bytes lie."""

    user_id: str
    asset_id: int
    value: float
    """-1 (dislikes it) to 1 (likes it)."""
    at: datetime
    shard_path: str
    """Relative to the shard root."""
    shard_offset: int
    byte_length: int
    crc32: int


S = TypeVar("S", bound=Select[Any])
_KEY = (rating.c.asset_id, rating.c.rater)
"""What makes an opinion the same opinion."""
_OWNED = (
    select(asset.c.asset_id, asset.c.user_key).join(user, user.c.user_key == asset.c.user_key).where(~user.c.forgotten)
)
"""For whom each asset was made, but for people who were forgotten."""


def record_ratings(engine: Engine, facts: Sequence[RatingFacts]) -> int:
    """Write opinions of assets; return how many rows are new or changed.

    The same opinion again changes nothing; another one of the same rater replaces it, unless it is older. All are
    written, or none.

    Raises:
        NotFoundError: an asset is unknown, or its person was forgotten. Nothing was changed.
        CatalogueError: a value outside -1 to 1, or another source. Nothing was changed.
    """
    with transaction(engine) as connection:
        owners = _owners(connection, sorted({each.asset_id for each in facts}))
        rows = [{**asdict(each), "user_key": owners[each.asset_id]} for each in facts]
        insert = insert_into(connection, rating)
        new = insert.excluded
        fresh = {name: new[name] for name in ("value", "source", "at")}
        newer = (new["at"] >= rating.c["at"]) & or_(new["value"] != rating.c.value, new["at"] != rating.c["at"])
        upsert = insert.on_conflict_do_update(index_elements=_KEY, set_=fresh, where=newer)
        n_written = execute_rows(connection, upsert, rows)
        _sum_up(connection, list(owners))
    return n_written


def ratings(
    engine: Engine, *, user_id: str | None = None, asset_id: int | None = None, after_rating_id: int = 0,
    limit: int = 10_000,
) -> tuple[Rating, ...]:  # fmt: skip
    """Return opinions, the oldest first: all, or those of an asset, or of the assets made for a user.

    `after_rating_id`, the last id of one page, gives the next.
    """
    columns = [rating.c[field.name] for field in fields(Rating) if field.name != "user_id"]
    query = select(*columns, user.c.user_id).join(user, user.c.user_key == rating.c.user_key)
    query = query.where(rating.c.rating_id > after_rating_id).order_by(rating.c.rating_id).limit(limit)
    if asset_id is not None:
        query = query.where(rating.c.asset_id == asset_id)
    if user_id is not None:
        owner = select(user.c.user_key).where(user.c.user_id == user_id).scalar_subquery()
        query = query.where(rating.c.user_key == owner)
    with reading(engine) as connection:
        return tuple(Rating(**row._asdict()) for row in connection.execute(query))


def own_ratings(engine: Engine, *, before: datetime) -> tuple[OwnRating, ...]:
    """Return what people said of pictures made for themselves before an instant, in the order of the pictures' bytes.

    Others' opinions, an analyst's say, are no taste of the person; who is silent says nothing any more.
    """
    places = (asset.c.shard_offset, asset.c.byte_length, asset.c.crc32)
    query = (
        select(user.c.user_id, rating.c.asset_id, rating.c.value, rating.c["at"], shard.c.path, *places)
        .join(user, user.c.user_key == rating.c.user_key)
        .join(asset, asset.c.asset_id == rating.c.asset_id)
        .join(shard, shard.c.shard_id == asset.c.shard_id)
        .where(rating.c.rater == user.c.user_id, rating.c["at"] < before, ~is_silent)
        .order_by(rating.c.asset_id)
    )
    with reading(engine) as connection:
        return tuple(OwnRating(*row) for row in connection.execute(query))


def delete_opinions_of(connection: Connection, raters: Sequence[str]) -> dict[str, int]:
    """Delete what these raters said, of anybody's assets, and sum up those assets again; return how many by rater."""
    columns, counts = rating.c, Counter[str]()
    for part in chunks(raters):
        told = columns.rater.in_(part)
        rows = connection.execute(select(columns.asset_id, columns.rater).where(told)).all()
        counts.update(row.rater for row in rows)
        ids = sorted({row.asset_id for row in rows})
        for some in chunks(ids):
            connection.execute(_locked(select(asset.c.asset_id)).where(asset.c.asset_id.in_(some)))
        connection.execute(delete(rating).where(told))
        _sum_up(connection, ids)
    return counts


def can_be_rated(engine: Engine, asset_ids: Collection[int]) -> frozenset[int]:
    """Return which of these assets are there, made for somebody who was not forgotten."""
    found: set[int] = set()
    with reading(engine) as connection:
        for part in chunks(sorted(asset_ids)):
            found.update(row.asset_id for row in connection.execute(_OWNED.where(asset.c.asset_id.in_(part))))
    return frozenset(found)


def _locked(query: S) -> S:
    """Return a query of assets that locks them until the transaction ends, in one order for all writers."""
    return query.order_by(asset.c.asset_id).with_for_update(of=asset, key_share=True)


def _owners(connection: Connection, asset_ids: Sequence[int]) -> dict[int, int]:
    """Return for whom each asset was made; none may be unknown, nor made for a person who was forgotten.

    On PostgreSQL the assets' rows are locked, in one order for all writers: whoever rates the same asset waits until
    these opinions are summed up, and sums up theirs too. On SQLite there is one writer at a time.
    """
    found: dict[int, int] = {}
    for part in chunks(asset_ids):
        own = _locked(_OWNED).where(asset.c.asset_id.in_(part))
        found.update((row.asset_id, row.user_key) for row in connection.execute(own))
    if missing := [asset_id for asset_id in asset_ids if asset_id not in found]:
        raise NotFoundError(
            f"{len(missing)} of {len(asset_ids)} rated assets are unknown to the catalogue or were made for somebody "
            f"who was forgotten, the first being asset {missing[0]}. Leave them out. Nothing was changed."
        )
    return found


def _sum_up(connection: Connection, asset_ids: Collection[int]) -> None:
    """Make the rows of `asset_rating` say what `rating` holds of these assets."""
    for part in chunks(sorted(asset_ids)):
        connection.execute(delete(asset_rating).where(asset_rating.c.asset_id.in_(part)))
        together = (
            select(rating.c.asset_id, rating.c.user_key, asset.c.night_id, func.count(), func.avg(rating.c.value))
            .join(asset, asset.c.asset_id == rating.c.asset_id)
            .where(rating.c.asset_id.in_(part))
            .group_by(rating.c.asset_id, rating.c.user_key, asset.c.night_id)
        )
        names = [column.name for column in asset_rating.columns]
        connection.execute(asset_rating.insert().from_select(names, together))
