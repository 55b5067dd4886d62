"""Replacing ranked rows whole: ids become keys, silent people are left out, and rows stream to the database."""

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Table, delete, literal, select

from personalgen.catalogue.bulk import chunks, execute_tuples, insert_into
from personalgen.catalogue.facts import Ranked
from personalgen.catalogue.schema import is_silent, item, item_neighbour, recommendation, user, user_neighbour
from personalgen.errors import CatalogueError

CHUNK_ROWS = 50_000
"""Rows in memory as Python values at a time."""
SILENT = -1
"""Stands for the key of a user who is silent."""

Keys = NDArray[np.int64]
Row = tuple[int, int, int, float, int]


class Kind(NamedTuple):
    """A table of ranked rows, and the tables of those that rows are for and about."""

    rows: Table
    """Columns in order: key of the owner, rank, key of what was found, score, night."""
    owners: Table
    found: Table


RECOMMENDATIONS: Final = Kind(recommendation, user, item)
ITEM_NEIGHBOURS: Final = Kind(item_neighbour, item, item)
USER_NEIGHBOURS: Final = Kind(user_neighbour, user, user)


def replace_ranked(connection: Connection, kind: Kind, night_id: int, ranked: Ranked) -> int:
    """Put `ranked` in the place of all rows of this kind, inside a transaction of the caller's; return how many.

    Raises:
        CatalogueError: an id is unknown.
    """
    owners = _keys(connection, kind.owners, ranked.owner_ids)
    found = _keys(connection, kind.found, ranked.found_ids)
    connection.execute(delete(kind.rows))
    insert, names = insert_into(connection, kind.rows), [column.name for column in kind.rows.columns]
    parts = _rows(ranked, owners, found, night_id=night_id)
    return sum(execute_tuples(connection, insert, names, rows) for rows in parts)


def _keys(connection: Connection, table: Table, ids: Sequence[str]) -> Keys:
    """Return (n,) int64: the key of each id, or SILENT."""
    name = table.name
    key, canonical = table.c[f"{name}_key"], table.c[f"{name}_id"]
    columns = select(canonical, key, is_silent if table is user else literal(value=False))
    known: dict[str, int] = {}
    for part in chunks(ids):
        for found, number, silent in connection.execute(columns.where(canonical.in_(part))):
            known[found] = SILENT if silent else number
    if missing := [each for each in ids if each not in known]:
        raise CatalogueError(
            f"{len(missing):,} of {len(ids):,} {name} ids are not in the catalogue, the first being {missing[0]!r}. "
            "`prepare` catalogues users and items before anything is ranked for them. Nothing was changed: the rows of "
            "before are still there."
        )
    return np.fromiter((known[each] for each in ids), dtype=np.int64, count=len(ids))


def _rows(ranked: Ranked, owners: Keys, found: Keys, *, night_id: int) -> Iterator[list[Row]]:
    """Yield rows in the order of their key, which is that of the table; ranks have no gaps."""
    order = np.argsort(owners, kind="stable")
    size = max(1, CHUNK_ROWS // max(1, ranked.scores.shape[1]))
    for start in range(0, len(order), size):
        part = order[start : start + size]
        index, scores = ranked.found_index[part], ranked.scores[part]
        place, column = np.nonzero(np.isfinite(scores) & (owners[part] != SILENT)[:, None])
        heard = found[index[place, column]] != SILENT
        place, column = place[heard], column[heard]
        rank = np.arange(1, len(place) + 1) - np.searchsorted(place, place)
        values = (owners[part][place], rank, found[index[place, column]], scores[place, column])
        yield list(zip(*(each.tolist() for each in values), repeat(night_id)))
