"""Which images a filter of a standing question lets through, as one condition that no planner can start from.

Where to look is said elsewhere: a range of ids, or an index in the order that is asked for. What else is asked of a row
is looked up by its keys, row by row, until enough were found. A join or EXISTS would let PostgreSQL begin with all
users of a segment, or read the whole of `user_current` before the first row; several conditions would let it expect so
few rows that it sorts the night.
"""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, ScalarSelect, String, and_, bindparam, case, func, select

from personalgen.catalogue.schema import (
    asset,
    asset_rating,
    is_silent,
    live_release,
    model_version,
    user,
    user_change,
    user_current,
    user_variant,
)

_asset, _change, _release = asset.c, user_change.c, live_release.c


def asked_for(name: str, kind: Any) -> Any:
    """Return the place of a filter's value in a statement (`AssetFilter.values`)."""
    return bindparam(f"asked_{name}", type_=kind)


def fitting_images(shape: frozenset[str], user_key: ColumnElement[int] = _asset.user_key) -> list[ColumnElement[bool]]:
    """Return the condition on rows of `asset` that a filter of this shape sets: none, or one.

    `user_key` says whose they are, where an index of another table holds it, too.
    """
    told = _of_columns(shape, user_key, _asset.generator_digest)
    return _opaque([*told, _is_live()] if "live_only" in shape else told)


def fitting_changes(shape: frozenset[str]) -> list[ColumnElement[bool]]:
    """Return the condition on rows of `user_change` that a filter of this shape sets: none, or one."""
    told = _of_columns(shape, _change.user_key, _change.generator_digest)
    of_live = _change.generator_digest == _only(_release.generator_digest)
    return _opaque([*told, of_live] if "live_only" in shape else told)


def _of_columns(
    shape: frozenset[str], user_key: ColumnElement[int], generator_digest: ColumnElement[int]
) -> list[ColumnElement[bool]]:
    """Return segment and model as conditions; the segment comes first, which needs no row but its user's."""
    found: list[ColumnElement[bool]] = []
    if "segment" in shape:
        segment = func.coalesce(_only(user.c.segment, user.c.user_key == user_key), "")
        found.append(segment == asked_for("segment", String))
    if "model_version" in shape:
        version = _only(model_version.c.version, model_version.c.generator_digest == generator_digest)
        found.append(version == asked_for("model_version", BigInteger))
    return found


def _is_live() -> ColumnElement[bool]:
    """Return whether an image is what its user sees now, as `v_assets.is_live` says it."""
    current, further = user_current.c, user_variant.c
    shown = case(
        (_asset.variant == 0, _only(current.asset_id, *_of_same_owner(current))),
        else_=_only(further.asset_id, *_of_same_owner(further), further.variant == _asset.variant),
    )
    return and_(
        _asset.generator_digest == _only(_release.generator_digest),
        _asset.operating_point_digest == _only(_release.operating_point_digest),
        shown == _asset.asset_id,
        _only((~is_silent).label("seen"), user.c.user_key == _asset.user_key),
    )


def _of_same_owner(columns: Any) -> tuple[ColumnElement[bool], ...]:
    return columns.generator_digest == _asset.generator_digest, columns.user_key == _asset.user_key


def _only(column: ColumnElement[Any], *where: ColumnElement[bool]) -> ScalarSelect[Any]:
    """Return a column of the one row that these conditions leave, or null, as a value within a statement."""
    return select(column).where(*where).correlate(asset, asset_rating, user_change).scalar_subquery()


def _opaque(told: list[ColumnElement[bool]]) -> list[ColumnElement[bool]]:
    """Return conditions as one whose rows no planner can count: it expects one in 200."""
    return [case((and_(*told), 1), else_=0) == 1] if told else []
