"""SQL by people who should not be able to break anything: read-only, capped, in a process that can be killed.

On SQLite the worker opens the file with mode=ro under an authorizer that knows a list of tables and functions
(`query_policy`). On PostgreSQL it refuses roles that may do more than read, has the server show its parse tree of the
statement, in which everything must be on a list (`parse_tree`), and reads through a cursor in a read-only transaction
(`query_postgresql`). docs/security.md says against whom.
"""

import base64
import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import personalgen
from personalgen.catalogue.engine import parse_url, sqlite_path
from personalgen.catalogue.misspelt import hint
from personalgen.catalogue.query_policy import TIMEOUT_SEC, refusal
from personalgen.catalogue.views import VIEWS
from personalgen.errors import CatalogueError, NotFoundError, QueryError

_WORKER = "personalgen.catalogue.query_worker"
_MEMORY_BYTES = 64 << 20
_START_SEC = 10.0
"""Given to a worker beside the query's own time: to start, and to connect. Who needs longer is killed."""
_UNCHANGED = "Nothing was changed."


@dataclass(frozen=True)
class QueryResult:
    """What a query answered."""

    columns: tuple[str, ...]
    """Names, in order; two may be equal."""
    rows: tuple[tuple[Any, ...], ...]
    """Numbers, text, bytes and None; times as ISO text, documents as JSON text."""
    truncated: bool
    """True where rows were left out at a cap."""
    hidden: tuple[str, ...] = ()
    """Columns (table.column) that read as NULL because they are not open to queries."""


def run_sql(
    url: str,
    statement: str,
    *,
    max_rows: int = 1_000,
    max_bytes: int = 8 << 20,
    timeout_sec: float = TIMEOUT_SEC,
    memory_bytes: int = _MEMORY_BYTES,
    as_owner: bool = False,
) -> QueryResult:
    """Return the rows of one SELECT on the catalogue at `url`, at most `max_rows` and `max_bytes` of them.

    On PostgreSQL a role that may write or administer is refused, unless `as_owner`.

    Raises:
        QueryError: the statement was refused, failed, or was cut at `timeout_sec` or `memory_bytes`; it says why.
        NotFoundError: there is no catalogue at `url`.
        CatalogueError: the worker itself failed.
    """
    if (reason := refusal(statement)) is not None:
        raise QueryError(f"{reason} {_UNCHANGED}")
    request = {
        **_target(url), "statement": statement, "max_rows": max_rows, "max_bytes": max_bytes, "timeout_sec":
        timeout_sec, "memory_bytes": memory_bytes, "cpu_sec": math.ceil(timeout_sec) + 1, "views": sorted(VIEWS),
        "as_owner": as_owner,
    }  # fmt: skip
    return _parse(_ask(request, timeout_sec=timeout_sec), statement)


def _target(url: str) -> dict[str, str]:
    """Return how the worker opens the catalogue."""
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite":
        plain = parsed.set(drivername="postgresql")
        return {"engine": "postgresql", "target": plain.render_as_string(hide_password=False)}
    path = sqlite_path(parsed)
    if path is None or not path.is_file():
        raise NotFoundError(
            f"There is no catalogue at {parsed.database}. Run `personalgen nightly` first, or mend store.catalogue_url."
        )
    return {"engine": "sqlite", "target": f"file:{quote(str(path.resolve()))}?mode=ro"}


def _ask(request: dict[str, Any], *, timeout_sec: float) -> list[str]:
    """Return the worker's lines; a worker whose query outlives `timeout_sec` is killed by its own timer, or by us.

    The request goes by stdin: a password in an argument is visible to everyone on the machine. Without site packages
    (-S) the SQLite worker starts in 30 ms.
    """
    without_site = ["-S"] if request["engine"] == "sqlite" else []
    roots = str(Path(personalgen.__file__).parent.parent)
    try:
        done = subprocess.run(  # noqa: S603  (our own interpreter and module)
            [sys.executable, "-s", "-P", *without_site, "-m", _WORKER],
            input=json.dumps(request),
            capture_output=True,
            encoding="utf-8",
            errors="surrogatepass",
            timeout=timeout_sec + _START_SEC,
            env={"PYTHONPATH": roots, "PYTHONUTF8": "1", "PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise QueryError(
            f"The database did not answer within {timeout_sec + _START_SEC:g} s. Try again later. {_UNCHANGED}"
        ) from None
    if done.returncode == -signal.SIGALRM:
        raise QueryError(
            f"The query was cut after {timeout_sec:g} s. Narrow it, for example by night_id, join on ids, or ask for a "
            f"larger store.sql_timeout_sec. {_UNCHANGED}"
        )
    if done.returncode < 0:
        raise QueryError(f"The query was killed at a limit of CPU time or memory. Narrow it. {_UNCHANGED}")
    if done.returncode:
        raise CatalogueError(f"The query process failed: {done.stderr[-500:].strip()}. {_UNCHANGED}")
    return done.stdout.split("\n")[:-1]  # splitlines() would also split at U+2028 inside a value


def _parse(lines: list[str], statement: str) -> QueryResult:
    """Return the result that the worker's lines spell.

    Raises:
        QueryError: they spell a refusal.
    """
    values = [json.loads(line) for line in lines]
    last: dict[str, Any] = values[-1]
    if "refused" in last:
        raise QueryError(f"{last['refused']}{hint(last['refused'], statement)} {_UNCHANGED}")
    rows = tuple(tuple(_cell(value) for value in row) for row in values[1:-1])
    return QueryResult(tuple(values[0]["columns"]), rows, truncated=last["truncated"], hidden=tuple(last["hidden"]))


def _cell(value: Any) -> Any:
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else value
