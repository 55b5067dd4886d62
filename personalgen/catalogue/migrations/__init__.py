"""Bringing a catalogue to the revision of this program, safely also when several processes start at once.

Revisions own the tables; the views hold no data and are made anew after every change (`views`).
"""

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from personalgen.catalogue.engine import reason_of, shown, sqlite_path, transaction
from personalgen.catalogue.roles import grant_views, owner_of, readers
from personalgen.catalogue.views import create_views, drop_views
from personalgen.errors import CatalogueError

_ADVISORY_LOCK = 7_306_812_441
"""Any number that all versions of this program agree on."""


def head_revision() -> str:
    """Return the newest revision that this program knows."""
    return _known_revisions()[0]


@cache
def _known_revisions() -> tuple[str, ...]:
    """Return the revisions of this program, newest first; to find them their scripts run, which takes 20 ms."""
    return tuple(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


def current_revision(engine: Engine) -> str | None:
    """Return the catalogue's revision, or None before the first.

    Raises:
        CatalogueError: the database cannot be reached.
    """
    try:
        with engine.connect() as connection:
            return _revision(connection)
    except DBAPIError as error:
        raise CatalogueError(
            f"The catalogue {shown(engine.url)} cannot be opened: {reason_of(error)}. "
            "Check store.catalogue_url. Nothing was changed."
        ) from None


def upgrade(engine: Engine) -> str:
    """Bring the catalogue to the newest revision, as one transaction; return that revision. At head it writes nothing.

    Raises:
        CatalogueError: the catalogue is at a revision that this program does not know, belongs to another role, or
            cannot be written.
    """
    with _only_one(engine):
        revision = current_revision(engine)
        _refuse_unknown(engine, revision)
        if revision == head_revision():
            return revision
        _refuse_others(engine, revision)
        _set_wal(engine)
        _migrate(engine, "head", down=False)
        return head_revision()


def downgrade(engine: Engine, revision: str = "base") -> None:
    """Take the catalogue back to an older revision: what only the newer one holds is lost.

    The views are dropped, and with them who may read them.

    Raises:
        CatalogueError: the catalogue is at a revision that this program does not know, or cannot be written.
    """
    with _only_one(engine):
        _refuse_unknown(engine, current_revision(engine))
        _migrate(engine, revision, down=True)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _migrate(engine: Engine, revision: str, *, down: bool) -> None:
    """Run the revisions and rebuild the views, which fit the newest one alone, in one transaction.

    Whoever could read the views may read the new ones.
    """
    config = _config()
    with transaction(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
        roles = readers(connection)
        drop_views(connection)
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)
        if _revision(connection) == head_revision():
            create_views(connection)
            grant_views(connection, roles)


def _refuse_unknown(engine: Engine, revision: str | None) -> None:
    if revision is not None and revision not in _known_revisions():
        raise CatalogueError(
            f"The catalogue {shown(engine.url)} is at revision {revision!r}, which this version of "
            f"personalgen does not know (its newest is {head_revision()!r}). A newer version wrote it: install "
            "that one, or point store.catalogue_url at another database. Nothing was changed."
        )


def _refuse_others(engine: Engine, revision: str | None) -> None:
    """Refuse to change tables as a role that does not own them: on PostgreSQL a night's role need not.

    Raises:
        CatalogueError: the role is neither the tables' owner nor one that has its rights.
    """
    if engine.dialect.name != "postgresql":
        return
    with engine.connect() as connection:
        owner = owner_of(connection)
        if owner is None or connection.scalar(text("SELECT pg_has_role(:owner, 'USAGE')"), {"owner": owner}):
            return
        own = connection.scalar(text("SELECT current_user"))
    raise CatalogueError(
        f"The catalogue {shown(engine.url)} is at revision {revision!r} and this version of personalgen works on "
        f"{head_revision()!r}; the role {own} may not change its tables, which belong to {owner}. Run `personalgen "
        f"catalogue upgrade` as {owner}, then this again. Nothing was changed."
    )


@contextmanager
def _only_one(engine: Engine) -> Iterator[None]:
    """Let one process at a time make or change a SQLite file; PostgreSQL has its own lock inside the transaction."""
    path = sqlite_path(engine.url)
    if path is None:
        yield
        return
    try:
        lock = path.with_name(f"{path.name}.migrate.lock").open("w")
    except OSError as error:
        raise CatalogueError(
            f"The catalogue {path} cannot be made or changed: {error}. Nothing was changed."
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _set_wal(engine: Engine) -> None:
    """Turn on the write-ahead log, a lasting property of the file: readers go on while a night writes."""
    if engine.dialect.name != "sqlite":
        return
    connection = engine.raw_connection()  # outside a transaction, which Core would begin
    try:
        connection.cursor().execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError as error:
        raise CatalogueError(
            f"The catalogue {shown(engine.url)} cannot be switched to WAL: {error}. Nothing was changed."
        ) from error
    finally:
        connection.close()
