"""Images that a safety filter refused: remembered, so that the next night does not draw the same one again."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, select

from personalgen.catalogue.bulk import chunks, execute_rows, insert_into
from personalgen.catalogue.engine import transaction
from personalgen.catalogue.planning import variants_known
from personalgen.catalogue.read import reading
from personalgen.catalogue.schema import refused

_KEY = ("user_key", "generator_digest", "condition_digest", "operating_point_digest", "variant")
Keys = NDArray[np.int64]


def record_refused(
    engine: Engine, found: Sequence[tuple[tuple[int, ...], float]], *, rule: str, night_id: int, at: datetime
) -> None:
    """Write what was refused, by natural key, with its score; of two rules that refused an image the newer stays."""
    if not found:
        return
    rows = [
        {**dict(zip(_KEY, key, strict=True)), "score": score, "rule": rule, "night_id": night_id, "at": at}
        for key, score in found
    ]
    with transaction(engine) as connection:
        insert = insert_into(connection, refused)
        fresh = {name: insert.excluded[name] for name in ("score", "rule", "night_id", "at")}
        differs = refused.c.rule != insert.excluded.rule
        keys = [refused.c[name] for name in _KEY]
        execute_rows(connection, insert.on_conflict_do_update(index_elements=keys, set_=fresh, where=differs), rows)


def were_refused(
    engine: Engine,
    generator_digest: int,
    operating_point_digest: int,
    *,
    user_keys: Keys,
    condition_digests: Keys,
    variants: Keys,
    rule: str,
) -> NDArray[np.bool_]:
    """Return (n,) whether each natural key was refused by this very rule; another filter or threshold looks anew."""
    asked = list(zip(user_keys.tolist(), condition_digests.tolist(), variants.tolist(), strict=True))
    table = refused.c
    known: set[tuple[int, ...]] = set()
    with reading(engine) as connection:
        for part in chunks(sorted({user_key for user_key, _, _ in asked})):
            query = select(table.user_key, table.condition_digest, table.variant).where(
                table.generator_digest == generator_digest,
                table.operating_point_digest == operating_point_digest,
                table.rule == rule,
                table.user_key.in_(part),
            )
            known.update(tuple(row) for row in connection.execute(query))
    return np.array([key in known for key in asked], dtype=np.bool_)


def refused_variants(
    engine: Engine, generator_digest: int, user_keys: Keys, *, operating_point_digest: int, rule: str, count: int
) -> NDArray[np.bool_]:
    """Return (n, count): whether variants 1 to count of each user were refused by this rule, on whatever condition."""
    table = refused.c
    query = select(table.user_key, table.variant).where(
        table.generator_digest == generator_digest,
        table.operating_point_digest == operating_point_digest,
        table.rule == rule,
        table.variant > 0,
    )
    with reading(engine) as connection:
        known = {(key, variant) for key, variant in connection.execute(query)} if count else set()
    return variants_known(np.asarray(user_keys, dtype=np.int64), known, count)
