"""Keeps `daily_stat` and `user_change` inside the transaction of what they count: never out of step."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Dialect,
    bindparam,
    case,
    distinct,
    func,
    literal,
    select,
)
from sqlalchemy.sql.dml import Insert

from personalgen.catalogue.bulk import chunks, dialect_insert, execute_rows, execute_tuples, execute_upsert, insert_into
from personalgen.catalogue.schema import asset, daily_stat, model_version, user, user_change, user_current

SUM_KEY = ("night_id", "model_version_id", "segment")
_SUMS = ("n_images", "n_users", "n_changed", "n_bytes", "n_scored", "score_sum")
_RANGE = ("first_asset_id", "last_asset_id")
NO_SEGMENT = ""


def nothing_made() -> dict[str, Any]:
    """Return the values of a row of daily_stat, besides its key, of a night in which nothing was made."""
    return dict.fromkeys(_SUMS, 0) | dict.fromkeys(_RANGE)


def newest_asset_id(connection: Connection) -> int:
    """Return the largest id so far, 0 where there is no asset; those inserted from now on are above it."""
    return int(connection.scalar(select(func.max(asset.c.asset_id))) or 0)


def add_to_daily_stat(connection: Connection, *, shard_id: int, after_asset_id: int) -> None:
    """Count the assets of a shard that were inserted in this transaction, after `newest_asset_id` was asked.

    Rows that existed already were not inserted, so that a rerun adds nothing.
    """
    execute_upsert(connection, _sums_of_shard, counted_shard_id=shard_id, after_asset_id=after_asset_id)


def _sums_of_shard(dialect: Dialect) -> Insert:
    """Return the upsert of daily_stat from the new assets of a shard, by segment."""
    segment = func.coalesce(user.c.segment, NO_SEGMENT).label("segment")
    first_pictures = case((asset.c.variant == 0, asset.c.user_key))
    sums = (
        func.count(), func.count(distinct(first_pictures)), literal(0), func.sum(asset.c.byte_length),
        func.count(asset.c.score), func.coalesce(func.sum(asset.c.score), 0.0),
        func.min(asset.c.asset_id), func.max(asset.c.asset_id),
    )  # fmt: skip
    made = (
        select(asset.c.night_id, asset.c.model_version_id, segment, *sums)
        .select_from(asset.outerjoin(user, user.c.user_key == asset.c.user_key))
        .where(
            asset.c.asset_id > bindparam("after_asset_id", type_=BigInteger),
            asset.c.shard_id == bindparam("counted_shard_id", type_=BigInteger),
        )
        .group_by(asset.c.night_id, asset.c.model_version_id, segment)
        .order_by(segment)  # two writers take the rows' locks in one order
    )
    insert = dialect_insert(dialect, daily_stat).from_select([*SUM_KEY, *_SUMS, *_RANGE], made)
    table, new = daily_stat.c, insert.excluded
    first, last = (func.coalesce(table[name], new[name]) for name in _RANGE)
    added = {name: table[name] + new[name] for name in _SUMS}
    added |= {
        "first_asset_id": case((new.first_asset_id < first, new.first_asset_id), else_=first),
        "last_asset_id": case((new.last_asset_id > last, new.last_asset_id), else_=last),
    }
    return insert.on_conflict_do_update(index_elements=[table[name] for name in SUM_KEY], set_=added)


@contextmanager
def changes_recorded(
    connection: Connection, *, generator_digest: int, night_id: int, user_keys: Sequence[int]
) -> Iterator[None]:
    """Write who of these users has another current asset at the end of the block than at its beginning.

    A second move in the same night keeps the first old asset; moving to where one is already writes nothing.
    """
    scope = _Scope(generator_digest, night_id)
    before = _current(connection, generator_digest, sorted(set(user_keys)))
    yield
    if not before:
        return
    after = _current(connection, generator_digest, sorted(before))
    moved = sorted(key for key, place in before.items() if after[key].asset_id != place.asset_id)
    for part in chunks(moved):
        more = _write_changes(connection, scope, part, before, after)
        _add_changed(connection, scope, {segment: count for segment, count in more.items() if count})


class _Scope(NamedTuple):
    generator_digest: int
    night_id: int


class _Place(NamedTuple):
    asset_id: int
    condition: bytes
    segment: str | None


def shifts(before: Sequence[bytes], after: Sequence[bytes]) -> NDArray[np.float64]:
    """Return (n,) 1 - cosine of conditions (little-endian float32, all of one width), row by row.

    Two zero rows are at distance 0, a zero row and another at distance 1; equal rows at exactly 0.
    """
    old, new = (np.frombuffer(b"".join(rows), dtype="<f4").reshape(len(rows), -1) for rows in (before, after))
    norms = np.linalg.norm(old, axis=1).astype(np.float64) * np.linalg.norm(new, axis=1)
    dots = np.einsum("nd,nd->n", old, new, dtype=np.float64)
    cosine = np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0)
    return np.where((old == new).all(axis=1), 0.0, 1.0 - np.clip(cosine, -1.0, 1.0))


def _among(column: Column[int], keys: Sequence[int]) -> ColumnElement[bool]:
    """Return a condition that rows of these keys meet, in ascending order; a range where few others lie between."""
    dense = keys[-1] - keys[0] < 2 * len(keys)
    return column.between(keys[0], keys[-1]) if dense else column.in_(keys)


def _current(connection: Connection, generator_digest: int, user_keys: Sequence[int]) -> dict[int, _Place]:
    """Return where these users (ascending) stand under a generator."""
    found: dict[int, _Place] = {}
    columns = user_current.c
    query = select(columns.user_key, columns.asset_id, columns.condition, user.c.segment)
    query = query.join(user, user.c.user_key == columns.user_key).where(columns.generator_digest == generator_digest)
    for part in chunks(user_keys):
        rows = connection.execute(query.where(_among(columns.user_key, part)))
        found.update((key, _Place(*place)) for key, *place in rows)
    return found


def _write_changes(
    connection: Connection,
    scope: _Scope,
    user_keys: Sequence[int],
    before: Mapping[int, _Place],
    after: Mapping[int, _Place],
) -> Counter[str]:
    """Write the changes of users who moved; return how many more of each segment count as changed than before."""
    far = shifts([before[key].condition for key in user_keys], [after[key].condition for key in user_keys])
    known, more, rows = _known_changes(connection, scope, user_keys), Counter[str](), []
    for key, shift in zip(user_keys, far.tolist(), strict=True):
        new = after[key].asset_id
        old, earlier = known.get(key, (before[key].asset_id, before[key].asset_id))
        more[after[key].segment or NO_SEGMENT] += (old != new) - (old != earlier)
        rows.append((scope.night_id, scope.generator_digest, key, old, new, shift))
    insert = insert_into(connection, user_change)
    again = insert.on_conflict_do_update(
        index_elements=list(user_change.primary_key),
        set_={"new_asset_id": insert.excluded.new_asset_id, "shift": insert.excluded.shift},
    )
    execute_tuples(connection, again, [column.name for column in user_change.columns], rows)
    return more


def _known_changes(connection: Connection, scope: _Scope, user_keys: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Return the old and the new asset of those of these users who moved earlier in this night."""
    columns = user_change.c
    query = select(columns.user_key, columns.old_asset_id, columns.new_asset_id).where(
        columns.night_id == scope.night_id,
        columns.generator_digest == scope.generator_digest,
        _among(columns.user_key, user_keys),
    )
    return {key: (old, new) for key, old, new in connection.execute(query)}


def _add_changed(connection: Connection, scope: _Scope, more: Mapping[str, int]) -> None:
    """Add to `n_changed`, by segment."""
    same = model_version.c.generator_digest == scope.generator_digest
    model = connection.scalar(select(model_version.c.model_version_id).where(same))
    rows = [
        {
            **nothing_made(),
            "night_id": scope.night_id,
            "model_version_id": model,
            "segment": segment,
            "n_changed": count,
        }
        for segment, count in sorted(more.items())
    ]
    insert = insert_into(connection, daily_stat)
    added = {"n_changed": daily_stat.c.n_changed + insert.excluded.n_changed}
    execute_rows(
        connection,
        insert.on_conflict_do_update(index_elements=[daily_stat.c[name] for name in SUM_KEY], set_=added),
        rows,
    )
