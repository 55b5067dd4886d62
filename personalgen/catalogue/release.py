"""Which model users see: every decision is a row of `model_promotion`, and one row, `live_release`, is the truth.

The registry's alias follows that row (the catalogue cannot see it). A rollback moves the pointer alone: assets and
history stay.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Engine, Row, select

from personalgen.catalogue.bulk import insert_into
from personalgen.catalogue.engine import transaction
from personalgen.catalogue.facts import Action, Repointing
from personalgen.catalogue.schema import live_release, model_promotion, model_version
from personalgen.catalogue.shards import move_pointers
from personalgen.errors import NotFoundError

_ONE = 1
_MOVES = ("promote", "manual", "rollback")


def release(
    engine: Engine,
    model_version_id: int,
    *,
    operating_point: Mapping[str, Any],
    operating_point_digest: int,
    night_id: int | None,
    reason: str,
    actor: str,
    at: datetime,
    verdict: Mapping[str, Any] | None = None,
    action: Literal["promote", "manual"] = "promote",
    repointing: Repointing | None = None,
) -> bool:
    """Write the promotion and move `live_release` to the model, as one; return False where this night did so before.

    With `repointing` its users' current assets move in the same moment: for the live model at another operating point.
    A night's promotion is applied once: a rerun after a rollback does not undo the rollback.

    Raises:
        NotFoundError: there is no such model version. Nothing was changed.
    """
    point = {"operating_point": dict(operating_point), "operating_point_digest": operating_point_digest}
    with transaction(engine) as connection:
        decision = _decision(action, model_version_id, night_id=night_id, reason=reason, actor=actor, verdict=verdict)
        if not _record(connection, {**decision, **point, "at": at}):
            return False
        _move(connection, model_version_id, {**point, "night_id": night_id, "moved_at": at})
        if repointing is not None:
            move_pointers(connection, **repointing._asdict())
        return True


def hold(
    engine: Engine,
    model_version_id: int,
    *,
    night_id: int | None,
    reason: str,
    actor: str,
    at: datetime,
    verdict: Mapping[str, Any] | None = None,
) -> bool:
    """Write that the candidate was not promoted; return False where this night wrote so before. Nothing moves.

    Raises:
        NotFoundError: there is no such model version. Nothing was changed.
    """
    with transaction(engine) as connection:
        decision = _decision("hold", model_version_id, night_id=night_id, reason=reason, actor=actor, verdict=verdict)
        return _record(connection, {**decision, "at": at})


def rollback(engine: Engine, *, reason: str, actor: str, at: datetime, to: int | None = None) -> int:
    """Move `live_release` back to model version `to`, at the operating point it was last released with; return its id.

    Without `to`: the model that the live one replaced when it was last promoted: two rollbacks go two steps back.

    Raises:
        NotFoundError: nothing is live, `to` is live or was never released, or there is nothing before the live model.
            Nothing was changed.
    """
    with transaction(engine) as connection:
        live = _live_model(connection)
        target = to if to is not None else _replaced_by(connection, live)
        if target == live:
            raise NotFoundError(f"Model version {target} is live already. Nothing was changed.")
        last = _last_move(connection, target)
        point = {"operating_point": last.operating_point, "operating_point_digest": last.operating_point_digest}
        decision = _decision("rollback", target, night_id=None, reason=reason, actor=actor, verdict=None)
        _record(connection, {**decision, **point, "at": at})
        _move(connection, target, {**point, "night_id": None, "moved_at": at})
        return target


def _decision(
    action: Action,
    to: int,
    *,
    night_id: int | None,
    reason: str,
    actor: str,
    verdict: Mapping[str, Any] | None,
) -> dict[str, Any]:
    return {
        "action": action, "to_model_version_id": to, "night_id": night_id, "reason": reason, "actor": actor,
        "verdict": None if verdict is None else dict(verdict),
    }  # fmt: skip


def _record(connection: Connection, decision: Mapping[str, Any]) -> bool:
    """Insert the decision; False where the night, action and model are there. Manual rows have no night: always new."""
    to = decision["to_model_version_id"]
    if connection.scalar(select(model_version.c.version).where(model_version.c.model_version_id == to)) is None:
        raise NotFoundError(f"There is no model version {to} in the catalogue. Nothing was changed.")
    same = [model_promotion.c[name] == decision[name] for name in ("night_id", "action", "to_model_version_id")]
    if decision["night_id"] is not None and connection.scalar(select(model_promotion.c.promotion_id).where(*same)):
        return False  # asked first, as a refused insert takes a number on both databases
    row = {**decision, "from_model_version_id": _live_model(connection)}
    return (
        connection.execute(insert_into(connection, model_promotion).values(**row).on_conflict_do_nothing()).rowcount > 0
    )


def _move(connection: Connection, model_version_id: int, values: Mapping[str, Any]) -> None:
    """Point `live_release` at the model."""
    columns = select(model_version.c.generator_digest, model_version.c.basis_version)
    model = connection.execute(columns.where(model_version.c.model_version_id == model_version_id)).one()
    row = {**values, "model_version_id": model_version_id, **model._asdict()}
    upsert = insert_into(connection, live_release).values(release_id=_ONE, **row)
    connection.execute(upsert.on_conflict_do_update(index_elements=[live_release.c.release_id], set_=row))


def _live_model(connection: Connection) -> int | None:
    return connection.scalar(select(live_release.c.model_version_id))


def _replaced_by(connection: Connection, live: int | None) -> int:
    """Return what was live before `live` was last promoted."""
    table = model_promotion.c
    before = select(table.from_model_version_id).where(
        table.to_model_version_id == live,
        table.action.in_(("promote", "manual")),
        table.from_model_version_id.is_not(None),
        table.from_model_version_id != live,
    )
    found = connection.scalar(before.order_by(table.promotion_id.desc()).limit(1))
    if found is None:
        raise NotFoundError("There is no release before the live one to roll back to. Nothing was changed.")
    return int(found)


def _last_move(connection: Connection, model_version_id: int) -> Row[Any]:
    """Return the latest decision that made the model live."""
    moves = select(model_promotion).where(
        model_promotion.c.to_model_version_id == model_version_id, model_promotion.c.action.in_(_MOVES)
    )
    found = connection.execute(moves.order_by(model_promotion.c.promotion_id.desc()).limit(1)).first()
    if found is None:
        raise NotFoundError(
            f"Model version {model_version_id} was never live, so there is nothing to roll back to. See "
            "`personalgen models list`; `models promote` releases a model for the first time. Nothing was changed."
        )
    return found
