"""How a database says what an event is, and which events it cannot be trusted with: SQLite and PostgreSQL.

An expression gives what `events.py` makes of the same cell; a fault is a condition of rows that it would refuse, or
whose cells it would read otherwise. What is not certain counts as a fault: then every event is read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from personalgen.errors import PushDownError
from personalgen.tables.events import Window
from personalgen.tables.source import TableLayout
from personalgen.tables.sql import SqlSource

_LARGEST, _LEAST = float(np.finfo(np.float32).max), 2.0**-149
_ID_TYPES = ("smallint", "integer", "bigint", "text", "character varying", "uuid")
_INSTANTS = ("timestamp without time zone", "timestamp with time zone", "date")
_NUMBERS = ("smallint", "integer", "bigint", "real", "double precision")


@dataclass(frozen=True)
class Words:
    """SQL of one event's parts."""

    user: str
    """Canonical text, compared by its bytes; so is the item's."""
    item: str
    instant: str
    """Seconds since 1970 as a number of any kind."""
    second: str
    """The same, rounded down to a whole number."""
    weight: str
    """A float64; 1 where events have no weight."""
    event: str | None
    """Kind of event as text, or None where it is not read."""
    exp2: str
    """Two to the power of {}."""
    faults: tuple[tuple[str, str], ...]
    """(what is wrong in words, condition) of rows that are read one by one instead."""

    def before(self, as_of: int) -> str:
        """Return the condition of events before a moment; a time before 1970 is none."""
        return f"{self.instant} >= 0 AND {self.instant} < {as_of}"


def words_of(source: SqlSource, layout: TableLayout, window: Window) -> Words:
    """Return the SQL for a table.

    Raises:
        PushDownError: nothing is known of this kind of database, or of a column's type.
    """
    found = _DIALECTS.get(source.dialect)
    if found is None:
        raise PushDownError(f"only SQLite and PostgreSQL are asked for sums, and this is {source.dialect}")
    if layout.one("rating"):
        raise PushDownError(
            f"{layout.one('rating')!r} holds ratings, which become weights by each user's own mean of all of them"
        )
    return found(source, layout, window)


def _sqlite(source: SqlSource, layout: TableLayout, window: Window) -> Words:
    """Return SQLite's words; a cell there has a type of its own, whatever its column says."""
    if (encoding := one_row(source, "SELECT encoding FROM pragma_encoding", "encoding")[0]) != "UTF-8":
        raise PushDownError(f"texts of this database are {encoding}, whose order of bytes is not that of UTF-8")
    user, item, time = (source.quoted(layout.need(name)) for name in ("user_id", "item_id", "timestamp"))
    weight, event = (source.quoted(name) if name else None for name in (layout.one("weight"), layout.one("event")))
    inside = f"{time} < {window.as_of}"
    strange = [
        (f"{name} is neither text nor a whole number", f"{inside} AND typeof({column}) NOT IN ('integer', 'text')")
        for name, column in (("user_id", user), ("item_id", item))
    ]
    if event:
        kinds = "('integer', 'text', 'null')"
        strange.append(("event is neither text nor a whole number", f"{inside} AND typeof({event}) NOT IN {kinds}"))
    timeless = f"typeof({time}) NOT IN ('integer', 'real')"
    return Words(
        user=f"CAST({user} AS TEXT) COLLATE BINARY",
        item=f"CAST({item} AS TEXT) COLLATE BINARY",
        instant=time,
        second=f"CAST({time} AS INTEGER)",
        weight=f"CAST({weight} AS REAL)" if weight else "1.0",
        event=event and f"CAST({event} AS TEXT) COLLATE BINARY",
        exp2="exp2({})",
        faults=(
            *_faults(time, weight, window, timeless=timeless, weightless="typeof({}) NOT IN ('integer', 'real')"),
            *strange,
        ),
    )


def _postgresql(source: SqlSource, layout: TableLayout, window: Window) -> Words:
    """Return PostgreSQL's words; columns have types, of which those that read alike are known."""
    if (encoding := one_row(source, "SELECT current_setting('server_encoding') AS e", "e")[0]) != "UTF8":
        raise PushDownError(f"texts of this database are {encoding}, whose order of bytes is not that of UTF-8")
    types = _types(source, layout)
    user, item, time = (source.quoted(layout.need(name)) for name in ("user_id", "item_id", "timestamp"))
    weight, event = (source.quoted(name) if name else None for name in (layout.one("weight"), layout.one("event")))
    instant = f"extract(epoch FROM {time})" if types["timestamp"] in _INSTANTS else time
    inside = f"{instant} < {window.as_of}"
    return Words(
        user=f'CAST({user} AS text) COLLATE "C"',
        item=f'CAST({item} AS text) COLLATE "C"',
        instant=instant,
        second=f"CAST(floor({instant}) AS bigint)",
        weight=f"CAST(CAST({weight} AS real) AS double precision)" if weight else "CAST(1 AS double precision)",
        event=event and f'CAST({event} AS text) COLLATE "C"',
        exp2="power(CAST(2 AS double precision), {})",
        faults=(
            *_faults(instant, weight, window, timeless="false", weightless="false"),
            *(
                (f"{name} is missing", f"{inside} AND {id_} IS NULL")
                for name, id_ in (("user_id", user), ("item_id", item))
            ),
        ),
    )


def _faults(
    instant: str, weight: str | None, window: Window, *, timeless: str, weightless: str
) -> list[tuple[str, str]]:
    """Return the faults of times and weights."""
    found = [
        ("the time cannot be read", f"{instant} IS NULL OR {timeless} OR {instant} < 0"),
        ("the time lies in the future", f"{instant} >= {window.latest + 1}"),
    ]
    if weight:
        # Of a type's least number there is no abs().
        usable = " OR ".join(f"{weight} BETWEEN {a!r} AND {b!r}" for a, b in ((_LEAST, _LARGEST), (-_LARGEST, -_LEAST)))
        refused = f"{weight} IS NULL OR {weightless.format(weight)} OR NOT ({usable})"
        found.append(("the weight is zero or no number", f"{instant} < {window.as_of} AND ({refused})"))
    return found


def _types(source: SqlSource, layout: TableLayout) -> dict[str, str]:
    """Return the types of the columns that are read, by canonical name, after checking that they are known."""
    known = {"user_id": _ID_TYPES, "item_id": _ID_TYPES, "timestamp": (*_NUMBERS, *_INSTANTS), "weight": _NUMBERS}
    chosen = {name: source.quoted(column) for name in known if (column := layout.one(name))}
    asked = ", ".join(f"CAST(pg_typeof({column}) AS text) AS {name}" for name, column in chosen.items())
    first = f"SELECT {asked} FROM {source.from_clause(layout.table)} LIMIT 1"
    types = dict(zip(chosen, map(str, one_row(source, first, *chosen)), strict=True))
    for name, kind in types.items():
        if kind not in known[name]:
            raise PushDownError(
                f"column {layout.one(name)!r} is of type {kind}, and {', '.join(known[name])} are known"
            )
    return types


def one_row(source: SqlSource, statement: str, *names: str) -> list[Any]:
    """Return the values of the one row that a SELECT gives.

    Raises:
        PushDownError: it gives none.
    """
    for batch in source.batches(statement, names, chunk_rows=1):
        return [column[0] if isinstance(column, list) else column[0].as_py() for column in batch.columns.values()]
    raise PushDownError("the table is empty")


_DIALECTS: dict[str, Callable[[SqlSource, TableLayout, Window], Words]] = {
    "sqlite": _sqlite,
    "postgresql": _postgresql,
}
