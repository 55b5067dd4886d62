"""The queries behind the standing questions: each of one shape, its values bound by name (`prepared.ask`)."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Integer, Select, bindparam, select, tuple_

from personalgen.catalogue.fitting import fitting_changes, fitting_images
from personalgen.catalogue.prepared import places_in
from personalgen.catalogue.schema import asset, asset_rating, model_version, night, user, user_change
from personalgen.catalogue.views import v_assets

_LOWEST = -1e308
Order = tuple[ColumnElement[Any], ...]
_shown, _asset, _change, _rated = v_assets.c, asset.c, user_change.c, asset_rating.c
BY_SCORE: Order = (_asset.score, _asset.asset_id)
BY_RATING: Order = (_rated.mean, _rated.n_ratings, _rated.asset_id)
# For some users' images alone. As expressions, so that no planner looks for these users among the images of all.
BY_NIGHT_AND_SCORE: Order = ((_asset.night_id + 0).label("night_id"), *BY_SCORE)
BY_NIGHT_AND_RATING: Order = ((_rated.night_id + 0).label("night_id"), *BY_RATING)
BY_SHIFT: Order = (_change.shift, _change.generator_digest, _change.user_key, _change.night_id)


def best_of_night(shape: frozenset[str]) -> Select[Any]:
    """Return the query of a night's scored images."""
    query = select(*BY_SCORE).where(_asset.night_id == bindparam("night", type_=BigInteger), _asset.score > _LOWEST)
    return query.where(*fitting_images(shape))


def _own(shape: frozenset[str], n_keys: int, n_generators: int, n_nights: int | None) -> Select[Any]:
    """Return the query of some users' images by the natural key's index, of these models and nights."""
    query = select(_asset.night_id, *BY_SCORE).where(
        places_in(_asset.generator_digest, "generators", n_generators),
        places_in(_asset.user_key, "keys", n_keys),
        *fitting_images(shape),
    )
    return query if n_nights is None else query.where(places_in(_asset.night_id + 0, "nights", n_nights))


def best_of_people(shape: frozenset[str], n_keys: int, n_generators: int, n_nights: int | None) -> Select[Any]:
    """Return the query of some users' scored images."""
    return _own(shape, n_keys, n_generators, n_nights).where(_asset.score > _LOWEST)


def newest_of_people(shape: frozenset[str], n_keys: int, n_generators: int, n_nights: int | None) -> Select[Any]:
    """Return the query of some users' images with ids between `first` and `last`, the newest first."""
    newest = _own(shape, n_keys, n_generators, n_nights).where(_within_ids(_asset.asset_id + 0))
    return newest.order_by((_asset.asset_id + 0).desc()).limit(bindparam("limit", type_=Integer))


def newest(shape: frozenset[str], n_nights: int) -> Select[Any]:
    """Return the query of images with ids between `first` and `last`, of these nights if any, the newest first."""
    query = select(_asset.asset_id).where(_within_ids(_asset.asset_id), *fitting_images(shape))
    if n_nights:
        query = query.where(places_in(_asset.night_id + 0, "nights", n_nights))
    return query.order_by(_asset.asset_id.desc()).limit(bindparam("limit", type_=Integer))


def _within_ids(asset_id: ColumnElement[int]) -> ColumnElement[bool]:
    return asset_id.between(bindparam("first"), bindparam("last"))


def ratings(shape: frozenset[str], n_keys: int | None, n_nights: int | None) -> Select[Any]:
    """Return the query of a night's rated images, or of those of some users, in some nights or all."""
    query = select(_rated.night_id, _rated.asset_id, _rated.n_ratings, _rated.mean)
    if shape & {"model_version", "live_only"}:
        query = query.join_from(asset_rating, asset, _asset.asset_id == _rated.asset_id)
    query = query.where(*fitting_images(shape, _rated.user_key))
    if n_keys is None:
        return query.where(_rated.night_id == bindparam("night", type_=BigInteger))
    query = query.where(places_in(_rated.user_key, "keys", n_keys))
    return query if n_nights is None else query.where(places_in(_rated.night_id + 0, "nights", n_nights))


def changes(shape: frozenset[str], n_keys: int, n_generators: int, n_nights: int) -> Select[Any]:
    """Return the query of who changed in a night, or of some users in some nights; those who came back are left out."""
    joined = (
        user_change.outerjoin(night, night.c.night_id == _change.night_id)
        .outerjoin(user, user.c.user_key == _change.user_key)
        .outerjoin(model_version, model_version.c.generator_digest == _change.generator_digest)
    )
    names = (night.c.day, user.c.user_id, user.c.segment, model_version.c.model_name)
    version = model_version.c.version.label("model_version")
    query = select(user_change, *names, version).select_from(joined).where(_change.old_asset_id != _change.new_asset_id)
    query = query.where(*fitting_changes(shape))
    if not n_keys:
        return query.where(_change.night_id == bindparam("night", type_=BigInteger))
    return query.where(
        places_in(_change.user_key, "keys", n_keys),
        places_in(_change.generator_digest, "generators", n_generators),
        places_in(_change.night_id, "nights", n_nights),
    )


def by_ids(count: int) -> Select[Any]:
    """Return the query of images by their ids; its columns are in the order of `AssetSummary`."""
    return select(v_assets).where(places_in(_shown.asset_id, "ids", count))


def changed_to(n_nights: int) -> Select[Any]:
    """Return the query of the place, in the order of `changed`, of who changed to an asset in a night."""
    here = (_change.night_id == bindparam("night")) & (_change.new_asset_id == bindparam("asset"))
    return select(*BY_SHIFT).where(here, places_in(_change.night_id, "nights", n_nights))


def changed_to_own(n_nights: int) -> Select[Any]:
    """Return what `changed_to` does, by the asset's owner: a key, where the asset is still there."""
    place = changed_to(n_nights)
    same = (_change.generator_digest == _asset.generator_digest) & (_change.user_key == _asset.user_key)
    return place.select_from(asset).join(user_change, same).where(_asset.asset_id == bindparam("asset"))


def place_by_score() -> Select[Any]:
    """Return the query of an asset's place by the judge's score."""
    place = select(_asset.night_id, *BY_SCORE)
    return place.where(_asset.asset_id == bindparam("asset"), _asset.score.is_not(None))


def place_by_rating() -> Select[Any]:
    """Return the query of an asset's place by people's ratings."""
    return select(_rated.night_id, *BY_RATING).where(_rated.asset_id == bindparam("asset"))


def falling(
    build: Callable[..., Select[Any]], shape: tuple[Any, ...], order: Order, after: tuple[str, ...]
) -> Select[Any]:
    """Return the query that `build` makes, from the highest `order` down, after a row where it goes on from one."""
    query = build(*shape)
    if after:
        place = (bindparam(name, type_=column.type) for name, column in zip(after, order, strict=True))
        query = query.where(tuple_(*order) < tuple_(*place))
    return query.order_by(*(column.desc() for column in order)).limit(bindparam("limit", type_=Integer))
