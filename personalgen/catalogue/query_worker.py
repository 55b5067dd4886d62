"""The process that runs an analyst's SQL and may be killed: `python -m personalgen.catalogue.query_worker`.

One JSON request on stdin, JSON lines on stdout: {"columns": [...]}, one [...] a row, {"truncated": ..., "hidden":
[...]}; or {"refused": "why"} at any point. Rows leave as they come, so that the process stays small.
"""

import base64
import json
import resource
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from personalgen.catalogue.query_policy import LIMITS, Authorizer, RefusedError, reasons, start_timer

_FILE_BYTES = 64 << 20
_BUSY_MS = 2_000
_FALLBACK_BASE_BYTES = 64 << 20

Request = dict[str, Any]
Rows = Iterator[Sequence[Any]]


def main() -> None:
    """Answer the request on stdin."""
    request: Request = json.load(sys.stdin)
    _limit_process(request["memory_bytes"], cpu_sec=request["cpu_sec"])
    try:
        with _engine(request["engine"])(request) as (columns, rows, hidden):
            _send({"columns": columns})
            truncated = _send_rows(rows, max_rows=request["max_rows"], max_bytes=request["max_bytes"])
            _send({"truncated": truncated, "hidden": sorted(hidden)})
    except RefusedError as error:
        _send({"refused": str(error)})
    except MemoryError:
        _send({"refused": f"It needs more than {request['memory_bytes'] >> 20} MiB of memory."})


def _engine(name: str) -> Callable[[Request], AbstractContextManager[tuple[list[str], Rows, set[str]]]]:
    """Return what answers; the driver of PostgreSQL is loaded where it is asked for."""
    if name == "sqlite":
        return _sqlite
    from personalgen.catalogue.query_postgresql import answer

    return answer


def _send(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def _send_rows(rows: Rows, *, max_rows: int, max_bytes: int) -> bool:
    """Send rows until a cap is reached; return whether any were left."""
    n_bytes = 0
    for n_rows, row in enumerate(rows):
        line = json.dumps([_cell(value) for value in row], ensure_ascii=False)
        n_bytes += len(line.encode("utf-8", "surrogatepass"))
        if n_rows == max_rows or n_bytes > max_bytes:
            return True
        sys.stdout.write(line + "\n")
    return False


def _cell(value: Any) -> Any:
    """Return the value as JSON has it: bytes tagged, times as ISO text, documents as text."""
    if isinstance(value, bytes | memoryview):
        return {"base64": base64.b64encode(bytes(value)).decode()}
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Decimal):
        return float(value)
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _limit_process(memory_bytes: int, *, cpu_sec: int) -> None:
    """Cap memory, CPU time and file sizes; a system that lacks one of the caps still has the parent's kill."""
    limits = {
        resource.RLIMIT_AS: _address_bytes() + memory_bytes,
        resource.RLIMIT_CPU: cpu_sec,
        resource.RLIMIT_FSIZE: _FILE_BYTES,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in limits.items():
        with suppress(ValueError, OSError):
            resource.setrlimit(kind, (value, value))


def _address_bytes() -> int:
    """Return the size of the address space now: the interpreter itself is not the query's."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    except OSError:
        return _FALLBACK_BASE_BYTES


@contextmanager
def _sqlite(request: Request) -> Iterator[tuple[list[str], Rows, set[str]]]:
    """Yield columns, rows and hidden columns of a statement on a SQLite file."""
    with closing(sqlite3.connect(request["target"], uri=True, isolation_level=None)) as connection:
        start_timer(request["timeout_sec"])
        authorizer = Authorizer(_open(connection, request["memory_bytes"]), frozenset(request["views"]))
        with reasons(sqlite3.Error, lambda: authorizer.refused):
            connection.set_authorizer(authorizer)
            cursor = connection.execute(request["statement"])
            yield [column[0] for column in cursor.description or ()], cursor, authorizer.hidden


def _open(connection: sqlite3.Connection, memory_bytes: int) -> frozenset[str]:
    """Set the limits; return the names that the database resolves."""
    heap_bytes = memory_bytes // 2
    pragmas = ("query_only=ON", "temp_store=MEMORY", f"busy_timeout={_BUSY_MS}", f"hard_heap_limit={heap_bytes}")
    with reasons(sqlite3.Error, lambda: None):
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")
        names = [*connection.execute("SELECT name FROM sqlite_master"), *connection.execute("PRAGMA module_list")]
        # Its first use declares it, which the authorizer would refuse.
        connection.execute("SELECT 1 FROM json_each('[]')").fetchall()
    for limit, value in LIMITS.items():
        connection.setlimit(limit, value)
    return frozenset(name.lower() for (name,) in names)


if __name__ == "__main__":
    main()
