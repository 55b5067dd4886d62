"""Tables in a database, through a SQLAlchemy URL: table names or SELECTs, streamed, read-only."""

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from personalgen.errors import SourceError
from personalgen.tables.columns import Batch, Column
from personalgen.tables.source import nearest
from personalgen.urls import cleaned

_SELECT = re.compile(r"\s*(select|with)\b", re.IGNORECASE)
_DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg", "mysql": "mysql+pymysql"}
_CONNECT_TIMEOUT_SEC = 10
_ARROW_TYPES: dict[type, Any] = {int: pa.int64(), float: pa.float64(), str: pa.large_string()}


@dataclass(frozen=True)
class SqlSource:
    """An open, read-only connection."""

    connection: sa.Connection
    url: sa.URL
    image_root: Path

    @property
    def where(self) -> str:
        """How messages name the source."""
        return _shown(self.url)

    @property
    def dialect(self) -> str:
        """Which kind of database it is, such as sqlite or postgresql."""
        return self.connection.dialect.name

    def quoted(self, name: str) -> str:
        """Return a column's name as SQL."""
        return self.connection.dialect.identifier_preparer.quote_identifier(name)

    def columns(self, table: str) -> list[str]:
        """Return the column names of a table, view or SELECT."""
        try:
            with _explained(self.url, f"{table!r} cannot be read"):
                return list(self._select("*", f"{self.from_clause(table)} WHERE 1 = 0").keys())
        except SourceError:
            self.connection.rollback()  # else PostgreSQL refuses whatever is asked next
            raise

    def batches(self, table: str, columns: Sequence[str], *, chunk_rows: int) -> Iterator[Batch]:
        """Yield the rows of a table, view or SELECT in the order in which the database gives them."""
        quoted = ", ".join(map(self.quoted, columns))
        first = 0
        with (
            _explained(self.url, f"{table!r} cannot be read"),
            closing(self._select(quoted, self.from_clause(table), stream_results=True)) as result,
        ):
            for rows in result.partitions(chunk_rows):
                values = zip(*rows, strict=True)
                numbers = np.arange(first, first + len(rows), dtype=np.int64)
                yield Batch(numbers, {name: _column(list(one)) for name, one in zip(columns, values, strict=True)})
                first += len(rows)

    def hold_still(self) -> None:
        """Let all that is read from here on be of one instant, and give SQLite a function exp2.

        PostgreSQL shows one instant anyway; its power of two is `power`.
        """
        if self.dialect == "sqlite":
            raw: Any = self.connection.connection.driver_connection
            raw.create_function("exp2", 1, math.exp2, deterministic=True)
            if not raw.in_transaction:
                self.connection.exec_driver_sql("BEGIN")

    def _select(self, columns: str, table: str, **options: Any) -> sa.CursorResult[Any]:
        """Run a SELECT as it stands: a colon or a percent sign in the SELECT of the config is no parameter."""
        statement = f"SELECT {columns} FROM {table}"  # noqa: S608 - names are quoted, a SELECT is the config's own
        return self.connection.exec_driver_sql(statement, execution_options={"no_parameters": True, **options})

    def from_clause(self, table: str) -> str:
        """Return what stands after FROM: a quoted name, or a SELECT in brackets.

        Raises:
            SourceError: there is no such table or view.
        """
        if _SELECT.match(table):
            return f"({table.strip().rstrip(';')}\n) AS source_rows"
        inspector = sa.inspect(self.connection)
        schema, _, name = table.rpartition(".")
        for one, of_schema in ((table, None), (name, schema or None)):
            if inspector.has_table(one, schema=of_schema):
                return self.connection.dialect.identifier_preparer.format_table(sa.table(one, schema=of_schema))
        here = [*inspector.get_table_names(schema or None), *inspector.get_view_names(schema or None)]
        hint = f" (nearest: {near!r})" if (near := nearest(name, here)) else ""
        raise SourceError(f"{self.where} has no table {table!r}{hint}. Found: {', '.join(here) or 'no tables'}.")


@contextmanager
def open_database(url: str, *, image_root: Path) -> Iterator[SqlSource]:
    """Yield a connected source; the connection is closed afterwards.

    Raises:
        SourceError: the URL is wrong, its driver is missing, or the database cannot be reached.
    """
    if not image_root.is_dir():
        raise SourceError(f"source.image_root is {image_root}, which is not a folder. Mend the path. Nothing was read.")
    parsed = _parse(url)
    engine = _engine(parsed)
    try:
        with _explained(parsed, "the database cannot be opened"):
            connection = engine.connect().execution_options(**_session_options(parsed))
        with connection:
            yield SqlSource(connection, parsed, image_root)
    finally:
        engine.dispose()


def _parse(url: str) -> sa.URL:
    """Return the parsed URL, its driver named."""
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):
        raise SourceError(
            f"source.url {_redacted(url)!r} is not a SQLAlchemy URL: expected "
            "dialect+driver://user:password@host/database, or sqlite:///file.db. Nothing was read."
        ) from None
    if "+" not in parsed.drivername and parsed.drivername != "sqlite":
        better = _DRIVERS.get(parsed.drivername, f"{parsed.drivername}+DRIVER")
        raise SourceError(f"source.url {_shown(parsed)} names no driver. Write {better}://… instead. Nothing was read.")
    return parsed


def _engine(url: sa.URL) -> sa.Engine:
    """Return an engine that keeps no connection."""
    timeout = {"connect_timeout": _CONNECT_TIMEOUT_SEC} if url.drivername.startswith("postgresql") else {}
    try:
        engine = sa.create_engine(_read_only(url), poolclass=NullPool, connect_args=timeout)
    except (ImportError, ArgumentError) as error:
        raise SourceError(
            f"source.url {_shown(url)} needs a driver that is not installed: {error}. Install it, for PostgreSQL with "
            "pip install 'personalgen[postgres]', or name another. Nothing was read."
        ) from None
    if engine.dialect.is_async:
        raise SourceError(
            f"source.url {_shown(url)} names an asynchronous driver. Name a synchronous one, such as "
            "postgresql+psycopg. Nothing was read."
        )
    return engine


def _read_only(url: sa.URL) -> sa.URL:
    """Return the URL; for SQLite, one that neither creates nor changes the file.

    Raises:
        SourceError: the SQLite file does not exist.
    """
    if not url.drivername.startswith("sqlite") or (url.database or "").startswith("file:"):
        return url
    path = Path(url.database or ":memory:")
    if not path.is_file():
        raise SourceError(
            f"{_shown(url)} names {path}, which is not a file. Mend source.url. Nothing was read or created."
        )
    return url.set(database=f"file:{quote(str(path.resolve()))}", query={**url.query, "mode": "ro", "uri": "true"})


def _session_options(url: sa.URL) -> dict[str, Any]:
    """Return options that make a server refuse writes and show all tables as of one instant."""
    if url.drivername.startswith("postgresql"):
        return {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    return {}


def _column(values: list[Any]) -> Column:
    """Return an Arrow array where all values have one plain type, else the values as they came."""
    kinds = set(map(type, values)) - {type(None)}
    try:
        if not kinds:
            return pa.nulls(len(values))
        return pa.array(values, _ARROW_TYPES[kinds.pop()]) if len(kinds) == 1 else values
    except (KeyError, OverflowError, UnicodeEncodeError, pa.ArrowException):
        return values


@contextmanager
def _explained(url: sa.URL, what: str) -> Iterator[None]:
    """Turn what the database says into a SourceError without the password."""
    try:
        yield
    except SQLAlchemyError as error:
        told = str(error.orig) if isinstance(error, DBAPIError) else str(error)
        reason = cleaned(re.sub(r"\s+", " ", told).strip().rstrip("."), url.render_as_string(hide_password=False))
        advice = "Check the URL, the table and your rights. Nothing was written."
        raise SourceError(f"{_shown(url)}: {what}: {reason}. {advice}") from None


def _shown(url: sa.URL) -> str:
    """Return the URL without its password and its query, either of which may hold a secret."""
    return url.set(query={}).render_as_string(hide_password=True)


def _redacted(url: str) -> str:
    """Return text that was meant as a URL without what may be a password."""
    _, at, host = url.split("?", maxsplit=1)[0].rpartition("@")
    return f"***@{host}" if at else host
