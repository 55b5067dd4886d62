"""Deleting a night: refused while somebody's image is in it; its rows go in one transaction, its files after that."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, Table, delete, func, insert, select, update

from personalgen.catalogue.engine import transaction
from personalgen.catalogue.erasures import ask_for_removal, delete_assets
from personalgen.catalogue.read import reading
from personalgen.catalogue.schema import (
    asset,
    comparison,
    daily_stat,
    live_release,
    model_promotion,
    model_version,
    night,
    night_deletion,
    quarantine,
    rating,
    shard,
    user_change,
    user_current,
    user_variant,
)
from personalgen.errors import NotFoundError, UserError

_POINTING = {"current images": user_current, "further images": user_variant}
_OWN = (comparison, quarantine, user_change, daily_stat)
"""Tables of which a night's rows go with it, apart from its images; `data_health` stays for later nights."""


@dataclass(frozen=True)
class NightDeletion:
    """A line of the ledger of deleted nights."""

    night_deletion_id: int
    night_id: int
    requested_at: datetime
    actor: str
    reason: str
    removed: Mapping[str, int]
    """How many of each kind of row went."""
    finished_at: datetime | None
    """When the last file was gone; None: not yet."""


def delete_night(engine: Engine, night_id: int, *, actor: str, reason: str, at: datetime) -> NightDeletion:
    """Delete what the catalogue holds of a night but its own row, which says `deleted`; return the ledger's line.

    Models that the night trained, and decisions about them, stay: other nights' images are drawn by them. The shards'
    files are to be removed afterwards (`erasures.asked_removals`).

    Raises:
        NotFoundError: there is no such night, or it was deleted before. Nothing was changed.
        UserError: images of it stand for users, under the live model, one to roll back to, or another one.
    """
    with transaction(engine) as connection:
        _require_there(connection, night_id)
        _require_unused(connection, night_id)
        removed = _delete_rows(connection, night_id, at)
        connection.execute(update(night).where(night.c.night_id == night_id).values(status="deleted"))
        line = insert(night_deletion).values(
            night_id=night_id, requested_at=at, actor=actor, reason=reason, removed=removed
        )
        made = connection.execute(line).inserted_primary_key
    return NightDeletion(int((made or (0,))[0]), night_id, at, actor, reason, removed, finished_at=None)


def night_deletions(engine: Engine, *, open_only: bool = False) -> tuple[NightDeletion, ...]:
    """Return the ledger of deleted nights, the newest first; with `open_only` those whose files are still there."""
    query = select(night_deletion).order_by(night_deletion.c.night_deletion_id.desc())
    if open_only:
        query = query.where(night_deletion.c.finished_at.is_(None))
    with reading(engine) as connection:
        return tuple(NightDeletion(**row._asdict()) for row in connection.execute(query))


def finish_deletion(engine: Engine, night_deletion_id: int, *, at: datetime) -> None:
    """Write that a deleted night's files are gone."""
    with transaction(engine) as connection:
        line = night_deletion.c.night_deletion_id == night_deletion_id
        connection.execute(update(night_deletion).where(line).values(finished_at=at))


def stands_for_users(engine: Engine, night_id: int) -> bool:
    """Return whether an image of the night is somebody's current or further one, under whichever model."""
    with reading(engine) as connection:
        return any(_uses(connection, table, night_id) for table in _POINTING.values())


def _require_there(connection: Connection, night_id: int) -> None:
    status = connection.scalar(select(night.c.status).where(night.c.night_id == night_id))
    if status is None:
        raise NotFoundError(f"There is no night {night_id} in the catalogue. Nothing was changed.")
    if status == "deleted":
        raise NotFoundError(f"Night {night_id} was deleted before. Nothing was changed.")


def _require_unused(connection: Connection, night_id: int) -> None:
    """Refuse where images of the night stand for users, and say under which models and how many."""
    uses = [(what, *row) for what, table in _POINTING.items() for row in _uses(connection, table, night_id)]
    if not uses:
        return
    roles = _roles(connection)
    told = ", ".join(
        f"{count:,} {what} under {name} v{version} ({roles.get(model, 'neither live nor released before')})"
        for what, model, name, version, count in uses
    )
    raise UserError(
        f"Night {night_id} cannot be deleted: its images stand for users: {told}. Wait until later nights have given "
        "these users other images. Nothing was changed."
    )


def _uses(connection: Connection, table: Table, night_id: int) -> list[tuple[int, str, int, int]]:
    """Return (model, its name, its version, count) of the night's images that a table points at."""
    columns = (model_version.c.model_version_id, model_version.c.model_name, model_version.c.version)
    query = (
        select(*columns, func.count())
        .select_from(asset)
        .join(table, table.c.asset_id == asset.c.asset_id)
        .join(model_version, model_version.c.model_version_id == asset.c.model_version_id)
        .where(asset.c.night_id == night_id)
        .group_by(*columns)
        .order_by(columns[0])
    )
    return [(model, name, version, count) for model, name, version, count in connection.execute(query)]


def _roles(connection: Connection) -> dict[int, str]:
    """Return what each released model is to users now."""
    moves = model_promotion.c.action.in_(("promote", "manual", "rollback"))
    released = connection.scalars(select(model_promotion.c.to_model_version_id).where(moves).distinct())
    roles = dict.fromkeys(released, "a rollback target")
    return roles | dict.fromkeys(connection.scalars(select(live_release.c.model_version_id)), "live")


def _delete_rows(connection: Connection, night_id: int, at: datetime) -> dict[str, int]:
    """Delete the night's images and own rows; return how many of each kind."""
    ids = list(connection.scalars(select(asset.c.asset_id).where(asset.c.night_id == night_id)))
    former = user_current.c.previous_asset_id.in_(select(asset.c.asset_id).where(asset.c.night_id == night_id))
    unset = update(user_current).where(former).values(previous_asset_id=None)
    removed = {"previous images": connection.execute(unset).rowcount}
    theirs = rating.c.asset_id.in_(select(asset.c.asset_id).where(asset.c.night_id == night_id))
    removed["ratings"] = connection.scalar(select(func.count()).select_from(rating).where(theirs)) or 0
    removed["images"] = delete_assets(connection, ids)
    paths = list(connection.scalars(select(shard.c.path).where(shard.c.night_id == night_id)))
    ask_for_removal(connection, paths, at=at)
    removed["shards"] = connection.execute(delete(shard).where(shard.c.night_id == night_id)).rowcount
    for table in _OWN:
        removed[table.name] = connection.execute(delete(table).where(table.c.night_id == night_id)).rowcount
    return removed
