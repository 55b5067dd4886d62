"""Questions that are asked often: built and compiled once for each shape, and executed by the driver.

SQLAlchemy takes 0.2 to 0.4 ms to build a query of a view, to find its compiled text by the shape of all its parts, and
to make the result's types, which is more than a database takes to answer it.
"""

from collections import namedtuple
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import closing
from functools import lru_cache
from itertools import starmap
from typing import Any

from sqlalchemy import BigInteger, BindParameter, ColumnElement, Connection, Dialect, Numeric, Select, bindparam, false

_SHAPES = 512
"""Statements that are kept; each takes some 20 kB."""

Build = Callable[..., Select[Any]]


class _Prepared:
    """A compiled SELECT, how its values are bound, and what makes Python's values of its rows'."""

    def __init__(self, query: Select[Any], dialect: Dialect) -> None:
        compiled = query.compile(dialect=dialect)
        self.text = str(compiled)
        self._places: Sequence[str] | None = getattr(compiled, "positiontup", None)
        self._fixed = dict(compiled.params)
        self._bound = {
            name: made
            for bound, name in compiled.bind_names.items()
            if (made := bound.type.dialect_impl(dialect).bind_processor(dialect))
        }
        columns = list(query.selected_columns)
        self._row = _row_type([str(column.key) for column in columns])
        made_of = [
            # a driver's numbers are Python's; SQLAlchemy would have to be told each column's code
            None
            if isinstance(column.type, Numeric)
            else column.type.dialect_impl(dialect).result_processor(dialect, None)
            for column in columns
        ]
        self._typed = [(place, made) for place, made in enumerate(made_of) if made is not None]

    def values(self, given: Mapping[str, Any]) -> Any:
        """Return the bound values in the driver's own form."""
        named = {**self._fixed, **{name: given[name] for name in given if name in self._fixed}}
        for name, made in self._bound.items():
            named[name] = made(named[name])
        return named if self._places is None else tuple(named[name] for name in self._places)

    def rows(self, found: Sequence[Sequence[Any]]) -> list[Any]:
        """Return rows of the driver as named tuples of Python values."""
        if not self._typed:
            return list(starmap(self._row, found))
        return [self._row._make(self._made(row)) for row in found]

    def _made(self, row: Sequence[Any]) -> list[Any]:
        values = list(row)
        for place, made in self._typed:
            values[place] = made(values[place])
        return values


def ask(connection: Connection, build: Build, *shape: Hashable, **values: Any) -> list[Any]:
    """Return the rows of the query `build(*shape)`, named tuples of its columns, with these bound values.

    `build` makes the same query of the same shape, its values bound by name.
    """
    prepared = _prepared(build, shape, connection.dialect)
    return prepared.rows(connection.exec_driver_sql(prepared.text, prepared.values(values)).fetchall())


def ask_driver(connection: Connection, build: Build, *shape: Hashable, **values: Any) -> Sequence[Any]:
    """Do what `ask` does, and return the driver's own rows: for very many, whose values need no making."""
    prepared = _prepared(build, shape, connection.dialect)
    sent = {"binary": True} if connection.dialect.name == "postgresql" else {}  # bytes as they are, not as text
    with closing(connection.connection.cursor(**sent)) as cursor:
        cursor.execute(prepared.text, prepared.values(values))
        return cursor.fetchall()


def places_in(column: ColumnElement[Any], name: str, count: int) -> ColumnElement[bool]:
    """Return whether a column holds one of the values that `listed` binds; of none, nothing is one."""
    bound: list[BindParameter[Any]] = [bindparam(f"{name}_{place}", type_=BigInteger) for place in range(count)]
    return column.in_(bound) if bound else false()


def padded(count: int) -> int:
    """Return how many places a list of this length takes: the next power of two, so that shapes are few."""
    return 1 << (count - 1).bit_length() if count else 0


def listed(name: str, values: Sequence[int]) -> dict[str, int]:
    """Return values by the names of their places; the last one stands in the rest of them, too."""
    filled = [*values, *[values[-1]] * (padded(len(values)) - len(values))] if values else []
    return {f"{name}_{place}": value for place, value in enumerate(filled)}


def _row_type(names: list[str]) -> Any:
    return namedtuple("Row", names)  # noqa: PYI024 - its names are data


@lru_cache(maxsize=_SHAPES)
def _prepared(build: Build, shape: tuple[Hashable, ...], dialect: Dialect) -> _Prepared:
    return _Prepared(build(*shape), dialect)
