"""Cataloguing a sealed shard: shard, assets and the users' current assets in one transaction."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from operator import attrgetter

from sqlalchemy import BigInteger, Connection, Engine, LargeBinary, bindparam, delete, func, insert, select
from sqlalchemy.sql.dml import Insert

from personalgen.catalogue.bulk import chunks, execute_tuples, insert_into
from personalgen.catalogue.engine import transaction
from personalgen.catalogue.facts import AssetRow, Pointer, ShardFacts
from personalgen.catalogue.schema import asset, model_version, night, shard, user, user_current, user_variant
from personalgen.errors import CatalogueError

_ROW_COLUMNS = (
    "user_key", "generator_digest", "condition_digest", "operating_point_digest", "variant", "member", "shard_offset",
    "byte_length", "crc32", "seed", "score", "n_events",
)  # fmt: skip
_ASSET_COLUMNS = (*_ROW_COLUMNS, "top_events", "night_id", "model_version_id", "shard_id")
_POINT_KEYS = ("user_key", "generator_digest", "condition_digest", "operating_point_digest", "variant")

_row_values = attrgetter(*_ROW_COLUMNS)
_natural_key = attrgetter(*_POINT_KEYS)
_point_values = attrgetter(*_POINT_KEYS, "condition")


@dataclass(frozen=True)
class ShardCommit:
    """What cataloguing a shard did."""

    shard_id: int
    """The shard's id, new or old."""
    n_new: int
    """Assets that were inserted."""
    n_existing: int
    """Assets whose natural key was already there: they stay as they were."""


def commit_shard(engine: Engine, facts: ShardFacts, rows: Sequence[AssetRow], *, move: bool = True) -> ShardCommit:
    """Catalogue a shard that is complete on disk: all of its rows or nothing.

    Where an asset of the same natural key exists, it stays. The variant 0 of each user becomes their current asset, the
    one before it the previous, and the further variants stand beside it in the place of the former ones; without `move`
    nobody's current assets change. A shard that is already catalogued is
    left alone, whatever happened since. Rows sorted by user insert fastest.

    Raises:
        CatalogueError: the path is catalogued with other bytes; night, model or a user is unknown; or the database
            refused. Nothing was changed.
    """
    with transaction(engine) as connection:
        if (known := _known_shard(connection, facts)) is not None:
            return ShardCommit(shard_id=known, n_new=0, n_existing=len(rows))
        _check_rows(connection, facts, rows)
        shard_id = _insert_shard(connection, facts, n_assets=len(rows))
        n_new = _insert_assets(connection, facts, rows, shard_id=shard_id)
        if move:
            _point_at_rows(connection, facts, rows)
            _vary_by_rows(connection, rows)
    return ShardCommit(shard_id=shard_id, n_new=n_new, n_existing=len(rows) - n_new)


def point_current(engine: Engine, *, generator_digest: int, night_id: int, pointers: Sequence[Pointer]) -> int:
    """Make existing assets the current ones of their users again; return how many users changed.

    For a preference that came back to where it was: its image exists and is not made twice. Pointing at the asset that
    is current already changes nothing.

    Raises:
        CatalogueError: an asset is not of that user, variant and generator. Nothing was changed.
    """
    with transaction(engine) as connection:
        return move_pointers(connection, generator_digest=generator_digest, night_id=night_id, pointers=pointers)


def move_pointers(connection: Connection, *, generator_digest: int, night_id: int, pointers: Sequence[Pointer]) -> int:
    """Do what `point_current` does, inside a transaction of the caller's."""
    values = [(pointer.user_key, pointer.asset_id, pointer.condition, night_id) for pointer in pointers]
    names = ("key_user_key", "key_asset_id", "new_condition", "new_night_id")
    _check_pointers(connection, generator_digest, pointers)
    _delete_variants(connection, generator_digest, [pointer.user_key for pointer in pointers])
    variants = [
        (generator_digest, pointer.user_key, variant, asset_id)
        for pointer in pointers
        for variant, asset_id in enumerate(pointer.variants, start=1)
    ]
    execute_tuples(connection, insert(user_variant), user_variant.c.keys(), variants)
    return execute_tuples(connection, _point(connection, ("user_key", "asset_id")), names, values)


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


def _check_rows(connection: Connection, facts: ShardFacts, rows: Sequence[AssetRow]) -> None:
    """Check what foreign keys would: night, model and users exist; and that the rows are of the shard's model."""
    digest = select(model_version.c.generator_digest).where(model_version.c.model_version_id == facts.model_version_id)
    known = connection.scalar(digest)
    if known is None or connection.scalar(select(night.c.night_id).where(night.c.night_id == facts.night_id)) is None:
        raise CatalogueError(
            f"shard {facts.path} names night {facts.night_id} and model version {facts.model_version_id}; the "
            "catalogue does not know both. Begin the night and register the model first. Nothing was changed."
        )
    expected = (known, facts.operating_point_digest)
    wrong = {(row.generator_digest, row.operating_point_digest) for row in rows} - {expected}
    if wrong:
        raise CatalogueError(
            f"shard {facts.path} holds rows of generator and operating point {sorted(wrong)}; those of its model and "
            f"operating point are {expected}. Nothing was changed."
        )
    _check_users(connection, sorted({row.user_key for row in rows}))


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


def _insert_assets(connection: Connection, facts: ShardFacts, rows: Sequence[AssetRow], *, shard_id: int) -> int:
    shared = (facts.night_id, facts.model_version_id, shard_id)
    events = partial(json.dumps, ensure_ascii=False) if connection.dialect.name == "sqlite" else list
    values = [(*_row_values(row), events(row.top_events), *shared) for row in rows]
    return execute_tuples(connection, insert_into(connection, asset).on_conflict_do_nothing(), _ASSET_COLUMNS, values)


def _point_at_rows(connection: Connection, facts: ShardFacts, rows: Sequence[AssetRow]) -> None:
    """Make the variant 0 of each user current, found by its natural key: it may be older than this shard."""
    names = (*(f"key_{name}" for name in _POINT_KEYS), "new_condition", "new_night_id")
    values = [(*_point_values(row), facts.night_id) for row in rows if row.variant == 0]
    execute_tuples(connection, _point(connection, _POINT_KEYS), names, values)


def _vary_by_rows(connection: Connection, rows: Sequence[AssetRow]) -> None:
    """Make the further variants of each user stand beside the current asset, and no others."""
    for generator_digest in {row.generator_digest for row in rows}:
        _delete_variants(connection, generator_digest, [row.user_key for row in rows if row.variant == 0])
    matches = [asset.c[name] == bindparam(f"key_{name}", type_=BigInteger) for name in _POINT_KEYS]
    found = select(asset.c.generator_digest, asset.c.user_key, asset.c.variant, asset.c.asset_id).where(*matches)
    values = [_natural_key(row) for row in rows if row.variant > 0]
    statement = insert(user_variant).from_select(user_variant.c.keys(), found)
    execute_tuples(connection, statement, [f"key_{name}" for name in _POINT_KEYS], values)


def _delete_variants(connection: Connection, generator_digest: int, user_keys: Sequence[int]) -> None:
    own = delete(user_variant).where(user_variant.c.generator_digest == generator_digest)
    for part in chunks(user_keys):
        connection.execute(own.where(user_variant.c.user_key.in_(part)))


def _point(connection: Connection, keys: Sequence[str]) -> Insert:
    """Return the upsert of user_current from the asset with these `keys`; a row that points there already stays."""
    matches = [asset.c[name] == bindparam(f"key_{name}", type_=BigInteger) for name in keys]
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
    wanted = [
        (asset_id, (pointer.user_key, variant))
        for pointer in pointers
        for variant, asset_id in enumerate((pointer.asset_id, *pointer.variants))
    ]
    known: dict[int, tuple[int, int]] = {}
    for part in chunks(wanted):
        found = select(asset.c.asset_id, asset.c.user_key, asset.c.variant).where(
            asset.c.asset_id.in_([asset_id for asset_id, _ in part]), asset.c.generator_digest == generator_digest
        )
        known.update((row.asset_id, (row.user_key, row.variant)) for row in connection.execute(found))
    wrong = [(asset_id, owner) for asset_id, owner in wanted if known.get(asset_id) != owner]
    if wrong:
        asset_id, (user_key, variant) = wrong[0]
        raise CatalogueError(
            f"{len(wrong)} of {len(wanted)} assets pointed at are not of their user, variant and generator, the first "
            f"being asset {asset_id} as variant {variant} of user key {user_key}. Nothing was changed."
        )
