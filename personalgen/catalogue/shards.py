"""Cataloguing a sealed shard: shard, assets and the users' current assets in one transaction."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Engine, LargeBinary, bindparam, func, insert, select
from sqlalchemy.sql.dml import Insert

from personalgen.catalogue.bulk import chunks, execute_tuples, insert_into
from personalgen.catalogue.engine import transaction
from personalgen.catalogue.facts import AssetRow, Pointer, ShardFacts
from personalgen.catalogue.schema import asset, model_version, night, shard, user, user_current
from personalgen.errors import CatalogueError

_ASSET_COLUMNS = (
    "user_key", "condition_digest", "variant", "member", "shard_offset", "byte_length", "crc32", "seed", "score",
    "n_events", "top_events", "generator_digest", "operating_point_digest", "night_id", "model_version_id", "shard_id",
)  # fmt: skip


@dataclass(frozen=True)
class ShardCommit:
    """What cataloguing a shard did."""

    shard_id: int
    """The shard's id, new or old."""
    n_new: int
    """Assets that were inserted."""
    n_existing: int
    """Assets whose natural key was already there: they stay as they were."""


def commit_shard(engine: Engine, facts: ShardFacts, rows: Sequence[AssetRow]) -> ShardCommit:
    """Catalogue a shard that is complete on disk: all of its rows or nothing.

    Where an asset of the same natural key exists, it stays. The variant 0 of each user becomes his current asset, the
    one before it the previous. A shard that is already catalogued is left alone, whatever happened since. Rows sorted
    by user insert fastest.

    Raises:
        CatalogueError: the path is catalogued with other bytes; night, model or a user is unknown; or the database
            refused. Nothing was changed.
    """
    with transaction(engine) as connection:
        if (known := _known_shard(connection, facts)) is not None:
            return ShardCommit(shard_id=known, n_new=0, n_existing=len(rows))
        digest = _generator_digest(connection, facts)
        _check_users(connection, sorted({row.user_key for row in rows}))
        shard_id = _insert_shard(connection, facts, n_assets=len(rows))
        n_new = _insert_assets(connection, facts, rows, generator_digest=digest, shard_id=shard_id)
        _point_at_rows(connection, facts, rows, generator_digest=digest)
    return ShardCommit(shard_id=shard_id, n_new=n_new, n_existing=len(rows) - n_new)


def point_current(engine: Engine, *, generator_digest: int, night_id: int, pointers: Sequence[Pointer]) -> int:
    """Make existing assets the current ones of their users again; return how many users changed.

    For a preference that came back to where it was: its image exists and is not made twice. Pointing at the asset that
    is current already changes nothing.

    Raises:
        CatalogueError: an asset is not a variant 0 of that user and generator. Nothing was changed.
    """
    values = [(*pointer, night_id) for pointer in pointers]
    names = ("key_user_key", "key_asset_id", "new_condition", "new_night_id")
    matches = [
        asset.c.user_key == bindparam("key_user_key", type_=BigInteger),
        asset.c.asset_id == bindparam("key_asset_id", type_=BigInteger),
    ]
    with transaction(engine) as connection:
        _check_pointers(connection, generator_digest, pointers)
        return execute_tuples(connection, _point(connection, matches), names, values)


def _known_shard(connection: Connection, facts: ShardFacts) -> int | None:
    """Return the id of the shard if it is catalogued with the same bytes."""
    found = connection.execute(select(shard.c.shard_id, shard.c.sha256).where(shard.c.path == facts.path)).first()
    if found is None:
        return None
    if found.sha256 != facts.sha256:
        raise CatalogueError(
            f"shard {facts.path} is catalogued with sha256 {found.sha256[:12]}…, now it has {facts.sha256[:12]}…: "
            "a catalogued shard must never be written again. Restore it, or give the new one another path. "
            "Nothing was changed."
        )
    return int(found.shard_id)


def _generator_digest(connection: Connection, facts: ShardFacts) -> int:
    digest = select(model_version.c.generator_digest).where(model_version.c.model_version_id == facts.model_version_id)
    found = connection.scalar(digest)
    if found is None or connection.scalar(select(night.c.night_id).where(night.c.night_id == facts.night_id)) is None:
        raise CatalogueError(
            f"shard {facts.path} names night {facts.night_id} and model version {facts.model_version_id}; the "
            "catalogue does not know both. Begin the night and register the model first. Nothing was changed."
        )
    return int(found)


def _check_users(connection: Connection, user_keys: Sequence[int]) -> None:
    known = sum(
        connection.scalar(select(func.count()).select_from(user).where(user.c.user_key.in_(part))) or 0
        for part in chunks(user_keys)
    )
    if known != len(user_keys):
        raise CatalogueError(
            f"{len(user_keys) - known} of {len(user_keys)} user keys are not in the catalogue. Allocate keys with "
            "allocate_user_keys before generating. Nothing was changed."
        )


def _insert_shard(connection: Connection, facts: ShardFacts, *, n_assets: int) -> int:
    result = connection.execute(insert(shard).values(**asdict(facts), n_assets=n_assets))
    return int((result.inserted_primary_key or (0,))[0])


def _insert_assets(
    connection: Connection, facts: ShardFacts, rows: Sequence[AssetRow], *, generator_digest: int, shard_id: int
) -> int:
    shared = (generator_digest, facts.operating_point_digest, facts.night_id, facts.model_version_id, shard_id)
    as_text = connection.dialect.name == "sqlite"
    values = [(*row[:-2], json.dumps(row.top_events) if as_text else row.top_events, *shared) for row in rows]
    return execute_tuples(connection, insert_into(connection, asset).on_conflict_do_nothing(), _ASSET_COLUMNS, values)


def _point_at_rows(
    connection: Connection, facts: ShardFacts, rows: Sequence[AssetRow], *, generator_digest: int
) -> None:
    """Make the variant 0 of each row current, found by its natural key: it may be older than this shard."""
    keys = {"generator_digest": generator_digest, "operating_point_digest": facts.operating_point_digest, "variant": 0}
    matches = [asset.c[name] == value for name, value in _bound(("user_key", "condition_digest", *keys))]
    names = ("key_user_key", "key_condition_digest", *(f"key_{name}" for name in keys), "new_condition", "new_night_id")
    values = [
        (row.user_key, row.condition_digest, *keys.values(), row.condition, facts.night_id)
        for row in rows
        if not row.variant
    ]
    execute_tuples(connection, _point(connection, matches), names, values)


def _bound(names: Sequence[str]) -> Iterator[tuple[str, ColumnElement[Any]]]:
    for name in names:
        yield name, bindparam(f"key_{name}", type_=BigInteger)


def _point(connection: Connection, matches: Sequence[ColumnElement[bool]]) -> Insert:
    """Return the upsert of user_current from the asset that `matches`; it leaves a row that points there already."""
    found = select(
        asset.c.generator_digest,
        asset.c.user_key,
        asset.c.asset_id,
        bindparam("new_condition", type_=LargeBinary),
        bindparam("new_night_id", type_=BigInteger),
    ).where(*matches)
    upsert = insert_into(connection, user_current).from_select(
        ["generator_digest", "user_key", "asset_id", "condition", "changed_night_id"], found
    )
    return upsert.on_conflict_do_update(
        index_elements=[user_current.c.generator_digest, user_current.c.user_key],
        set_={
            "previous_asset_id": user_current.c.asset_id,
            "asset_id": upsert.excluded.asset_id,
            "condition": upsert.excluded.condition,
            "changed_night_id": upsert.excluded.changed_night_id,
        },
        where=user_current.c.asset_id != upsert.excluded.asset_id,
    )


def _check_pointers(connection: Connection, generator_digest: int, pointers: Sequence[Pointer]) -> None:
    owners: dict[int, int] = {}
    ours = (asset.c.generator_digest == generator_digest) & (asset.c.variant == 0)
    for part in chunks(pointers):
        ids = [pointer.asset_id for pointer in part]
        found = select(asset.c.asset_id, asset.c.user_key).where(asset.c.asset_id.in_(ids), ours)
        owners.update((row.asset_id, row.user_key) for row in connection.execute(found))
    wrong = [pointer for pointer in pointers if owners.get(pointer.asset_id) != pointer.user_key]
    if wrong:
        raise CatalogueError(
            f"{len(wrong)} of {len(pointers)} pointers do not name a variant 0 of their user and generator, the "
            f"first being asset {wrong[0].asset_id} for user key {wrong[0].user_key}. Nothing was changed."
        )
