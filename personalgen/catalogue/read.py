"""Typed reads for people and for the steps, apart from the write verbs: one SELECT each, or two in one transaction."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Column, Connection, Engine, Select, TableClause, func, inspect, select
from sqlalchemy.exc import DataError, DBAPIError

from personalgen.catalogue import schema
from personalgen.catalogue.bulk import chunks
from personalgen.catalogue.engine import reason_of, shown
from personalgen.catalogue.facts import NightKind
from personalgen.catalogue.rows import (
    AssetLineage,
    AssetSummary,
    Forgotten,
    ItemNeighbour,
    LiveRelease,
    ModelVersion,
    Night,
    NightCounts,
    Promotion,
    Recommendation,
    UserNeighbour,
)
from personalgen.catalogue.views import (
    v_assets,
    v_forgotten,
    v_item_neighbours,
    v_recommendations,
    v_user_neighbours,
    v_users,
)
from personalgen.errors import CatalogueError, NotFoundError

T = TypeVar("T")

_assets, _shards, _nights = schema.asset.c, schema.shard.c, schema.night.c
_models, _live, _decisions = schema.model_version.c, schema.live_release.c, schema.model_promotion.c


@contextmanager
def reading(engine: Engine, *, streaming: bool = False) -> Iterator[Connection]:
    """Yield a connection to read from.

    On SQLite all answers are of one moment. PostgreSQL's default gives each statement a moment of its own inside a
    transaction, too, so there is none: beginning and ending one would cost as much as a question. Rows that come in
    chunks (`streaming`) need one there: its cursor lives no longer.

    Raises:
        CatalogueError: the database is locked, gone, or has no tables yet.
    """
    try:
        with engine.connect() as connection:
            options = connection.get_execution_options()
            in_transaction = streaming or options.get("postgresql_readonly")
            if connection.dialect.name == "postgresql" and not in_transaction:
                connection = connection.execution_options(isolation_level="AUTOCOMMIT")  # noqa: PLW2901 - the same one
            yield connection
    except DBAPIError as error:
        mend = "Check that it is reachable and that `personalgen nightly` has made its tables."
        if isinstance(error, DataError):
            mend = "It cannot hold a value that was asked for: ask for another one."
        told = f"The catalogue {shown(engine.url)} could not be read: {reason_of(error)}. {mend}"
        raise CatalogueError(told) from None


def has_tables(engine: Engine) -> bool:
    """Return whether the catalogue was ever made; a database of a server may be there and empty.

    Raises:
        CatalogueError: the database is locked or gone.
    """
    with reading(engine) as connection:
        return inspect(connection).has_table(schema.night.name)


def live_release(engine: Engine) -> LiveRelease | None:
    """Return what users see now, or None before the first release."""
    named = schema.live_release.join(schema.model_version, _models.model_version_id == _live.model_version_id)
    query = select(*_shared(LiveRelease, _live), _models.model_name, _models.version).select_from(named)
    return _first(_all(engine, LiveRelease, query))


def model_versions(engine: Engine, *, model_name: str | None = None) -> tuple[ModelVersion, ...]:
    """Return the registered versions, the newest first."""
    query = select(schema.model_version).order_by(_models.model_version_id.desc())
    return _all(engine, ModelVersion, query if model_name is None else query.where(_models.model_name == model_name))


def model_by_id(engine: Engine, model_version_id: int) -> ModelVersion:
    """Return a model version by its catalogue id.

    Raises:
        NotFoundError: there is none.
    """
    query = select(schema.model_version).where(_models.model_version_id == model_version_id)
    return _one(_all(engine, ModelVersion, query), f"model version with id {model_version_id}")


def model_by_version(engine: Engine, model_name: str, version: int) -> ModelVersion:
    """Return a model version by its registry name and number.

    Raises:
        NotFoundError: there is none.
    """
    query = select(schema.model_version).where(_models.model_name == model_name, _models.version == version)
    return _one(_all(engine, ModelVersion, query), f"model version {model_name} v{version}")


def model_by_weights(engine: Engine, generator_sha256: str) -> ModelVersion | None:
    """Return the model version with these weights, or None: ask before making a new version in the registry."""
    query = select(schema.model_version).where(_models.generator_sha256 == generator_sha256)
    return _first(_all(engine, ModelVersion, query))


def promotions(engine: Engine, *, limit: int = 100) -> tuple[Promotion, ...]:
    """Return the decisions about the live model, the newest first."""
    to, before = schema.model_version.alias(), schema.model_version.alias()
    joined = schema.model_promotion.join(to, to.c.model_version_id == _decisions.to_model_version_id)
    joined = joined.outerjoin(before, before.c.model_version_id == _decisions.from_model_version_id)
    versions = (to.c.model_name, to.c.version.label("to_version"), before.c.version.label("from_version"))
    query = select(*_shared(Promotion, _decisions), *versions).select_from(joined)
    return _all(engine, Promotion, query.order_by(_decisions.promotion_id.desc()).limit(limit))


def n_training_items_since(engine: Engine, night_id: int) -> int:
    """Return how many items of the training split came with later nights than this one."""
    items = schema.item.c
    query = select(func.count()).where(items.split == "train", items.first_night_id > night_id)
    with reading(engine) as connection:
        return int(connection.scalar(query) or 0)


def nights(engine: Engine, *, limit: int = 100, kinds: Sequence[NightKind] = ()) -> tuple[Night, ...]:
    """Return the nights of these kinds, by default of all, the newest first."""
    query = select(schema.night).order_by(_nights.night_id.desc()).limit(limit)
    return _all(engine, Night, query.where(_nights.kind.in_(kinds)) if kinds else query)


def night_by_id(engine: Engine, night_id: int) -> Night:
    """Return a night by its id.

    Raises:
        NotFoundError: there is none.
    """
    return _one(_all(engine, Night, select(schema.night).where(_nights.night_id == night_id)), f"night {night_id}")


def night_by_key(engine: Engine, night_key: str) -> Night | None:
    """Return the night with this key, or None where it never began."""
    return _first(_all(engine, Night, select(schema.night).where(_nights.night_key == night_key)))


def newest_as_of(engine: Engine) -> datetime | None:
    """Return the latest `as_of` of the nights that ended well, or None where none did; backfills look back.

    A night that ended well has counts: it counts also where somebody asked it to train again since.
    """
    is_done = (_nights.status == "done") | (_nights.counts.is_not(None) & (_nights.status != "deleted"))
    ended_well = is_done & (_nights.kind != "backfill")
    with reading(engine) as connection:
        found: datetime | None = connection.scalar(select(func.max(_nights.as_of)).where(ended_well))
    return found


def nights_done_at(engine: Engine, as_of: datetime) -> tuple[str, ...]:
    """Return the keys of the nights of an instant that ended well, the oldest first; backfills look back."""
    ended_well = (_nights.status == "done") & (_nights.kind != "backfill") & (_nights.as_of == as_of)
    with reading(engine) as connection:
        return tuple(connection.scalars(select(_nights.night_key).where(ended_well).order_by(_nights.night_id)))


def users_without_live(engine: Engine) -> int:
    """Return how many users may get images and have none of the live model."""
    shown = v_users.c
    lacking = shown.live_asset_id.is_(None) & shown.listed & ~shown.opted_out & ~shown.forgotten
    with reading(engine) as connection:
        return connection.scalar(select(func.count()).select_from(v_users).where(lacking)) or 0


def silent_users(engine: Engine) -> frozenset[int]:
    """Return the keys of users who get no images: they opted out, are not named by the source, or were forgotten."""
    with reading(engine) as connection:
        return frozenset(connection.scalars(select(schema.user.c.user_key).where(schema.is_silent)))


def forgotten_user_ids(engine: Engine) -> frozenset[str]:
    """Return what the catalogue knows users by who were forgotten: a digest, or the id while they are being erased."""
    with reading(engine) as connection:
        return frozenset(connection.scalars(select(schema.user.c.user_id).where(schema.user.c.forgotten)))


def some_user_id(engine: Engine) -> str | None:
    """Return the id of the first user who was not erased, or None where there is none."""
    user = schema.user.c
    asked = select(user.user_id).where(~user.forgotten).order_by(user.user_key).limit(1)
    with reading(engine) as connection:
        return connection.scalar(asked)


def forgotten(engine: Engine) -> tuple[Forgotten, ...]:
    """Return the ledger of who was forgotten, the newest line first."""
    return _all(engine, Forgotten, select(v_forgotten).order_by(v_forgotten.c.forgotten_id.desc()))


def recommendations(engine: Engine, user_id: str, *, limit: int = 10) -> tuple[Recommendation, ...]:
    """Return what the newest night found for a user, the best first; nothing for who is silent or has no like.

    Raises:
        NotFoundError: there is no such user.
    """
    return _ranked(engine, Recommendation, v_recommendations, owner=schema.user.c.user_id, value=user_id, limit=limit)


def users_like(engine: Engine, user_id: str, *, limit: int = 10) -> tuple[UserNeighbour, ...]:
    """Return the users whose taste is like this user's, the nearest first; nothing for who is silent or has no like.

    Raises:
        NotFoundError: there is no such user.
    """
    return _ranked(engine, UserNeighbour, v_user_neighbours, owner=schema.user.c.user_id, value=user_id, limit=limit)


def items_like(engine: Engine, item_id: str, *, limit: int = 10) -> tuple[ItemNeighbour, ...]:
    """Return the items that are liked like this one, the nearest first; nothing for one that nobody liked.

    Raises:
        NotFoundError: there is no such item.
    """
    return _ranked(engine, ItemNeighbour, v_item_neighbours, owner=schema.item.c.item_id, value=item_id, limit=limit)


def user_key(engine: Engine, user_id: str) -> int:
    """Return the key of a user.

    Raises:
        NotFoundError: there is none.
    """
    with reading(engine) as connection:
        found = connection.scalar(select(schema.user.c.user_key).where(schema.user.c.user_id == user_id))
    if found is None:
        raise NotFoundError(f"There is no user {user_id!r} in the catalogue. Nothing was changed.")
    return int(found)


def user_keys(engine: Engine, user_ids: Sequence[str]) -> dict[str, int]:
    """Return the keys of those of these users who are known and may get images, by their ids."""
    found: dict[str, int] = {}
    columns = select(schema.user.c.user_id, schema.user.c.user_key).where(~schema.is_silent)
    with reading(engine) as connection:
        for part in chunks(user_ids):
            rows = connection.execute(columns.where(schema.user.c.user_id.in_(part)))
            found.update((user_id, key) for user_id, key in rows)
    return found


def count_assets(engine: Engine, user_id: str) -> int:
    """Return how many assets a user has, of all models."""
    with reading(engine) as connection:
        return connection.scalar(select(func.count()).select_from(_assets_of(user_id).subquery())) or 0


def shard_digests(engine: Engine) -> dict[str, tuple[int, str]]:
    """Return (bytes, sha256) of every catalogued shard by its path below the shard root."""
    with reading(engine) as connection:
        rows = connection.execute(select(_shards.path, _shards.byte_length, _shards.sha256))
        return {row.path: (row.byte_length, row.sha256) for row in rows}


def night_counts(engine: Engine, night_id: int) -> NightCounts:
    """Return what the night made, counted from the rows."""
    made = select(func.count()).where(_assets.night_id == night_id)
    aside = select(func.coalesce(func.sum(schema.quarantine.c.n_rows), 0))
    with reading(engine) as connection:
        return NightCounts(
            n_created=connection.scalar(made) or 0,
            n_quarantined=connection.scalar(aside.where(schema.quarantine.c.night_id == night_id)) or 0,
        )


def asset(engine: Engine, asset_id: int) -> AssetLineage:
    """Return one asset and everything it came from.

    Raises:
        NotFoundError: there is no such asset.
    """
    columns = (
        *_shared(AssetLineage, _assets), _shards.operating_point, _shards.encoder, _shards.path.label("shard_path"),
        _models.generator_sha256, _models.basis_version, _models.mlflow_run_id.label("training_run_id"),
        _nights.night_key, _nights.source,
    )  # fmt: skip
    origin = (
        schema.asset.join(schema.shard, _shards.shard_id == _assets.shard_id)
        .join(schema.model_version, _models.model_version_id == _assets.model_version_id)
        .join(schema.night, _nights.night_id == _assets.night_id)
    )
    query = select(*columns).select_from(origin).where(_assets.asset_id == asset_id)
    with reading(engine) as connection:
        shown = connection.execute(select(v_assets).where(v_assets.c.asset_id == asset_id)).all()
        rest = connection.execute(query).all()
    summary = AssetSummary(**_one(shown, f"asset {asset_id}")._asdict())
    return AssetLineage(summary=summary, **_one(rest, f"complete lineage of asset {asset_id}")._asdict())


def _assets_of(user_id: str) -> Select[tuple[int]]:
    """Return a subquery of a user's asset ids; naming the generators lets the natural key's index serve it."""
    owner = select(schema.user.c.user_key).where(schema.user.c.user_id == user_id).scalar_subquery()
    ours = _assets.generator_digest.in_(select(_models.generator_digest)) & (_assets.user_key == owner)
    return select(_assets.asset_id).where(ours)


def _ranked(
    engine: Engine, row_type: type[T], view: TableClause, *, owner: Column[str], value: str, limit: int
) -> tuple[T, ...]:
    """Return the first rows of a view of ranked rows; the user or item whose they are must be known."""
    query = select(view).where(view.c[owner.name] == value).order_by(view.c.rank).limit(limit)
    with reading(engine) as connection:
        _one(connection.execute(select(owner).where(owner == value)).all(), f"{owner.table.name} {value!r}")
        return tuple(row_type(**row._asdict()) for row in connection.execute(query))


def _shared(row_type: Any, columns: Any) -> list[Any]:
    """Return the columns that have the name of a field of `row_type`."""
    return [columns[field.name] for field in fields(row_type) if field.name in columns]


def _all(engine: Engine, row_type: type[T], query: Select[Any]) -> tuple[T, ...]:
    with reading(engine) as connection:
        return tuple(row_type(**row._asdict()) for row in connection.execute(query))


def _first(found: Sequence[T]) -> T | None:
    return found[0] if found else None


def _one(found: Sequence[T], name: str) -> T:
    if not found:
        raise NotFoundError(f"There is no {name} in the catalogue. Nothing was changed.")
    return found[0]


def item_titles(engine: Engine, item_ids: Sequence[str]) -> dict[str, str | None]:
    """Return the title of each of these items that is known."""
    columns = schema.item.c
    with reading(engine) as connection:
        rows = connection.execute(select(columns.item_id, columns.title).where(columns.item_id.in_(item_ids))).all()
    return {row.item_id: row.title for row in rows}
