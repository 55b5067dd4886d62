"""Cataloguing a sealed shard: shard, assets and the users' current assets in one transaction."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow.compute as pc
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Dialect,
    Double,
    Engine,
    LargeBinary,
    MetaData,
    ScalarSelect,
    Select,
    Table,
    Text,
    bindparam,
    cast,
    delete,
    distinct,
    func,
    insert,
    select,
    true,
    tuple_,
)
from sqlalchemy.sql.dml import Insert

from personalgen.catalogue.bulk import chunks, dialect_insert, execute_tuples, execute_upsert, staged
from personalgen.catalogue.engine import transaction
from personalgen.catalogue.facts import Pointer, ShardFacts
from personalgen.catalogue.rollups import add_to_daily_stat, changes_recorded, newest_asset_id
from personalgen.catalogue.schema import asset, model_version, night, shard, user, user_current, user_variant
from personalgen.errors import CatalogueError
from personalgen.generation.assets import AssetRows

_POINT_KEYS = ("user_key", "generator_digest", "condition_digest", "operating_point_digest", "variant")
_NUMBERS = (*_POINT_KEYS, "shard_offset", "byte_length", "crc32", "seed", "n_events")
_staged = Table(
    "staged_asset",
    MetaData(),
    *(Column(name, BigInteger) for name in _NUMBERS),
    Column("member", Text),
    Column("score", Double),
    Column("top_events", Text),
    Column("condition", LargeBinary),
    prefixes=["TEMPORARY"],
)
"""The rows of the shard that is being catalogued, as its sidecar holds them."""


@dataclass(frozen=True)
class ShardCommit:
    """What cataloguing a shard did."""

    shard_id: int
    """The shard's id, new or old."""
    n_new: int
    """Assets that were inserted."""
    n_existing: int
    """Assets whose natural key was already there: they stay as they were."""


def commit_shard(engine: Engine, facts: ShardFacts, rows: AssetRows, *, move: bool = True) -> ShardCommit:
    """Catalogue a shard that is complete on disk: all of its rows or nothing.

    Where an asset of the same natural key exists, it stays. The variant 0 of each user becomes their current asset, the
    one before it the previous, and the further variants stand beside it in the place of the former ones; without `move`
    nobody's current assets change. A shard that is already catalogued is left alone, whatever happened since. Rows
    sorted by user insert fastest.

    Raises:
        CatalogueError: the path is catalogued with other bytes; night, model or a user is unknown; or the database
            refused. Nothing was changed.
    """
    with transaction(engine) as connection:
        if (known := _known_shard(connection, facts)) is not None:
            return ShardCommit(shard_id=known, n_new=0, n_existing=len(rows))
        generator_digest = _check_shard(connection, facts, rows)
        shard_id = _insert_shard(connection, facts, n_assets=len(rows))
        with staged(connection, _staged, zip(*map(rows.values, _staged.columns.keys()), strict=True)):
            _check_users(connection)
            newest = newest_asset_id(connection)
            n_new = _insert_assets(connection, facts, shard_id=shard_id)
            add_to_daily_stat(connection, shard_id=shard_id, after_asset_id=newest)
            if move:
                with changes_recorded(
                    connection, generator_digest=generator_digest, night_id=facts.night_id,
                    user_keys=rows.values("user_key"),
                ):  # fmt: skip
                    _point_at_rows(connection, facts)
                _vary_by_rows(connection)
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
        for variant, asset_id in pointer.variants
    ]
    execute_tuples(connection, insert(user_variant), user_variant.c.keys(), variants)
    users = [pointer.user_key for pointer in pointers]
    with changes_recorded(connection, generator_digest=generator_digest, night_id=night_id, user_keys=users):
        return execute_tuples(connection, _point(connection.dialect, _pointed()), names, values)


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


def _check_shard(connection: Connection, facts: ShardFacts, rows: AssetRows) -> int:
    """Check what foreign keys would, that night and model exist; return the generator's digest, which all rows have."""
    digest = select(model_version.c.generator_digest).where(model_version.c.model_version_id == facts.model_version_id)
    known = connection.scalar(digest)
    if known is None or connection.scalar(select(night.c.night_id).where(night.c.night_id == facts.night_id)) is None:
        raise CatalogueError(
            f"shard {facts.path} names night {facts.night_id} and model version {facts.model_version_id}; the "
            "catalogue does not know both. Begin the night and register the model first. Nothing was changed."
        )
    expected = (known, facts.operating_point_digest)
    found = [pc.unique(rows.table[name]).to_pylist() for name in ("generator_digest", "operating_point_digest")]
    if len(rows) and found != [[digest] for digest in expected]:
        raise CatalogueError(
            f"shard {facts.path} holds rows of the generators {found[0]} and the operating points {found[1]}; those of "
            f"its model and operating point are {expected}. Nothing was changed."
        )
    return int(known)


def _check_users(connection: Connection) -> None:
    """Check what a foreign key would: the users of the staged rows exist."""
    both = _staged.outerjoin(user, user.c.user_key == _staged.c.user_key)
    counts = select(func.count(distinct(_staged.c.user_key)), func.count(distinct(user.c.user_key))).select_from(both)
    asked, known = connection.execute(counts).one()
    if known != asked:
        raise CatalogueError(
            f"{asked - known} of {asked} user keys are not in the catalogue. Allocate keys with "
            "allocate_user_keys before generating. Nothing was changed."
        )


def _insert_shard(connection: Connection, facts: ShardFacts, *, n_assets: int) -> int:
    result = connection.execute(insert(shard).values(**asdict(facts), n_assets=n_assets))
    return int((result.inserted_primary_key or (0,))[0])


def _insert_assets(connection: Connection, facts: ShardFacts, *, shard_id: int) -> int:
    """Insert the staged rows but those whose natural key is there; return how many."""
    return execute_upsert(
        connection,
        _assets_of_rows,
        night_id=facts.night_id,
        model_version_id=facts.model_version_id,
        shard_id=shard_id,
    )


def _assets_of_rows(dialect: Dialect) -> Insert:
    """Return the INSERT of all staged rows; one whose natural key is there stays as it is."""
    events: ColumnElement[str] = _staged.c.top_events
    if dialect.name == "postgresql":  # SQLite keeps JSON as text; its CAST to a type of that name makes numbers
        events = cast(events, asset.c.top_events.type)
    copied, shared = [*_NUMBERS, "member", "score"], ["night_id", "model_version_id", "shard_id"]
    found = select(
        *(_staged.c[name] for name in copied),
        events,
        *(bindparam(name, type_=BigInteger) for name in shared),
    ).where(true())  # SQLite reads ON CONFLICT behind a bare table as the condition of a join
    names = [*copied, "top_events", *shared]
    return dialect_insert(dialect, asset).from_select(names, found).on_conflict_do_nothing()


def _staged_asset_id() -> ScalarSelect[int]:
    """Return the id of the asset of a staged row, by its natural key: it may be older than this shard.

    As a subquery of each row, so that no planner can join the other way round and read all assets.
    """
    return select(asset.c.asset_id).where(*(asset.c[name] == _staged.c[name] for name in _POINT_KEYS)).scalar_subquery()


def _point_at_rows(connection: Connection, facts: ShardFacts) -> None:
    """Make the variant 0 of each staged user current."""
    execute_upsert(connection, _pointers_of_rows, night_id=facts.night_id)


def _pointers_of_rows(dialect: Dialect) -> Insert:
    """Return the upsert of user_current from the staged rows of variant 0."""
    found = select(
        _staged.c.generator_digest,
        _staged.c.user_key,
        _staged_asset_id(),
        _staged.c.condition,
        bindparam("night_id", type_=BigInteger),
    ).where(_staged.c.variant == 0)
    return _point(dialect, found)


def _vary_by_rows(connection: Connection) -> None:
    """Make the further variants of each user whose first image is staged stand beside it, and no others.

    Whose first image was refused keeps all that they had.
    """
    held = _staged.alias()
    first = select(held.c.generator_digest, held.c.user_key).where(held.c.variant == 0)
    key = tuple_(user_variant.c.generator_digest, user_variant.c.user_key)
    connection.execute(delete(user_variant).where(key.in_(first)))
    further = select(_staged.c.generator_digest, _staged.c.user_key, _staged.c.variant, _staged_asset_id()).where(
        _staged.c.variant > 0, tuple_(_staged.c.generator_digest, _staged.c.user_key).in_(first)
    )
    connection.execute(insert(user_variant).from_select(user_variant.c.keys(), further))


def _delete_variants(connection: Connection, generator_digest: int, user_keys: Sequence[int]) -> None:
    own = delete(user_variant).where(user_variant.c.generator_digest == generator_digest)
    for part in chunks(user_keys):
        connection.execute(own.where(user_variant.c.user_key.in_(part)))


def _pointed() -> Select[Any]:
    """Return what `_point` takes of one asset: of a user, by its id."""
    return select(
        asset.c.generator_digest,
        asset.c.user_key,
        asset.c.asset_id,
        bindparam("new_condition", type_=LargeBinary),
        bindparam("new_night_id", type_=BigInteger),
    ).where(
        asset.c.user_key == bindparam("key_user_key", type_=BigInteger),
        asset.c.asset_id == bindparam("key_asset_id", type_=BigInteger),
    )


def _point(dialect: Dialect, found: Select[Any]) -> Insert:
    """Return the upsert of user_current from rows of its first five columns; one that points there already stays."""
    upsert = dialect_insert(dialect, user_current).from_select(
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
        for variant, asset_id in ((0, pointer.asset_id), *pointer.variants)
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
