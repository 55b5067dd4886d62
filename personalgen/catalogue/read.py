"""Typed reads for people and for the steps: one SELECT each, apart from the write verbs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Row, Select, func, select
from sqlalchemy.exc import DBAPIError

from personalgen.catalogue.rows import (
    AssetLineage,
    AssetSummary,
    LiveRelease,
    ModelVersion,
    Night,
    NightCounts,
    Promotion,
)
from personalgen.catalogue.schema import (
    asset,
    live_release,
    model_promotion,
    model_version,
    night,
    quarantine,
    shard,
    user_current,
)
from personalgen.catalogue.schema import user as user_table
from personalgen.catalogue.views import v_assets
from personalgen.errors import CatalogueError, NotFoundError

T = TypeVar("T")


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Yield a connection to read from: everything inside sees one state of the catalogue on SQLite.

    Raises:
        CatalogueError: the database is locked, gone, or has no tables yet.
    """
    try:
        with engine.connect() as connection:
            yield connection
    except DBAPIError as error:
        raise CatalogueError(
            f"The catalogue {engine.url.render_as_string()} could not be read: {error.orig}. Check that it is "
            "reachable and that `personalgen nightly` has made its tables."
        ) from error


def live(engine: Engine) -> LiveRelease | None:
    """Return what users see now, or None before the first release."""
    named = live_release.join(model_version, model_version.c.model_version_id == live_release.c.model_version_id)
    columns = [live_release.c[name] for name in _names(LiveRelease) if name in live_release.c]
    query = select(*columns, model_version.c.model_name, model_version.c.version).select_from(named)
    return next(iter(_all(engine, LiveRelease, query)), None)


def model_versions(engine: Engine, *, model_name: str | None = None) -> tuple[ModelVersion, ...]:
    """Return the registered versions, the newest first."""
    query = select(model_version).order_by(model_version.c.model_version_id.desc())
    return _all(
        engine, ModelVersion, query if model_name is None else query.where(model_version.c.model_name == model_name)
    )


def model_by_id(engine: Engine, model_version_id: int) -> ModelVersion:
    """Return a model version by its catalogue id.

    Raises:
        NotFoundError: there is none.
    """
    query = select(model_version).where(model_version.c.model_version_id == model_version_id)
    return _one(_all(engine, ModelVersion, query), f"model version with catalogue id {model_version_id}")


def model_by_version(engine: Engine, model_name: str, version: int) -> ModelVersion:
    """Return a model version by its registry name and number.

    Raises:
        NotFoundError: there is none.
    """
    query = select(model_version).where(model_version.c.model_name == model_name, model_version.c.version == version)
    return _one(_all(engine, ModelVersion, query), f"{model_name} v{version}")


def model_by_weights(engine: Engine, generator_sha256: str) -> ModelVersion | None:
    """Return the model version with these weights, or None: ask before making a new version in the registry."""
    query = select(model_version).where(model_version.c.generator_sha256 == generator_sha256)
    return next(iter(_all(engine, ModelVersion, query)), None)


def promotions(engine: Engine, *, limit: int = 100) -> tuple[Promotion, ...]:
    """Return the decisions about the live model, the newest first."""
    to, before = model_version.alias(), model_version.alias()
    joined = model_promotion.join(to, to.c.model_version_id == model_promotion.c.to_model_version_id).outerjoin(
        before, before.c.model_version_id == model_promotion.c.from_model_version_id
    )
    columns = [model_promotion.c[name] for name in _names(Promotion) if name in model_promotion.c]
    versions = [to.c.model_name, to.c.version.label("to_version"), before.c.version.label("from_version")]
    query = select(*columns, *versions).select_from(joined).order_by(model_promotion.c.promotion_id.desc())
    return _all(engine, Promotion, query.limit(limit))


def nights(engine: Engine, *, limit: int = 100) -> tuple[Night, ...]:
    """Return the nights, the newest first."""
    return _all(engine, Night, select(night).order_by(night.c.night_id.desc()).limit(limit))


def night_by_key(engine: Engine, night_key: str) -> Night | None:
    """Return the night with this key, or None where it never began."""
    return next(iter(_all(engine, Night, select(night).where(night.c.night_key == night_key))), None)


def night_counts(engine: Engine, night_id: int) -> NightCounts:
    """Return what the night made, counted from the rows."""
    per_model = (
        select(asset.c.model_version_id, func.count().label("n"))
        .where(asset.c.night_id == night_id)
        .group_by(asset.c.model_version_id)
        .subquery()
    )
    named = select(model_version.c.model_name, model_version.c.version, per_model.c.n).join(
        per_model, per_model.c.model_version_id == model_version.c.model_version_id
    )
    changed = select(func.count()).select_from(user_current).where(user_current.c.changed_night_id == night_id)
    aside = select(func.coalesce(func.sum(quarantine.c.n_rows), 0)).where(quarantine.c.night_id == night_id)
    with reading(engine) as connection:
        by_model = {(name, version): n for name, version, n in connection.execute(named)}
        n_changed, n_quarantined = connection.scalar(changed) or 0, connection.scalar(aside) or 0
    return NightCounts(
        n_created=sum(by_model.values()), by_model=by_model, n_changed_users=n_changed, n_quarantined=n_quarantined
    )


def latest_assets(
    engine: Engine, *, limit: int = 50, before_asset_id: int | None = None, user_id: str | None = None
) -> tuple[AssetSummary, ...]:
    """Return the newest assets, the newest first; the next page is the one before the last id of this one.

    With `user_id`, only those of that user, found through the natural key.
    """
    query = select(v_assets).order_by(v_assets.c.asset_id.desc()).limit(limit)
    if before_asset_id is not None:
        query = query.where(v_assets.c.asset_id < before_asset_id)
    if user_id is not None:
        query = query.where(v_assets.c.asset_id.in_(_assets_of(user_id)))
    return _all(engine, AssetSummary, query)


def asset_lineage(engine: Engine, asset_id: int) -> AssetLineage:
    """Return one asset and everything it came from.

    Raises:
        NotFoundError: there is no such asset.
    """
    columns = [
        asset.c.user_key, asset.c.condition_digest, asset.c.operating_point_digest, asset.c.model_version_id,
        asset.c.member, asset.c.shard_offset, asset.c.byte_length, asset.c.crc32,
        shard.c.operating_point, shard.c.encoder, shard.c.path.label("shard_path"),
        model_version.c.generator_sha256, model_version.c.basis_version,
        model_version.c.mlflow_run_id.label("training_run_id"), night.c.night_key, night.c.source,
    ]  # fmt: skip
    joined = (
        asset.join(shard, shard.c.shard_id == asset.c.shard_id)
        .join(model_version, model_version.c.model_version_id == asset.c.model_version_id)
        .join(night, night.c.night_id == asset.c.night_id)
    )
    query = select(*columns).select_from(joined).where(asset.c.asset_id == asset_id)
    with reading(engine) as connection:
        summary = connection.execute(select(v_assets).where(v_assets.c.asset_id == asset_id)).all()
        rest = connection.execute(query).all()
    shown = _one([_as(AssetSummary, row) for row in summary], f"asset {asset_id}")
    return AssetLineage(summary=shown, **_one(rest, f"asset {asset_id}")._asdict())


def _assets_of(user_id: str) -> Select[tuple[int]]:
    """Return a subquery of a user's asset ids; naming the generators makes the natural key's index serve it."""
    owner = select(user_table.c.user_key).where(user_table.c.user_id == user_id).scalar_subquery()
    generators = select(model_version.c.generator_digest)
    return select(asset.c.asset_id).where(asset.c.generator_digest.in_(generators), asset.c.user_key == owner)


def _names(row_type: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(row_type))


def _as(row_type: type[T], row: Row[Any]) -> T:
    return row_type(**row._asdict())


def _all(engine: Engine, row_type: type[T], query: Select[Any]) -> tuple[T, ...]:
    with reading(engine) as connection:
        return tuple(_as(row_type, row) for row in connection.execute(query))


def _one(found: Sequence[T], name: str) -> T:
    if not found:
        raise NotFoundError(f"There is no {name} in the catalogue. Nothing was changed.")
    return found[0]
