"""What an analyst's SQL may touch. Imports the standard library alone, for the worker must start in milliseconds.

Everything is refused unless it is listed here: functions because `printf('%.1000000000c', 'x')` outlives every timer
inside SQLite, tables because the schema's own tables tell paths and triggers.
"""

import re
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

TABLES: Final = frozenset({
    "asset", "asset_rating", "comparison", "daily_stat", "data_health", "erasure", "forgotten", "item",
    "item_neighbour", "live_release", "model_promotion", "model_version", "night", "night_deletion", "quarantine",
    "rating", "recommendation", "refused", "removal", "shard", "user", "user_change", "user_current", "user_neighbour",
    "user_summary", "user_variant",
})  # fmt: skip
TABLE_FUNCTIONS: Final = frozenset({"json_each"})
HIDDEN_COLUMNS: Final = frozenset({("model_version", "folder"), ("quarantine", "path"), ("user_current", "condition")})
"""Paths outside the shard root, and raw preference vectors: they read as NULL, and the result names them."""

FUNCTIONS: Final = frozenset({
    # aggregates
    "avg", "count", "max", "min", "sum", "total",
    # windows
    "cume_dist", "dense_rank", "first_value", "lag", "last_value", "lead", "nth_value", "ntile", "percent_rank", "rank",
    "row_number",
    # values and text that is no longer than what went in
    "abs", "coalesce", "glob", "ifnull", "iif", "instr", "length", "like", "lower", "ltrim", "nullif", "round", "rtrim",
    "sign", "substr", "substring", "trim", "typeof", "unicode", "upper",
    # arithmetic
    "ceil", "ceiling", "exp", "floor", "ln", "log", "log10", "log2", "mod", "pow", "power", "sqrt",
    # time
    "current_date", "current_time", "current_timestamp", "date", "datetime", "julianday", "strftime", "time",
    "unixepoch",
    # the JSON of top_events, counts and verdicts
    "->", "->>", "json_array_length", "json_extract", "json_type",
})  # fmt: skip

TIMEOUT_SEC: Final = 1.0
"""Of a query, unless the settings say otherwise: with the start of its process it has ended after 1.5 seconds."""

MAX_STATEMENT_BYTES: Final = 20_000
LIMITS: Final = {
    sqlite3.SQLITE_LIMIT_LENGTH: 1_000_000,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: MAX_STATEMENT_BYTES,
    sqlite3.SQLITE_LIMIT_COLUMN: 100,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 20,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 16,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 100,
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
"""SQLite's own limits, tightened; they also bound what `||` can build and what a LIKE pattern can cost."""

_BEFORE_KEYWORD = re.compile(r"(?:\s+|\(|--[^\n]*(?:\n|$)|/\*.*?(?:\*/|$))*", re.DOTALL)
_READING = frozenset({"SELECT", "WITH", "VALUES"})

_ACTIONS: Final = {
    sqlite3.SQLITE_ATTACH: "ATTACH of another database",
    sqlite3.SQLITE_DETACH: "DETACH",
    sqlite3.SQLITE_PRAGMA: "PRAGMA",
    sqlite3.SQLITE_RECURSIVE: "A recursive query, which need not end,",
    sqlite3.SQLITE_SAVEPOINT: "SAVEPOINT",
    sqlite3.SQLITE_UPDATE: "Writing, or a table-valued function other than json_each,",
    sqlite3.SQLITE_TRANSACTION: "A transaction statement",
}


class RefusedError(Exception):
    """The statement was refused; the message says why."""


@contextmanager
def reasons(errors: type[Exception], policy_says: Callable[[], str | None]) -> Iterator[None]:
    """Turn a database's error into a refusal, in the policy's words where it was the one who refused."""
    try:
        yield
    except (errors, UnicodeError, ValueError) as error:
        text = str(error).strip(" .\n").splitlines()
        raise RefusedError(
            policy_says() or f"The database says: {text[0] if text else type(error).__name__}."
        ) from error


def start_timer(timeout_sec: float) -> None:
    """Let the system end this process after `timeout_sec`, whatever it does then; no database's loop needs to look."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, timeout_sec)


def refusal(statement: str) -> str | None:
    """Return why a statement is refused before any database sees it, or None."""
    if len(statement.encode("utf-8", "replace")) > MAX_STATEMENT_BYTES:
        return f"The statement is longer than {MAX_STATEMENT_BYTES:,} bytes."
    if "\0" in statement:
        return "The statement contains a NUL character."
    rest = statement[_BEFORE_KEYWORD.match(statement).end() :]  # type: ignore[union-attr]
    found = re.match(r"\w+", rest)
    keyword = found.group().upper() if found else ""
    if keyword in _READING:
        return None
    return f"{keyword or 'An empty statement'} is refused: one SELECT, WITH or VALUES statement is expected."


class Authorizer:
    """SQLite's authorizer callback; it keeps why it refused and which columns it hid."""

    def __init__(self, real_names: frozenset[str], views: frozenset[str]) -> None:
        """Take the names of all that the database could resolve, and of the views that are open."""
        self._open = views | TABLES
        self._never = real_names - self._open - TABLE_FUNCTIONS
        self.refused: str | None = None
        self.hidden: set[str] = set()

    def __call__(
        self, action: int, first: str | None, second: str | None, _database: str | None, _view: str | None
    ) -> int:
        """Return SQLITE_OK, SQLITE_IGNORE (the column reads as NULL) or SQLITE_DENY."""
        if action == sqlite3.SQLITE_SELECT:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_READ:
            return self._read((first or "").lower(), (second or "").lower())
        if action == sqlite3.SQLITE_FUNCTION:
            return self._function((second or "").lower())
        return self._refuse(f"{_ACTIONS.get(action, 'Anything but reading')} is not allowed.")

    def _read(self, table: str, column: str) -> int:
        if (table, column) in HIDDEN_COLUMNS:
            self.hidden.add(f"{table}.{column}")
            return sqlite3.SQLITE_IGNORE
        if table in self._open or table in TABLE_FUNCTIONS:
            return sqlite3.SQLITE_OK
        # `count(*)` reads the empty column of whatever stands in FROM, also of a common table expression.
        if not column and table not in self._never and not table.startswith(("sqlite_", "pragma_")):
            return sqlite3.SQLITE_OK
        return self._refuse(f"The table {table} is not open to queries. Open are {', '.join(sorted(self._open))}.")

    def _function(self, name: str) -> int:
        if name in FUNCTIONS:
            return sqlite3.SQLITE_OK
        return self._refuse(f"The function {name}() is not on the list of allowed functions.")

    def _refuse(self, reason: str) -> int:
        self.refused = self.refused or reason
        return sqlite3.SQLITE_DENY
