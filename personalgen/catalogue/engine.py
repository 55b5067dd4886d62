"""Opening a catalogue by URL, and the one way to write to it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Dialect, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError

from personalgen.errors import CatalogueError, ConfigError, NotFoundError
from personalgen.urls import without_secrets

__all__ = ["Engine", "analyze", "open_catalogue", "parse_url", "reason_of", "shown", "sqlite_path", "transaction"]
"""`Engine` is here for those above the catalogue, who may not import sqlalchemy."""

_BUSY_SEC = 30
_CACHE_KIB = 32_000
_MAPPED_BYTES = 2**31 - 2**16
"""As much as SQLite maps at most, as it is built."""
_WRITES, _USED_AT = "personalgen_writes", "personalgen_used_at"
_IDLE_SEC = 1.0
"""After so long a connection of a pool is asked whether it still lives before it is used."""


def parse_url(url: str) -> URL:
    """Return the URL of a SQLite or PostgreSQL database, the driver of the latter being psycopg.

    Raises:
        ConfigError: it is no URL, or names another database.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError(
            f"store.catalogue_url ({url.partition(':')[0]}:…) is not a database URL. Write "
            "sqlite:///path/to/catalogue.db or postgresql+psycopg://user@host/database. Nothing was opened."
        ) from None
    if parsed.drivername in {"sqlite", "sqlite+pysqlite"}:
        return parsed
    if parsed.drivername in {"postgresql", "postgresql+psycopg"}:
        return parsed.set(drivername="postgresql+psycopg")
    raise ConfigError(
        f"store.catalogue_url asks for {parsed.drivername}; a catalogue is sqlite or postgresql+psycopg. "
        "Nothing was opened."
    )


def sqlite_path(url: URL) -> Path | None:
    """Return the file of a SQLite URL, or None for a database in memory or a server."""
    name = url.database or ":memory:"
    return None if url.get_backend_name() != "sqlite" or name == ":memory:" else Path(name.removeprefix("file:"))


def open_catalogue(url: str, *, read_only: bool = False) -> Engine:
    """Return an engine on the catalogue; the folder of a SQLite file is made. `migrations.upgrade` makes the tables.

    A read-only engine cannot write, whoever asks: SQLite opens the file with mode=ro, PostgreSQL runs
    read-only transactions.

    Raises:
        ConfigError: see `parse_url`; or the driver for PostgreSQL is not installed.
        NotFoundError: read-only, and the SQLite file does not exist.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed, read_only=read_only)
    options: dict[str, Any] = {"postgresql_readonly": True} if read_only else {}
    try:
        engine = create_engine(parsed, execution_options=options, hide_parameters=True)
    except ModuleNotFoundError:
        raise ConfigError(
            f"{shown(parsed)} needs the driver psycopg: pip install 'personalgen[postgres]'. Nothing was opened."
        ) from None
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", partial(_ping_if_idle, engine.dialect))
    return engine


def shown(url: URL) -> str:
    """Return the URL as messages may show it."""
    return without_secrets(url.render_as_string())


def reason_of(error: DBAPIError) -> str:
    """Return what the database said, in one line that quotes no row: PostgreSQL's DETAIL names people.

    Errors are raised from this line alone, `from None`: a trace would print the rest.
    """
    diagnosis = getattr(error.orig, "diag", None)
    told = getattr(diagnosis, "message_primary", None) or str(error.orig)
    return " ".join(told.split())


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """Yield a connection whose work is committed as one, or not at all.

    Raises:
        CatalogueError: the database is locked, gone or full, or refused a row. Nothing was changed.
    """
    try:
        # Without preserve_rowcount an INSERT on PostgreSQL does not tell how many rows it wrote.
        with engine.execution_options(**{_WRITES: True}, preserve_rowcount=True).begin() as connection:
            yield connection
    except DBAPIError as error:
        raise CatalogueError(
            f"The catalogue {shown(engine.url)} refused a write: {reason_of(error)}. "
            "Nothing was changed: the transaction was rolled back. If another process holds a lock or the disk is "
            "full, mend that and run again."
        ) from None


def analyze(engine: Engine) -> None:
    """Refresh the planner's statistics, of small tables too; once after each night.

    Without them SQLite chose a Bloom-filter plan of 8-30 ms where 0.05 ms is possible.
    """
    with transaction(engine) as connection:
        connection.execute(text("ANALYZE"))


def _note_use(_connection: object, record: Any) -> None:
    record.info[_USED_AT] = time.monotonic()


def _ping_if_idle(dialect: Dialect, connection: Any, record: Any, _proxy: object) -> None:
    """Have the pool connect anew where a connection that lay idle is dead; one in use is not asked for each question.

    Raises:
        DisconnectionError: it is dead.
    """
    if time.monotonic() - record.info.get(_USED_AT, 0.0) < _IDLE_SEC:
        return
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        raise DisconnectionError("the server closed the connection") from error


def _open_sqlite(url: URL, *, read_only: bool) -> Engine:
    path = sqlite_path(url)
    if path is not None and read_only:
        if not path.is_file():
            raise NotFoundError(
                f"There is no catalogue at {path}. Run `personalgen nightly` first, or mend store.catalogue_url."
            )
        url = url.set(database=f"file:{quote(str(path.resolve()))}", query={"mode": "ro", "uri": "true"})
    elif path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": _BUSY_SEC}, hide_parameters=True)
    event.listen(engine, "connect", _prepare_readonly if read_only else _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _record: object) -> None:
    """Set up a SQLite connection.

    synchronous=FULL: with NORMAL, a power cut may take back the last commits of a WAL database; a released model and a
    sealed shard must stay, and a commit per shard of thousands of rows makes the extra fsync free. WAL itself is a
    property of the file, set by `migrations.upgrade` under its lock.

    cache_size: with SQLite's 2 MB the index of a million recommendations, which come in no order of items, is read and
    written page by page, which costs as much again as the rows (7.0 s of CPU against 3.6).
    """
    connection.isolation_level = None  # `_begin` decides, not the driver
    for pragma in ("foreign_keys=ON", "synchronous=FULL", f"cache_size=-{_CACHE_KIB}"):
        connection.execute(f"PRAGMA {pragma}")


def _prepare_readonly(connection: Any, record: object) -> None:
    """Set up a SQLite connection that only reads.

    mmap_size: pages of a large file are read where the system keeps them instead of being copied, which takes a tenth
    off questions of ten million images, and more off the slowest. Not where a night writes: what is mapped counts as
    its memory.
    """
    _prepare(connection, record)
    for pragma in (f"mmap_size={_MAPPED_BYTES}", "query_only=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    """Take the write lock at once where writing is meant: a reader that upgrades later cannot wait and fails."""
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
