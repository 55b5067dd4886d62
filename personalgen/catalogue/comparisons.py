"""Blind choices between models: written by whoever asks people, read by the statistics and the promotion rule."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, and_, or_, select

from personalgen.catalogue.bulk import chunks, execute_rows, insert_into
from personalgen.catalogue.engine import transaction
from personalgen.catalogue.facts import ComparisonFacts
from personalgen.catalogue.read import reading
from personalgen.catalogue.rows import BlindChoice
from personalgen.catalogue.schema import comparison, night, user
from personalgen.errors import NotFoundError

_KEY = (
    comparison.c.night_id, comparison.c.user_key, comparison.c.left_generator_digest,
    comparison.c.right_generator_digest, comparison.c.left_variant, comparison.c.right_variant,
    comparison.c.operating_point_digest, comparison.c.voter,
)  # fmt: skip
"""What makes a vote the same vote."""


def record_comparisons(engine: Engine, night_id: int, facts: Sequence[ComparisonFacts], *, at: datetime) -> int:
    """Write blind choices about a night's pictures; return how many rows are new or changed.

    The same vote again changes nothing, one that a voter changed replaces the old. All are written, or none.

    Raises:
        NotFoundError: there is no such night, or a person is unknown or was forgotten. Nothing was changed.
    """
    with transaction(engine) as connection:
        if connection.scalar(select(night.c.night_id).where(night.c.night_id == night_id)) is None:
            raise NotFoundError(f"There is no night {night_id} in the catalogue. Nothing was changed.")
        keys = _keys_of(connection, sorted({each.user_id for each in facts}))
        rows = [_row(each, night_id, keys[each.user_id], at) for each in facts]
        insert = insert_into(connection, comparison)
        fresh = {name: insert.excluded[name] for name in ("winner", "source", "at")}
        changed = comparison.c.winner != insert.excluded.winner
        return execute_rows(
            connection, insert.on_conflict_do_update(index_elements=_KEY, set_=fresh, where=changed), rows
        )


def comparisons(
    engine: Engine, *, between: tuple[int, int] | None = None, night_id: int | None = None
) -> tuple[BlindChoice, ...]:
    """Return blind choices, the oldest first: all, or those of a night, or `between` two generators on either side."""
    columns = [*(comparison.c[field.name] for field in fields(BlindChoice) if field.name != "user_id"), user.c.user_id]
    query = select(*columns).join(user, user.c.user_key == comparison.c.user_key).order_by(comparison.c.comparison_id)
    if night_id is not None:
        query = query.where(comparison.c.night_id == night_id)
    if between is not None:
        left, right = comparison.c.left_generator_digest, comparison.c.right_generator_digest
        one, other = between
        query = query.where(or_(and_(left == one, right == other), and_(left == other, right == one)))
    with reading(engine) as connection:
        return tuple(BlindChoice(**row._asdict()) for row in connection.execute(query))


def _row(facts: ComparisonFacts, night_id: int, user_key: int, at: datetime) -> dict[str, Any]:
    values = {name: value for name, value in asdict(facts).items() if name != "user_id"}
    return {**values, "night_id": night_id, "user_key": user_key, "at": at}


def _keys_of(connection: Connection, user_ids: Sequence[str]) -> dict[str, int]:
    """Return the key of each person, none of whom may be unknown or forgotten."""
    keys: dict[str, int] = {}
    for part in chunks(user_ids):
        query = select(user.c.user_id, user.c.user_key).where(user.c.user_id.in_(part), ~user.c.forgotten)
        keys.update((row.user_id, row.user_key) for row in connection.execute(query))
    missing = [user_id for user_id in user_ids if user_id not in keys]
    if missing:
        raise NotFoundError(
            f"{len(missing)} of {len(user_ids)} people whose taste was asked for are unknown to the catalogue or were "
            f"forgotten, the first {missing[0]!r}. Leave their pairs out. Nothing was changed."
        )
    return keys
