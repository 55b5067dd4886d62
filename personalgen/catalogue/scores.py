"""The judge's scores of a night's images: which ones wait for one, and writing them with the sums that tell of them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import BigInteger, Column, Connection, Double, Engine, MetaData, Table, func, select, update

from personalgen.catalogue.bulk import execute_rows, insert_into, staged
from personalgen.catalogue.engine import transaction
from personalgen.catalogue.read import reading
from personalgen.catalogue.rollups import NO_SEGMENT, SUM_KEY, nothing_made
from personalgen.catalogue.schema import asset, daily_stat, shard, user

_PAGE = 1024
_scored = Table(
    "scored_asset", MetaData(), Column("asset_id", BigInteger), Column("value", Double), prefixes=["TEMPORARY"]
)
"""The scores that are being written."""


class UnscoredAsset(NamedTuple):
    """An image without a score, and where its bytes lie."""

    asset_id: int
    user_key: int
    shard_path: str
    """Relative to the shard root."""
    shard_offset: int
    byte_length: int
    crc32: int


def unscored(engine: Engine, night_id: int, *, most: int | None = None) -> Iterator[tuple[UnscoredAsset, ...]]:
    """Yield the images of a night that have no score, in the order of their bytes, about a thousand at a time.

    Of more than `most` images those with the smallest seeds: the same people every night, however often this is asked.
    Pages are ranges of ids, so that those of an interrupted run come again as they were.
    """
    with reading(engine) as connection:
        ends = select(func.min(daily_stat.c.first_asset_id), func.max(daily_stat.c.last_asset_id))
        first, last = connection.execute(ends.where(daily_stat.c.night_id == night_id)).one()
        limit = None if most is None else _largest_seed(connection, night_id, most)
    if first is None or (most is not None and limit is None):
        return
    query = (
        select(*(asset.c[name] for name in ("asset_id", "user_key")), shard.c.path)
        .add_columns(*(asset.c[name] for name in ("shard_offset", "byte_length", "crc32")))
        .join(shard, shard.c.shard_id == asset.c.shard_id)
        .where(asset.c.night_id + 0 == night_id, asset.c.score.is_(None))
        .order_by(asset.c.asset_id)
    )
    if limit is not None:
        query = query.where(asset.c.seed <= limit)
    for start in range(first, last + 1, _PAGE):
        with reading(engine) as connection:
            rows = connection.execute(query.where(asset.c.asset_id.between(start, start + _PAGE - 1))).all()
        if rows:
            yield tuple(UnscoredAsset(*row) for row in rows)


def record_scores(engine: Engine, scores: Sequence[tuple[int, float]]) -> int:
    """Write (asset id, score) pairs, and add them to `daily_stat`; return how many are new.

    An image that has a score keeps it. All are written, or none.

    Raises:
        CatalogueError: the database refused. Nothing was changed.
    """
    with transaction(engine) as connection, staged(connection, _scored, scores):
        _add_to_daily_stat(connection)
        fresh = update(asset).where(asset.c.asset_id == _scored.c.asset_id, asset.c.score.is_(None))
        return connection.execute(fresh.values(score=_scored.c.value)).rowcount


def scores_of_night(engine: Engine, night_id: int) -> tuple[int, float | None]:
    """Return how many images of a night have a score, and their mean; None where none has."""
    query = select(func.count(asset.c.score), func.avg(asset.c.score)).where(asset.c.night_id == night_id)
    with reading(engine) as connection:
        count, mean = connection.execute(query).one()
    return count, mean


def _largest_seed(connection: Connection, night_id: int, most: int) -> int | None:
    """Return the largest of the `most` smallest seeds of a night, None where `most` is 0 or the night has no image."""
    smallest = select(asset.c.seed).where(asset.c.night_id == night_id).order_by(asset.c.seed).limit(most).subquery()
    largest: int | None = connection.scalar(select(func.max(smallest.c.seed)))
    return largest


def _add_to_daily_stat(connection: Connection) -> None:
    """Add the staged scores of images that have none yet, by night, model and segment."""
    segment = func.coalesce(user.c.segment, NO_SEGMENT).label("segment")
    keys = (asset.c.night_id, asset.c.model_version_id, segment)
    sums = (func.count().label("n_scored"), func.sum(_scored.c.value).label("score_sum"))
    made = (
        select(*keys, *sums)
        .select_from(_scored.join(asset, asset.c.asset_id == _scored.c.asset_id))
        .outerjoin(user, user.c.user_key == asset.c.user_key)
        .where(asset.c.score.is_(None))
        .group_by(*keys)
        .order_by(*keys)
    )
    rows = [{**nothing_made(), **row._asdict()} for row in connection.execute(made)]
    insert = insert_into(connection, daily_stat)
    added = {name: daily_stat.c[name] + insert.excluded[name] for name in ("n_scored", "score_sum")}
    execute_rows(
        connection,
        insert.on_conflict_do_update(index_elements=[daily_stat.c[name] for name in SUM_KEY], set_=added),
        rows,
    )
