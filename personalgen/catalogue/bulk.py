"""Inserting many rows: one statement for both databases, by driver tuples on SQLite and binary COPY on PostgreSQL."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from operator import itemgetter
from typing import Any, TypeVar

from sqlalchemy import Connection, Dialect, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import Compiled
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.dml import Insert

CHUNK = 5_000
"""Values per IN list: below the limits on bound parameters of both databases."""

T = TypeVar("T")
DialectInsert = postgresql.Insert | sqlite.Insert


def insert_into(connection: Connection, table: Table) -> DialectInsert:
    """Return the dialect's own INSERT, which knows ON CONFLICT."""
    return dialect_insert(connection.dialect, table)


def dialect_insert(dialect: Dialect, table: Table) -> DialectInsert:
    """Do what `insert_into` does, where there is no connection yet."""
    return postgresql.insert(table) if dialect.name == "postgresql" else sqlite.insert(table)


def execute_upsert(connection: Connection, build: Callable[[Dialect], Insert], **values: int) -> int:
    """Execute the INSERT that `build` makes, with these bound numbers; return how many rows it wrote.

    It is built and compiled once: SQLAlchemy caches no statement with ON CONFLICT, and compiles it in 1 to 4 ms.
    """
    compiled = _compiled(build, connection.dialect)
    bound: Any = compiled.construct_params(values)
    places = getattr(compiled, "positiontup", None)
    ordered = bound if places is None else tuple(bound[name] for name in places)
    return connection.exec_driver_sql(str(compiled), ordered).rowcount


def chunks(values: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """Yield consecutive slices of at most `size` values."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def execute_rows(connection: Connection, statement: Insert, rows: Sequence[Mapping[str, Any]]) -> int:
    """Execute an INSERT once per row of named values; return how many rows it wrote."""
    return connection.execute(statement, list(rows)).rowcount if rows else 0


def execute_tuples(
    connection: Connection, statement: Insert, names: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> int:
    """Execute an INSERT once per row of bare values in the order of `names`; return how many rows it wrote.

    On SQLite the tuples go to the driver as they are (4 times the speed of named values), so they must hold what it
    stores: numbers, text, bytes. Elsewhere they pass through Core's types.
    """
    if not rows:
        return 0
    if connection.dialect.name != "sqlite":
        return execute_rows(connection, statement, [dict(zip(names, row, strict=True)) for row in rows])
    compiled = statement.compile(dialect=connection.dialect, column_keys=list(names))
    places = [names.index(name) for name in compiled.positiontup or ()]
    reorder: Callable[[tuple[Any, ...]], Any] = itemgetter(*places)
    return connection.exec_driver_sql(str(compiled), [reorder(row) for row in rows]).rowcount


@lru_cache(maxsize=64)
def _compiled(build: Callable[[Dialect], Insert], dialect: Dialect) -> Compiled:
    return build(dialect).compile(dialect=dialect)


@contextmanager
def staged(connection: Connection, table: Table, rows: Iterable[tuple[Any, ...]]) -> Iterator[None]:
    """Fill the temporary `table` with rows of bare values in the order of its columns; it is gone afterwards.

    From there one statement moves them all. That costs less than a statement for each row, on SQLite too, and the
    database checks and looks up without a round trip. Its columns are those that `copy_rows` takes.
    """
    table.create(connection)
    if connection.dialect.name == "postgresql":
        copy_rows(connection, table, table.columns.keys(), rows)
    elif values := list(rows):  # without rows the driver takes the statement for one of a single row
        marks = ", ".join("?" * len(table.columns))
        connection.exec_driver_sql(f"INSERT INTO {table.name} VALUES ({marks})", values)  # noqa: S608 - our own table
    yield
    table.drop(connection)


def copy_rows(connection: Connection, table: Table, names: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """Send rows of these columns to PostgreSQL by binary COPY: a fraction of the time of an INSERT for each.

    Columns are of types whose SQL name the driver knows: integers, Double, Text, LargeBinary.
    """
    statement = f"COPY {table.name} ({', '.join(names)}) FROM STDIN (FORMAT BINARY)"
    types = [str(table.c[name].type.compile(connection.dialect)).lower() for name in names]
    driver: Any = connection.connection.driver_connection
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)
    except connection.dialect.loaded_dbapi.Error as error:
        if driver.closed:
            connection.invalidate(error)  # as SQLAlchemy does where it sends a statement itself
        raise DBAPIError(statement, None, error) from error
