"""The interactions table, first pass: every row is judged, and the good ones are staged as numbers.

Only a batch of rows is in memory at a time. What grows with the events is one 16-byte key an event (`Staged.keys`), by
which duplicates are found exactly; everything else grows with users, items or kinds of event.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from personalgen.errors import DataError
from personalgen.tables.columns import Batch, distinct, shown, text_of, to_floats, to_seconds, value_at
from personalgen.tables.forgotten import NOBODY
from personalgen.tables.identity import Identity
from personalgen.tables.ids import IdColumn, canonical_ids
from personalgen.tables.items import Items
from personalgen.tables.quarantine import Fault
from personalgen.tables.reading import Reading
from personalgen.tables.source import Source, TableLayout
from personalgen.tables.users import Users

STAGED = pa.schema(
    [
        ("row", pa.int64()),
        ("user", pa.int32()),
        ("item", pa.int32()),
        ("timestamp", pa.int64()),
        ("event", pa.int32()),
        ("value", pa.float32()),
    ]
)
MAX_EVENT_KINDS = 1 << 16
ITEM_QUARANTINED = -2
_BAD, _UNKNOWN, _READ, _SILENT, _UNLISTED = -3, -1, 0, 1, 2
_LATEST_SECONDS = 100_000_000_000  # the year 5138
_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)

_BLAMED = {
    "bad_timestamp": "timestamp",
    "future": "timestamp",
    "bad_user_id": "user_id",
    "bad_item_id": "item_id",
    "item_quarantined": "item_id",
    "unknown_item": "item_id",
    "bad_weight": "weight",
}
REASONS = (
    "",
    "opted out",
    "not a listed user",
    "bad_timestamp",
    "future",
    "after as_of",
    "bad_user_id",
    "bad_item_id",
    "item_quarantined",
    "unknown_item",
    "bad_weight",
)
AFTER_AS_OF, OPTED_OUT, UNLISTED = (REASONS.index(one) for one in ("after as_of", "opted out", "not a listed user"))
NOT_READ = (AFTER_AS_OF, OPTED_OUT, UNLISTED)
"""No faults of the rows: counted, never quarantined."""


@dataclass(frozen=True)
class Window:
    """Which events are read, in whole UTC seconds."""

    as_of: int
    """Events from here on are not read."""
    latest: int
    """Events after this are faults: the wall clock plus the tolerance."""


@dataclass(frozen=True)
class Known:
    """What the other tables say."""

    item_place: dict[str, int]
    """Position of each usable item; ITEM_QUARANTINED for one whose picture failed."""
    users: dict[str, int]
    """Whether a user's events are read; whoever is asked about is remembered here."""
    other_users: int
    """Whether the events of users that `users` lacks are read: they are where the source has no users table."""
    forgotten: Container[str] = NOBODY
    """Of whom nothing is read, whatever the source says."""

    @classmethod
    def of(cls, items: Items, users: Users | None, *, forgotten: Container[str] = NOBODY) -> "Known":
        """Return what the items and the users table, where there is one, say, and who is `forgotten`."""
        return cls.listed(dict.fromkeys(items.seen, ITEM_QUARANTINED) | items.index_of(), users, forgotten=forgotten)

    @classmethod
    def listed(cls, item_place: dict[str, int], users: Users | None, *, forgotten: Container[str]) -> "Known":
        """Return what the users table says beside places of items."""
        if users is None:
            return cls(item_place, {}, _READ, forgotten)
        listed = dict.fromkeys(users.by_id, _READ) | dict.fromkeys(users.silent, _SILENT)
        return cls(item_place, listed, _UNLISTED, forgotten)

    def is_read(self, user_id: str) -> bool:
        """Return whether a user's events are read."""
        return self.standing(user_id) == _READ

    def standing(self, user_id: str) -> int:
        """Return whether a user's events are read, or why not."""
        known = self.users.get(user_id)
        if known is None:
            known = self.users[user_id] = _SILENT if user_id in self.forgotten else self.other_users
        return known

    def usable_items(self) -> list[str]:
        """Return the usable items in the order of their positions, which is that of their ids."""
        return sorted(item_id for item_id, place in self.item_place.items() if place >= 0)


@dataclass
class Staged:
    """What the first pass found."""

    path: Path
    """Parquet file of the good rows, duplicates included."""
    user_code: dict[str, int] = field(default_factory=dict)
    """Users by their order of appearance."""
    event_code: dict[str | None, int] = field(default_factory=lambda: {None: 0})
    """Kinds of event by their order of appearance; 0 is none."""
    keys: list[NDArray[np.uint64]] = field(default_factory=list)
    """Per batch: (n, 2) words that hold user, item, time and kind of event exactly."""
    n_rows: int = 0
    n_after_as_of: int = 0
    n_opted_out: int = 0
    n_unlisted: int = 0

    @property
    def n_considered(self) -> int:
        """Rows that were judged: all but those that lie at or after as_of, or whose user opted out or is not listed."""
        return self.n_rows - self.n_after_as_of - self.n_opted_out - self.n_unlisted


def newest_event(source: Source, layout: TableLayout, *, latest: int, chunk_rows: int) -> int | None:
    """Return the newest time up to `latest`, by a pass over the time column alone; None where there is none."""
    name, newest = layout.need("timestamp"), -1
    for batch in source.batches(layout.table, [name], chunk_rows=chunk_rows):
        seconds, readable = to_seconds(batch.columns[name])
        plausible = seconds[readable & (seconds <= latest)]
        newest = max(newest, int(plausible.max(initial=-1)))
    return newest if newest >= 0 else None


def stage_events(reading: Reading, layout: TableLayout, path: Path, *, window: Window, known: Known) -> Staged:
    """Return the staged good rows; the others are quarantined or counted."""
    staged = Staged(path)
    with pa.parquet.ParquetWriter(path, STAGED, compression="zstd", compression_level=1) as writer:
        for batch in reading.batches("interactions", layout):
            staged.n_rows += batch.n_rows
            if not len(batch.rows):
                continue
            rows = _Rows.of(batch, layout, reading)
            reasons = rows.judge(window, known)
            reading.quarantine.add("interactions", rows.faults(reasons))
            staged.n_after_as_of += int((reasons == AFTER_AS_OF).sum())
            staged.n_opted_out += int((reasons == OPTED_OUT).sum())
            staged.n_unlisted += int((reasons == UNLISTED).sum())
            writer.write_batch(rows.stage(reasons == 0, known, staged))
    return staged


@dataclass(frozen=True)
class _Rows:
    """A batch, converted."""

    batch: Batch
    layout: TableLayout
    users: IdColumn
    items: IdColumn
    seconds: NDArray[np.int64]
    timed: NDArray[np.bool_]
    values: NDArray[np.float32]
    """Weight, else rating, else 1; NaN where it cannot be used."""
    identity: Identity

    @classmethod
    def of(cls, batch: Batch, layout: TableLayout, reading: Reading) -> "_Rows":
        """Return the converted batch."""
        users, items = (
            canonical_ids(batch.columns[layout.need(name)], max_bytes=reading.limits.max_id_bytes, typed=batch.typed)
            for name in ("user_id", "item_id")
        )
        seconds, timed = to_seconds(batch.columns[layout.need("timestamp")])
        users = reading.identity.users(users)
        return cls(batch, layout, users, items, seconds, timed, _values(batch, layout), reading.identity)

    def judge(self, window: Window, known: Known) -> NDArray[np.int64]:
        """Return the position in REASONS of why each row is refused or not read; 0 for a good one.

        The order matters: whether a row is read at all is decided by its user and its time, before its other cells.
        """
        user = self.users.numbered(known.standing, none=_BAD)
        item = self.items.mapped(known.item_place, none=_BAD, other=_UNKNOWN)
        conditions = (
            user == _SILENT,
            user == _UNLISTED,
            ~self.timed,
            self.seconds > window.latest,
            self.seconds >= window.as_of,
            user == _BAD,
            item == _BAD,
            item == ITEM_QUARANTINED,
            item == _UNKNOWN,
            np.isnan(self.values),
        )
        return np.select(conditions, [np.int64(one) for one in range(1, len(REASONS))], default=np.int64(0))

    def faults(self, reasons: NDArray[np.int64]) -> Iterator[Fault]:
        """Yield the rows to quarantine."""
        for place in np.flatnonzero((reasons != 0) & ~np.isin(reasons, NOT_READ)).tolist():
            reason = REASONS[reasons[place]]
            name = self.layout.one(_BLAMED[reason]) or self.layout.one("rating")
            show = self.identity.shown if _BLAMED[reason] == "user_id" else shown
            detail = f"{name} = {show(value_at(self.batch.columns[str(name)], place))}"
            if reason == "future" and self.seconds[place] > _LATEST_SECONDS:
                detail += ", which looks like milliseconds or smaller; expected seconds"
            yield Fault(int(self.batch.rows[place]), reason, detail, self.users.at(place), self.items.at(place))

    def stage(self, good: NDArray[np.bool_], known: Known, staged: Staged) -> pa.RecordBatch:
        """Return the good rows as numbers, allocating codes to new users and kinds of event."""
        user = _codes(staged.user_code, self.users, good)
        item = self.items.mapped(known.item_place)[good]
        event = self._events(good, staged.event_code)
        seconds = self.seconds[good]
        staged.keys.append(_keys(user, item, seconds, event))
        columns = (self.batch.rows[good], user, item, seconds, event, self.values[good])
        arrays = [pa.array(one).cast(kind) for one, kind in zip(columns, STAGED.types, strict=True)]
        return pa.record_batch(arrays, schema=STAGED)

    def _events(self, good: NDArray[np.bool_], event_code: dict[str | None, int]) -> NDArray[np.int64]:
        """Return the code of each good row's kind of event.

        Raises:
            DataError: there are more kinds than a column of kinds can have.
        """
        name = self.layout.one("event")
        if name is None:
            return np.zeros(int(good.sum()), dtype=np.int64)
        kinds, codes = distinct(self.batch.columns[name])
        codes = codes[good]
        used = {
            code: event_code.setdefault(text_of(kinds[code]), len(event_code)) for code in np.unique(codes).tolist()
        }
        if len(event_code) > MAX_EVENT_KINDS:
            raise DataError(
                f"column {name!r} of interactions has over {MAX_EVENT_KINDS:,} distinct values, for example "
                f"{shown(kinds[-1])}; expected kinds of event, such as view. Map another column to "
                'source.columns.interactions.event, or set it to "". Nothing was written.'
            )
        return np.array([used[code] for code in codes.tolist()], dtype=np.int64)


def _values(batch: Batch, layout: TableLayout) -> NDArray[np.float32]:
    """Return the weight, else the rating, else 1 of each row; NaN where it is not finite, or a weight of zero."""
    name = layout.one("weight") or layout.one("rating")
    if name is None:
        return np.ones(len(batch.rows), dtype=np.float32)
    numbers = to_floats(batch.columns[name])
    values = np.where(np.abs(numbers) <= _LARGEST_FLOAT32, numbers, np.nan).astype(np.float32)
    if layout.one("weight"):
        values[values == 0] = np.nan
    return values


def _codes(user_code: dict[str, int], users: IdColumn, good: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the code of each good row's user, allocating the next ones to new users."""
    used, row_place = np.unique(users.codes[good], return_inverse=True)
    codes = [user_code.setdefault(str(users.ids[place]), len(user_code)) for place in used.tolist()]
    return np.array(codes, dtype=np.int64)[row_place]


def _keys(
    user: NDArray[np.int64], item: NDArray[np.int64], seconds: NDArray[np.int64], event: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """Return (n, 2) words that differ where the rows differ: user and item, then 47 bits of time and 16 of event."""
    return np.stack([(user << 32) | item, (seconds << 16) | event], axis=1).astype(np.uint64)
