"""What an analyst may have meant by a view or a column that is not there."""

import difflib
import re
from collections.abc import Iterable
from functools import cache

from sqlalchemy import create_engine

from personalgen.catalogue.schema import METADATA
from personalgen.catalogue.views import VIEWS, create_views

_LONGEST = 64
"""Characters of a name that are compared: no view and no column is half as long."""
_NEARLY_THE_SAME = 0.8

_MISSING = re.compile(
    r"no such (?P<lite>table|column): \"?(?P<lite_name>[\w.]*\w)"
    r"|(?P<server>relation|column) \"?(?P<server_name>[\w.]*\w)\"? does not exist"
)


def hint(refused: str, statement: str) -> str:
    """Return what to write instead of a name that the database does not know, with a space before it; else nothing."""
    if (found := _MISSING.search(refused)) is None:
        return ""
    name = (found["lite_name"] or found["server_name"]).rpartition(".")[2][:_LONGEST].lower()
    if (found["lite"] or found["server"]) != "column":
        return _did_you_mean(name, VIEWS) or f" The views are {', '.join(sorted(VIEWS))}."
    columns = view_columns()
    named = [view for view in VIEWS if re.search(rf"\b{view}\b", statement, re.IGNORECASE)]
    near = _did_you_mean(name, [column for view in named for column in columns[view]])
    return near or _elsewhere(name) or "".join(f" {view} has {', '.join(columns[view])}." for view in named)


@cache
def view_columns() -> dict[str, tuple[str, ...]]:
    """Return the columns of each view, in order, as an empty database tells them."""
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        METADATA.create_all(connection)
        create_views(connection)
        asked = {view: connection.exec_driver_sql(f"PRAGMA table_info({view})").all() for view in VIEWS}
        return {view: tuple(row.name for row in rows) for view, rows in asked.items()}


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]}?" if close else ""


def _elsewhere(name: str) -> str:
    """Return the nearest column of any view, with its view; only one that is nearly the same."""
    views = {column: view for view, columns in view_columns().items() for column in columns}
    close = difflib.get_close_matches(name, list(views), n=1, cutoff=_NEARLY_THE_SAME)
    return f" Did you mean {views[close[0]]}.{close[0]}?" if close else ""
