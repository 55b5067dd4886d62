"""Sums and newest events of an interactions table, made by its database, so that events need not be carried one by one.

The database does this only where it has the same events as a reading of every row: it counts the rows that would be
refused, and any of them is a reason not to. So are an id whose canonical text is another one, an item that the items
table lacks, and an event that is there twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from personalgen.errors import PushDownError
from personalgen.histories import DAY_SEC
from personalgen.tables.columns import Batch, distinct, shown
from personalgen.tables.dialects import Words, one_row, words_of
from personalgen.tables.events import Known, Window
from personalgen.tables.ids import canonical_id
from personalgen.tables.options import LimitsOptions
from personalgen.tables.source import Source, TableLayout
from personalgen.tables.sql import SqlSource

_MOST_HALF_LIVES = 1600
"""From the oldest event to the newest: weights as of the middle then fit a float64."""
_EVENT = ["user_id", "item_id", "timestamp", "weight"]
_SIDES = (("liked", "w > 0"), ("disliked", "w < 0"))


@dataclass(frozen=True)
class Aggregates:
    """What a database gives; batches are read while they are asked for, and may still raise PushDownError."""

    n_events: int
    """Events before as_of, of whomever."""
    sums: Iterator[pa.RecordBatch]
    """user_id, item_id, timestamp, weight, n_events: a user's events with an item, of one sign, as of the newest."""
    newest: Iterator[pa.RecordBatch]
    """user_id, item_id, timestamp, weight: the newest events of each user, one by one."""


def aggregate(
    source: Source,
    layout: TableLayout,
    *,
    window: Window,
    known: Known,
    limits: LimitsOptions,
    half_life_days: float,
    n_recent: int,
    only_if_less: bool = False,
) -> Aggregates:
    """Return sums and the newest `n_recent` events of each user who is read; those of one second by item, then weight.

    With `only_if_less` nothing is asked for where it would hardly be less than the events (docs/adr/0012).

    Raises:
        PushDownError: the source cannot make them as they would be read; the message says why.
    """
    if not isinstance(source, SqlSource):
        raise PushDownError("the source is a folder, and only a database makes sums")
    if only_if_less and source.dialect == "sqlite":
        raise PushDownError("SQLite works in this process, and reading its events costs less than their sums")
    source.hold_still()
    words = words_of(source, layout, window)
    asked = _Asked(source, words, _rows(source, layout, words, window), known, limits)
    oldest, newest, n_events = _judge(source, layout, words, window)
    if (newest - oldest) / (half_life_days * DAY_SEC) > _MOST_HALF_LIVES:
        raise PushDownError(f"events lie over {_MOST_HALF_LIVES:,} half-lives apart: weights would leave a float64")
    if only_if_less:
        asked.require_less(n_events, n_recent)
    asked.require_known_items()
    return Aggregates(n_events, asked.sums((oldest + newest) // 2, half_life_days), asked.newest(n_recent))


@dataclass(frozen=True)
class _Asked:
    """A table of sound rows, and what is asked of it."""

    source: SqlSource
    words: Words
    rows: str
    """SELECT of u, i, s, w and, where it is read, e."""
    known: Known
    limits: LimitsOptions

    def require_less(self, n_events: int, n_recent: int) -> None:
        """Return if the newest events are less than half of all."""
        counts = f"(SELECT count(*) AS n FROM {self.rows} GROUP BY u) AS counts"
        statement = (
            f"SELECT CAST(sum(CASE WHEN n < {n_recent} THEN n ELSE {n_recent} END) AS bigint) AS n FROM {counts}"
        )
        (n_newest,) = one_row(self.source, statement, "n")
        if n_newest > n_events / 2:
            raise PushDownError(
                f"everybody's newest {n_recent} are {n_newest:,} of {n_events:,} events, so sums save little"
            )

    def require_known_items(self) -> None:
        """Return if the items table has every item."""
        for batch in self._batches(f"SELECT DISTINCT i FROM {self.rows}", "i"):
            unknown = [item for item in distinct(batch.columns["i"])[0] if self.known.item_place.get(item, -1) < 0]
            if unknown:
                raise PushDownError(f"the items table lacks items ({len(unknown):,}), such as {unknown[0]!r}")

    def sums(self, origin: int, half_life_days: float) -> Iterator[pa.RecordBatch]:
        """Yield the sums by user, item and sign."""
        half_life = half_life_days * DAY_SEC
        names = ["u", "i", "again", *(f"{side}{part}" for side, _ in _SIDES for part in ("", "_at", "_n"))]
        for batch in self._batches(self._pairs(origin, half_life), *names):
            if again := pc.sum(batch.columns["again"]).as_py():
                raise PushDownError(f"events repeat the user, item, time and kind of another one ({again:,} at least)")
            is_read = self._is_read(batch.columns["u"])
            for side, _ in _SIDES:
                own = [batch.columns[name] for name in ("u", "i", f"{side}_at", side, f"{side}_n")]
                found = pa.record_batch(own, names=[*_EVENT, "n_events"]).filter(
                    pc.and_(pc.is_valid(own[2]), pa.array(is_read))
                )
                yield _as_of_newest(found, origin, half_life, sign=1 if side == "liked" else -1)

    def newest(self, n_recent: int) -> Iterator[pa.RecordBatch]:
        """Yield the newest events of each user."""
        if not n_recent:
            return
        order = "row_number() OVER (PARTITION BY u ORDER BY s DESC, i DESC, w DESC) AS place"
        ranked = f"(SELECT u, i, s, w, {order} FROM {self.rows}) AS ranked"
        for batch in self._batches(f"SELECT u, i, s, w FROM {ranked} WHERE place <= {n_recent}", *"uisw"):
            columns = [batch.columns[name] for name in "uisw"]
            found = pa.record_batch(columns, names=_EVENT)
            yield found.filter(pa.array(self._is_read(columns[0])))

    def _pairs(self, origin: int, half_life: float) -> str:
        """Return the SELECT of one row for each user and item; weights as of the origin."""
        which = "s" if self.words.event is None else "CAST(s AS TEXT) || ' ' || coalesce(e, '')"
        age = f"CAST(s - {origin} AS double precision) / CAST({half_life!r} AS double precision)"
        decayed = f"abs(w) * {self.words.exp2.format(age)}"
        sides = ", ".join(
            f"sum({decayed}) FILTER (WHERE {sign}) AS {side}, max(s) FILTER (WHERE {sign}) AS {side}_at, "
            f"count(*) FILTER (WHERE {sign}) AS {side}_n"
            for side, sign in _SIDES
        )
        return f"SELECT u, i, count(*) - count(DISTINCT {which}) AS again, {sides} FROM {self.rows} GROUP BY u, i"

    def _batches(self, statement: str, *names: str) -> Iterator[Batch]:
        yield from self.source.batches(statement, names, chunk_rows=self.limits.chunk_rows)

    def _is_read(self, users: pa.Array) -> NDArray[np.bool_]:
        """Return whose rows are read."""
        ids, codes = distinct(users)
        for one in ids:
            if (own := canonical_id(one, max_bytes=self.limits.max_id_bytes)) != one:
                how = "is no id" if own is None else f"is the same as {own!r}, which is written otherwise"
                raise PushDownError(f"the user_id {shown(one)} {how}")
        return np.array([self.known.is_read(one) for one in ids], dtype=np.bool_)[codes]


def _as_of_newest(sums: pa.RecordBatch, origin: int, half_life: float, *, sign: int) -> pa.RecordBatch:
    """Return sums as of the origin as those of each one's own timestamp, with the sign of the side."""
    seconds = sums["timestamp"].cast(pa.int64()).to_numpy(zero_copy_only=False)
    weight = sums["weight"].cast(pa.float64()).to_numpy(zero_copy_only=False)
    brought = pa.array(sign * weight * np.exp2((origin - seconds) / half_life))
    return pa.record_batch([sums[0], sums[1], pa.array(seconds), brought, sums[4]], names=sums.schema.names)


def _rows(source: SqlSource, layout: TableLayout, words: Words, window: Window) -> str:
    """Return the events before as_of as a table of u, i, s, w and e."""
    named = {"u": words.user, "i": words.item, "s": words.second, "w": words.weight, "e": words.event}
    columns = ", ".join(f"{sql} AS {name}" for name, sql in named.items() if sql)
    return f"(SELECT {columns} FROM {source.from_clause(layout.table)} WHERE {words.before(window.as_of)}) AS events"


def _judge(source: SqlSource, layout: TableLayout, words: Words, window: Window) -> tuple[int, int, int]:
    """Return the oldest and the newest second, and how many events there are before as_of; all rows must be sound."""
    inside = f"FILTER (WHERE {words.before(window.as_of)})"
    ends = [f"{end}({words.second}) {inside} AS {name}" for end, name in (("min", "oldest"), ("max", "newest"))]
    ends += [f"count(*) {inside} AS n", "count(*) AS total"]
    counts = [f"count(*) FILTER (WHERE {sql}) AS fault{k}" for k, (_, sql) in enumerate(words.faults)]
    statement = f"SELECT {', '.join([*ends, *counts])} FROM {source.from_clause(layout.table)}"
    names = ["oldest", "newest", "n", "total", *(f"fault{k}" for k in range(len(counts)))]
    oldest, newest, n_events, total, *found = one_row(source, statement, *names)
    faults = [f"{what} ({n:,} of {total:,} rows)" for n, (what, _) in zip(found, words.faults, strict=True) if n]
    if faults:
        raise PushDownError("; ".join(faults))
    if not n_events:
        raise PushDownError("there are no events before as_of")
    return oldest, newest, n_events
