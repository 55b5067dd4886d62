"""Whose present condition is like a given one: all are read, a chunk at a time, so that memory stays flat."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, Select, bindparam, select

from personalgen.catalogue.bulk import chunks
from personalgen.catalogue.prepared import ask_driver
from personalgen.catalogue.read import reading, silent_users
from personalgen.catalogue.rows import SimilarUser
from personalgen.catalogue.schema import user, user_current
from personalgen.errors import CatalogueError

CHUNK_ROWS = 20_000
"""Conditions in memory at a time."""

Keys = NDArray[np.int64]
Floats = NDArray[np.float32]


def similar(
    engine: Engine, condition: Floats, *, generator_digest: int, limit: int = 10, leave_out: int | None = None
) -> tuple[SimilarUser, ...]:
    """Return the users whose present condition under a generator is nearest by cosine to `condition` (dim,).

    The nearest first; of equal ones the smaller key. Users who are silent, `leave_out` (a user key) and conditions of
    zeros are never among them.

    Raises:
        CatalogueError: the stored conditions have another width.
    """
    hidden = np.array([*silent_users(engine), *(() if leave_out is None else (leave_out,))], dtype=np.int64)
    length = float(np.linalg.norm(condition))
    wanted = np.asarray(condition, dtype=np.float32) / np.float32(length or 1.0)
    best = (np.empty(0, dtype=np.float32), np.empty((0, 2), dtype=np.int64))
    with reading(engine) as connection:
        for keys, matrix in _chunks(connection, generator_digest, width=len(wanted)):
            cosine, shown = _cosines(matrix, wanted), ~np.isin(keys[:, 0], hidden)
            shown &= np.isfinite(cosine)
            best = _nearest(np.concatenate([best[0], cosine[shown]]), np.concatenate([best[1], keys[shown]]), limit)
        names = _names(connection, best[1][:, 0])
    rows = zip(best[1].tolist(), best[0].tolist(), strict=True)
    return tuple(SimilarUser(names[key], asset_id, cosine) for (key, asset_id), cosine in rows)


def present_condition(engine: Engine, user_key: int, generator_digest: int) -> Floats | None:
    """Return (dim,) the condition of a user's current asset under a generator, or None where there is none."""
    columns = user_current.c
    own = select(columns.condition).where(columns.generator_digest == generator_digest, columns.user_key == user_key)
    with reading(engine) as connection:
        found = connection.scalar(own)
    return None if found is None else np.frombuffer(found, dtype="<f4").astype(np.float32)


def _chunks(connection: Connection, generator_digest: int, *, width: int) -> Iterator[tuple[Keys, Floats]]:
    """Yield (n, 2) user keys with their asset ids and (n, width) conditions, in the order of the keys."""
    after = 0
    while rows := ask_driver(connection, _conditions, generator=generator_digest, after=after, limit=CHUNK_ROWS):
        keys, asset_ids, conditions = zip(*rows, strict=True)
        data = b"".join(conditions)
        if len(data) != len(rows) * width * 4 or len(conditions[0]) != width * 4:
            raise CatalogueError(
                f"The conditions of generator {generator_digest} have {len(conditions[0]) // 4} columns, and "
                f"{width} were asked for. Ask with a condition of the same model. Nothing was changed."
            )
        yield np.array([keys, asset_ids], dtype=np.int64).T, np.frombuffer(data, dtype="<f4").reshape(len(rows), width)
        after = keys[-1]


def _conditions() -> Select[Any]:
    """Return the query of the next users' conditions under a generator."""
    columns = user_current.c
    query = select(columns.user_key, columns.asset_id, columns.condition).where(
        columns.generator_digest == bindparam("generator"), columns.user_key > bindparam("after")
    )
    return query.order_by(columns.user_key).limit(bindparam("limit"))


def _cosines(matrix: Floats, wanted: Floats) -> Floats:
    """Return (n,) float32 cosines with a unit vector; NaN for rows of zeros."""
    norms = np.sqrt(np.einsum("nd,nd->n", matrix, matrix))
    with np.errstate(invalid="ignore"):
        return np.asarray(matrix @ wanted / norms, dtype=np.float32)


def _nearest(cosine: Floats, keys: Keys, limit: int) -> tuple[Floats, Keys]:
    """Return the `limit` nearest, the nearest first."""
    order = np.lexsort((keys[:, 0], -cosine))[:limit]
    return cosine[order], keys[order]


def _names(connection: Connection, keys: Keys) -> dict[int, str]:
    query = select(user.c.user_key, user.c.user_id)
    found = (connection.execute(query.where(user.c.user_key.in_(part))) for part in chunks(keys.tolist()))
    return {row.user_key: row.user_id for rows in found for row in rows}
