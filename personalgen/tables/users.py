"""The users table: who gets images, and whose events are not read."""

from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from personalgen.tables.columns import Batch, Column, shown, to_flags, to_seconds, to_text, value_at
from personalgen.tables.digest import RowSum, record_words
from personalgen.tables.forgotten import NOBODY
from personalgen.tables.ids import canonical_ids
from personalgen.tables.quarantine import Fault
from personalgen.tables.reading import Reading
from personalgen.tables.source import TableLayout

SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("segment", pa.string()),
        ("created_at", pa.int64()),
        ("opted_out", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class User:
    """One row of users.parquet."""

    user_id: str
    segment: str | None = None
    created_at: int | None = None
    opted_out: bool = False


@dataclass
class Users:
    """The users read so far."""

    by_id: dict[str, User] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    """Opted out in any of their rows, or in a way that cannot be read: their events are not read."""
    n_rows: int = 0

    def rows(self) -> list[User]:
        """Return the users by id, `opted_out` where any of their rows says so."""
        return [
            User(one.user_id, one.segment, one.created_at, one.opted_out or one.user_id in self.silent)
            for _, one in sorted(self.by_id.items())
        ]


def read_users(reading: Reading, layout: TableLayout, *, forgotten: Container[str] = NOBODY) -> Users:
    """Return the users of the table but those who are `forgotten`; what cannot be used is quarantined."""
    users = Users()
    for batch in reading.batches("users", layout):
        users.n_rows += batch.n_rows
        reading.quarantine.add("users", _take(users, batch, layout, reading, forgotten))
    return users


def write_users(path: Path, users: list[User]) -> RowSum:
    """Write users.parquet, and return the sum of its rows' hashes."""
    columns = {
        name: pa.array([getattr(user, name) for user in users], SCHEMA.field(name).type) for name in SCHEMA.names
    }
    pa.parquet.write_table(pa.table(columns, schema=SCHEMA), path, compression="zstd")
    total = RowSum()
    total.add(
        record_words(
            (u.user_id, u.segment, None if u.created_at is None else str(u.created_at), str(u.opted_out)) for u in users
        )
    )
    return total


def _take(
    users: Users, batch: Batch, layout: TableLayout, reading: Reading, forgotten: Container[str]
) -> Iterator[Fault]:
    """Add a batch's users, yielding the faults of the rows that are refused."""
    raw = batch.columns[layout.need("user_id")]
    ids = reading.identity.users(canonical_ids(raw, max_bytes=reading.limits.max_id_bytes, typed=batch.typed))
    segments = to_text(_column(batch, layout, "segment"))
    seconds, known = to_seconds(_column(batch, layout, "created_at"))
    opted_out = _column(batch, layout, "opted_out")
    for place, flag in enumerate(to_flags(opted_out)):
        row, user_id = int(batch.rows[place]), ids.at(place)
        if user_id is None:
            yield Fault(row, "bad_user_id", f"user_id = {reading.identity.shown(value_at(raw, place))}")
            continue
        if user_id in forgotten:
            continue
        if flag is None or flag:
            users.silent.add(user_id)
        if flag is None:
            yield Fault(row, "bad_opted_out", f"opted_out = {shown(value_at(opted_out, place))}", user_id)
            users.by_id.setdefault(user_id, User(user_id, segments[place], opted_out=True))
        elif user_id in users.by_id:
            yield Fault(row, "duplicate_user", f"{user_id!r} came before; the first row is kept", user_id)
        else:
            created_at = int(seconds[place]) if known[place] else None
            users.by_id[user_id] = User(user_id, segments[place], created_at, flag)


def _column(batch: Batch, layout: TableLayout, name: str) -> Column:
    """Return an optional column, all missing where the source has none."""
    column = layout.one(name)
    return batch.columns[column] if column else pa.nulls(len(batch.rows))
