"""Bulk reads for the planner: what exists already, as arrays; in ranges of users, so that memory stays flat."""

from collections.abc import Collection, Iterator

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, select

from personalgen.catalogue.bulk import CHUNK
from personalgen.catalogue.read import reading
from personalgen.catalogue.rows import CurrentConditions
from personalgen.catalogue.schema import asset, user_current, user_variant
from personalgen.errors import CatalogueError

Keys = NDArray[np.int64]

MISSING = -1
"""Stands in `assets_present` for an asset that does not exist."""


def current_conditions(
    engine: Engine, generator_digest: int, user_keys: Keys | None = None, *, operating_point_digest: int | None = None
) -> CurrentConditions:
    """Return the current assets of these users (all, where None) under one generator, and the conditions behind them.

    With `operating_point_digest`, an asset that was drawn at another operating point does not count.

    Raises:
        CatalogueError: stored conditions differ in width.
    """
    table = user_current.c
    query = select(table.user_key, table.asset_id, table.condition).where(table.generator_digest == generator_digest)
    if operating_point_digest is not None:
        query = query.join(asset, asset.c.asset_id == table.asset_id)
        query = query.where(asset.c.operating_point_digest == operating_point_digest)
    wanted = None if user_keys is None else np.unique(np.asarray(user_keys, dtype=np.int64))
    if wanted is not None and not len(wanted):
        return _as_arrays([], generator_digest)
    if wanted is not None:
        query = query.where(table.user_key.between(int(wanted[0]), int(wanted[-1])))
    with reading(engine) as connection:
        rows = [
            (row.user_key, row.asset_id, row.condition) for row in connection.execute(query.order_by(table.user_key))
        ]
    return _as_arrays(rows if wanted is None else _among(rows, wanted), generator_digest)


def further_variants(
    engine: Engine, generator_digest: int, user_keys: Keys, *, operating_point_digest: int, count: int
) -> NDArray[np.bool_]:
    """Return (n, count): whether variants 1 to count, of this operating point, stand beside each current image."""
    users, table = np.asarray(user_keys, dtype=np.int64), user_variant.c
    query = (
        select(table.user_key, table.variant)
        .join(asset, asset.c.asset_id == table.asset_id)
        .where(table.generator_digest == generator_digest, asset.c.operating_point_digest == operating_point_digest)
    )
    known: set[tuple[int, int]] = set()
    with reading(engine) as connection:
        for part in _by_user(users) if count else ():
            some = query.where(table.user_key.between(int(users[part[0]]), int(users[part[-1]])))
            known.update((key, variant) for key, variant in connection.execute(some))
    return variants_known(users, known, count)


def variants_known(user_keys: Keys, known: Collection[tuple[int, int]], count: int) -> NDArray[np.bool_]:
    """Return (n, count): whether (user, variant) is among the known, for variants 1 to count."""
    found = np.zeros((len(user_keys), count), dtype=np.bool_)
    for row, key in enumerate(user_keys.tolist() if count else ()):
        found[row] = [(key, variant) in known for variant in range(1, count + 1)]
    return found


def assets_present(
    engine: Engine,
    generator_digest: int,
    operating_point_digest: int,
    *,
    user_keys: Keys,
    condition_digests: Keys,
    variants: Keys,
) -> Keys:
    """Return (n,) int64: the id of the asset with each natural key, or MISSING.

    Row k asks for (user_keys[k], condition_digests[k], variants[k]) of this generator at this operating point.
    """
    users, conditions, drawn = (
        np.asarray(values, dtype=np.int64) for values in (user_keys, condition_digests, variants)
    )
    found = np.full(len(users), MISSING, dtype=np.int64)
    with reading(engine) as connection:
        for part in _by_user(users):
            first, last = int(users[part[0]]), int(users[part[-1]])
            known = _known(connection, generator_digest, operating_point_digest, first=first, last=last)
            keys = zip(users[part].tolist(), conditions[part].tolist(), drawn[part].tolist(), strict=True)
            found[part] = [known.get(key, MISSING) for key in keys]
    return found


def _among(rows: list[tuple[int, int, bytes]], wanted: Keys) -> list[tuple[int, int, bytes]]:
    keys = np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))
    return [row for row, asked in zip(rows, np.isin(keys, wanted).tolist(), strict=True) if asked]


def _as_arrays(rows: list[tuple[int, int, bytes]], generator_digest: int) -> CurrentConditions:
    widths = {len(condition) for _, _, condition in rows}
    if len(widths) > 1:
        raise CatalogueError(
            f"user_current holds conditions of {sorted(width // 4 for width in widths)} columns for generator "
            f"{generator_digest}; one width was expected. The catalogue was written by something else. "
            "Nothing was changed."
        )
    conditions = np.frombuffer(b"".join(row[2] for row in rows), dtype="<f4").astype(np.float32)
    return CurrentConditions(
        user_keys=np.array([row[0] for row in rows], dtype=np.int64),
        asset_ids=np.array([row[1] for row in rows], dtype=np.int64),
        conditions=conditions.reshape(len(rows), -1) if rows else np.empty((0, 0), dtype=np.float32),
    )


def _by_user(users: Keys) -> Iterator[Keys]:
    """Yield positions in chunks that ascend by user."""
    order = np.argsort(users, kind="stable")
    for start in range(0, len(order), CHUNK):
        yield order[start : start + CHUNK]


def _known(
    connection: Connection, generator_digest: int, operating_point_digest: int, *, first: int, last: int
) -> dict[tuple[int, int, int], int]:
    """Return (user, condition, variant) -> asset id for a range of users, served by the natural key's index."""
    table = asset.c
    query = select(table.user_key, table.condition_digest, table.variant, table.asset_id).where(
        table.generator_digest == generator_digest,
        table.operating_point_digest == operating_point_digest,
        table.user_key.between(first, last),
    )
    return {(row.user_key, row.condition_digest, row.variant): row.asset_id for row in connection.execute(query)}
