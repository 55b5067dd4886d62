"""Rewriting the catalogue's file, so that no free page holds what was deleted."""

import mmap
import sqlite3
from collections.abc import Sequence

from sqlalchemy import Engine

from personalgen.catalogue.engine import shown, sqlite_path
from personalgen.errors import CatalogueError

_MOST_TEXTS = 50
"""Beyond this many, looking for each costs more than rewriting the file."""

_REFUSED = (
    "The catalogue {} could not be rewritten: {}. Deleted rows may still lie in it or in its log. End other programs "
    "that use it, free some disk, and run the same command again."
)


def has_residue(engine: Engine, texts: Sequence[str]) -> bool:
    """Return whether a SQLite file still holds one of these texts anywhere; for PostgreSQL, which vacuums itself, no.

    Short texts are found by chance, too: that costs a rewriting and nothing else.
    """
    path = sqlite_path(engine.url)
    if path is None or not path.is_file():
        return False
    if len(texts) > _MOST_TEXTS:
        return True
    _run(engine, "PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return any(content.find(text.encode()) >= 0 for text in texts)


def rewrite(engine: Engine) -> None:
    """Write a SQLite file anew without free pages and without a log; needs as much free disk as the file has.

    Raises:
        CatalogueError: another process reads or writes it, or the disk is full. Nothing was changed.
    """
    if sqlite_path(engine.url) is None:
        return
    _run(engine, "PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)")


def _run(engine: Engine, *statements: str) -> None:
    """Execute statements on the driver's connection, outside the transaction that Core would begin."""
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        for statement in statements:
            told = cursor.execute(statement).fetchone()
            if told and told[0]:  # a checkpoint says in its first column whether somebody kept it from ending
                raise CatalogueError(_REFUSED.format(shown(engine.url), "another program reads it"))
    except sqlite3.OperationalError as error:
        raise CatalogueError(_REFUSED.format(shown(engine.url), error)) from error
    finally:
        connection.close()
