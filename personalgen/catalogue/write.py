"""Nights, models, users, items, quarantine, recommendations and who is forgotten: each verb is one transaction.

Doing it twice is doing it once, but for `record_forgotten`, where each request is a line of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, delete, insert, or_, select, update

from personalgen.artifacts import weights_key
from personalgen.catalogue.bulk import chunks, execute_rows, insert_into
from personalgen.catalogue.engine import transaction
from personalgen.catalogue.facts import (
    ForgottenFacts,
    ItemFacts,
    ModelFacts,
    NightFacts,
    NightStatus,
    QuarantineFacts,
    Ranked,
)
from personalgen.catalogue.people import delete_people
from personalgen.catalogue.ranked import ITEM_NEIGHBOURS, RECOMMENDATIONS, USER_NEIGHBOURS, Kind, replace_ranked
from personalgen.catalogue.schema import (
    erasure,
    forgotten,
    item,
    model_version,
    night,
    quarantine,
    user,
)
from personalgen.errors import CatalogueError, NotFoundError

_RUNS = ("mlflow_run_id", "prefect_flow_run_id")
"""What another attempt tells anew, where it knows it."""


def begin_night(engine: Engine, facts: NightFacts, *, at: datetime) -> int:
    """Return the night's id: a new night with one attempt, or one more attempt of the night with this key.

    Another attempt takes no number of its own: ids of nights follow one another, however often one is begun.
    """
    runs = {name: value for name in _RUNS if (value := getattr(facts, name)) is not None}
    again = {"attempts": night.c.attempts + 1, "status": "running", "finished_at": None, **runs}
    with transaction(engine) as connection:
        same = night.c.night_key == facts.night_key
        if not connection.execute(update(night).where(same).values(**again)).rowcount:
            first = insert_into(connection, night).values(**asdict(facts), status="running", attempts=1, created_at=at)
            connection.execute(first.on_conflict_do_update(index_elements=[night.c.night_key], set_=again))
        return int(connection.scalar(select(night.c.night_id).where(same)) or 0)


def finish_night(
    engine: Engine, night_id: int, *, status: NightStatus, counts: Mapping[str, Any] | None = None, at: datetime
) -> None:
    """Record how the night ended and what it counted.

    Raises:
        NotFoundError: there is no such night.
    """
    values = {"status": status, "finished_at": at, **({} if counts is None else {"counts": dict(counts)})}
    with transaction(engine) as connection:
        if not connection.execute(update(night).where(night.c.night_id == night_id).values(**values)).rowcount:
            raise NotFoundError(f"There is no night {night_id} in the catalogue. Nothing was changed.")


def reopen_night(engine: Engine, night_id: int) -> None:
    """Say of a night that was done that it runs again; what it counted stays, and so does the watermark."""
    was_done = (night.c.night_id == night_id) & (night.c.status == "done")
    with transaction(engine) as connection:
        connection.execute(update(night).where(was_done).values(status="running", finished_at=None))


def close_killed_nights(engine: Engine, *, but: int, at: datetime) -> int:
    """Say of nights that are running, though no process of theirs can be, that they were killed; return how many.

    Call it where no other night of this catalogue can run; the night with the id `but` is the one that does.
    """
    dead = (night.c.status == "running") & (night.c.night_id != but)
    with transaction(engine) as connection:
        return connection.execute(update(night).where(dead).values(status="killed", finished_at=at)).rowcount


def register_model(engine: Engine, facts: ModelFacts, *, at: datetime) -> int:
    """Return the id of the model version with these weights, inserted unless it is there; a verdict replaces the old.

    Another attempt takes no number of its own, as in `begin_night`.

    Raises:
        CatalogueError: the weights, or the name and version, are already registered as something else.
    """
    values = {**asdict(facts), "generator_digest": weights_key(facts.generator_sha256), "created_at": at}
    with transaction(engine) as connection:
        known = model_version.c.generator_sha256 == facts.generator_sha256
        if connection.scalar(select(model_version.c.model_version_id).where(known)) is None:
            connection.execute(insert_into(connection, model_version).values(**values).on_conflict_do_nothing())
        model_version_id = _registered(connection, facts)
        if facts.verdict is not None:
            same = model_version.c.model_version_id == model_version_id
            connection.execute(update(model_version).where(same).values(verdict=facts.verdict))
        return model_version_id


def allocate_user_keys(
    engine: Engine,
    user_ids: Sequence[str],
    *,
    night_id: int | None,
    segments: Sequence[str | None] | None = None,
    opted_out: Sequence[bool] | None = None,
) -> NDArray[np.int64]:
    """Return (n,) int64: the key of each user, in the order given; unknown users are inserted in sorted order.

    Known users keep their key and their first night; `segments` and `opted_out`, where given, replace what was stored.
    A user_id that occurs twice gets one key; its last segment counts.
    """
    wanted = {
        user_id: _Person(segments[index] if segments else None, bool(opted_out[index]) if opted_out else False)
        for index, user_id in enumerate(user_ids)
    }
    with transaction(engine) as connection:
        stored = _stored_users(connection, list(wanted))
        new = sorted(set(wanted) - set(stored))
        rows = [{"user_id": name, **wanted[name]._asdict(), "first_night_id": night_id} for name in new]
        execute_rows(connection, insert_into(connection, user).on_conflict_do_nothing(), rows)
        _update_users(connection, wanted, stored, segments=segments is not None, opted_out=opted_out is not None)
        keys = {name: key for name, (key, _) in {**stored, **_stored_users(connection, new)}.items()}
    return np.fromiter((keys[name] for name in user_ids), dtype=np.int64, count=len(user_ids))


def list_users(engine: Engine, user_ids: Sequence[str]) -> int:
    """Mark these users as the ones whom the source names now; return how many others were and are not any more."""
    named = set(user_ids)
    with transaction(engine) as connection:
        stored = connection.execute(select(user.c.user_key, user.c.user_id, user.c.listed)).all()
        gone = [row.user_key for row in stored if row.listed and row.user_id not in named]
        back = [row.user_key for row in stored if not row.listed and row.user_id in named]
        for keys, listed in ((gone, False), (back, True)):
            for part in chunks(keys):
                connection.execute(update(user).where(user.c.user_key.in_(part)).values(listed=listed))
    return len(gone)


def upsert_items(engine: Engine, items: Sequence[ItemFacts], *, night_id: int | None) -> int:
    """Insert new items in sorted order, refresh title and picture of known ones; return how many rows were written."""
    rows = [{**asdict(facts), "first_night_id": night_id} for facts in sorted(items, key=lambda facts: facts.item_id)]
    with transaction(engine) as connection:
        insert = insert_into(connection, item)
        fresh = {"title": insert.excluded.title, "image_sha256": insert.excluded.image_sha256}
        differs = or_(*(item.c[name].is_distinct_from(value) for name, value in fresh.items()))
        upsert = insert.on_conflict_do_update(index_elements=[item.c.item_id], set_=fresh, where=differs)
        return execute_rows(connection, upsert, rows)


def record_quarantine(engine: Engine, night_id: int, facts: Sequence[QuarantineFacts]) -> None:
    """Record how many rows the night set aside, by table and reason; a second attempt replaces its own counts."""
    rows = [{**asdict(entry), "night_id": night_id} for entry in facts]
    with transaction(engine) as connection:
        insert = insert_into(connection, quarantine)
        key = [quarantine.c.night_id, quarantine.c.source_table, quarantine.c.reason]
        fresh = {"n_rows": insert.excluded.n_rows, "path": insert.excluded.path}
        execute_rows(connection, insert.on_conflict_do_update(index_elements=key, set_=fresh), rows)


def replace_recommendations(engine: Engine, night_id: int, found: Ranked) -> int:
    """Put the items that this night found for users in the place of those of the night before; return how many rows.

    Users who are silent get none, whoever asks. All is replaced, or nothing.

    Raises:
        CatalogueError: a user or an item is unknown, or a user stands there twice. The old rows are still there.
        NotFoundError: there is no such night.
    """
    return _replace(engine, RECOMMENDATIONS, night_id, found)


def replace_item_neighbours(engine: Engine, night_id: int, found: Ranked) -> int:
    """Put the items that are liked like each item in the place of those of the night before; return how many rows.

    Raises:
        CatalogueError: an item is unknown, or stands there twice. The old rows are still there.
        NotFoundError: there is no such night.
    """
    return _replace(engine, ITEM_NEIGHBOURS, night_id, found)


def replace_user_neighbours(engine: Engine, night_id: int, found: Ranked) -> int:
    """Put the users whose taste is like each user's in the place of those of the night before; return how many rows.

    Users who are silent have no neighbour and are nobody's; those behind them move up.

    Raises:
        CatalogueError: a user is unknown, or stands there twice. The old rows are still there.
        NotFoundError: there is no such night.
    """
    return _replace(engine, USER_NEIGHBOURS, night_id, found)


def record_forgotten(engine: Engine, facts: ForgottenFacts, *, at: datetime) -> int:
    """Write a line of the ledger and return its id; the person is silent from then on.

    What the tables hold of them is deleted with it and counted in `removed`, with what their erasure counted, which
    ends with it. With `erased_as` the id goes, too.

    Raises:
        NotFoundError: there is no such user.
    """
    with transaction(engine) as connection:
        user_key = connection.scalar(select(user.c.user_key).where(user.c.user_id == facts.user_id))
        if user_key is None:
            raise NotFoundError(f"There is no user {facts.user_id!r} in the catalogue. Nothing was changed.")
        deleted = delete_people(connection, [user_key])[user_key]
        begun = connection.execute(select(erasure).where(erasure.c.user_key == user_key)).first()
        connection.execute(delete(erasure).where(erasure.c.user_key == user_key))
        fresh = {"user_id": facts.erased_as} if facts.erased_as else {}
        connection.execute(update(user).where(user.c.user_key == user_key).values(forgotten=True, **fresh))
        line = {name: value for name, value in asdict(facts).items() if name not in {"user_id", "erased_as"}}
        line["removed"] = _sum(facts.removed, begun.removed if begun else {}, deleted)
        line["requested_at"] = begun.requested_at if begun else at
        line["erased_at"] = at if facts.receipt is not None else None
        result = connection.execute(insert(forgotten).values(**line, user_key=user_key))
        return int((result.inserted_primary_key or (0,))[0])


def _sum(*counts: Mapping[str, int]) -> dict[str, int]:
    """Return the sum of counts by kind, zeros included."""
    kinds = [kind for each in counts for kind in each]
    return {kind: sum(each.get(kind, 0) for each in counts) for kind in kinds}


def complete_forgotten(engine: Engine, night_id: int, *, at: datetime) -> int:
    """Note in all open lines of the ledger that this night solved the recommender anew; return how many there were.

    Raises:
        NotFoundError: there is no such night.
    """
    with transaction(engine) as connection:
        _check_night(connection, night_id)
        open_lines = update(forgotten).where(forgotten.c.coefficients_at.is_(None))
        return connection.execute(open_lines.values(coefficients_night_id=night_id, coefficients_at=at)).rowcount


class _Person(NamedTuple):
    segment: str | None
    opted_out: bool


def _registered(connection: Connection, facts: ModelFacts) -> int:
    """Return the id under which the weights are registered, if under the same name and version."""
    table = model_version.c
    same_name = (table.model_name == facts.model_name) & (table.version == facts.version)
    same_weights = table.generator_sha256 == facts.generator_sha256
    found = connection.execute(select(model_version).where(or_(same_name, same_weights))).all()
    match [(row.model_name, row.version, row.generator_sha256) for row in found]:
        case [(facts.model_name, facts.version, facts.generator_sha256)]:
            return int(found[0].model_version_id)
    held = "; ".join(f"{row.model_name} v{row.version} with weights {row.generator_sha256[:12]}…" for row in found)
    raise CatalogueError(
        f"{facts.model_name} v{facts.version} with weights {facts.generator_sha256[:12]}… cannot be "
        f"registered: the catalogue holds {held}. Look the weights up before asking the registry for a new version. "
        "Nothing was changed."
    )


def _replace(engine: Engine, kind: Kind, night_id: int, found: Ranked) -> int:
    with transaction(engine) as connection:
        _check_night(connection, night_id)
        return replace_ranked(connection, kind, night_id, found)


def _check_night(connection: Connection, night_id: int) -> None:
    if connection.scalar(select(night.c.night_id).where(night.c.night_id == night_id)) is None:
        raise NotFoundError(f"There is no night {night_id} in the catalogue. Nothing was changed.")


def _stored_users(connection: Connection, user_ids: Sequence[str]) -> dict[str, tuple[int, _Person]]:
    stored: dict[str, tuple[int, _Person]] = {}
    columns = select(user.c.user_id, user.c.user_key, user.c.segment, user.c.opted_out)
    for part in chunks(user_ids):
        for name, key, segment, opted_out in connection.execute(columns.where(user.c.user_id.in_(part))):
            stored[name] = (key, _Person(segment, opted_out))
    return stored


def _update_users(
    connection: Connection,
    wanted: Mapping[str, _Person],
    stored: Mapping[str, tuple[int, _Person]],
    *,
    segments: bool,
    opted_out: bool,
) -> None:
    """Write what was given anew of known users, only where it differs."""
    rows = []
    for name, (key, old) in stored.items():
        given = wanted[name]
        new = _Person(given.segment if segments else old.segment, given.opted_out if opted_out else old.opted_out)
        if new != old:
            rows.append({"user_key": key, "user_id": name, **new._asdict()})
    insert = insert_into(connection, user)
    fresh = {"segment": insert.excluded.segment, "opted_out": insert.excluded.opted_out}
    execute_rows(connection, insert.on_conflict_do_update(index_elements=[user.c.user_id], set_=fresh), rows)
