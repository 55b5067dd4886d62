"""The catalogues of tests: a SQLite file in the home, or a database of the session's PostgreSQL server.

Tests look at rows, spoil them and put them back past every layer of ours, in the same words on both: values are shown
as SQLite keeps them.
"""

import json
import os
import shutil
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path


@dataclass(frozen=True)
class Catalogue:
    """A catalogue by its URL; it need not be there yet."""

    url: str

    @property
    def is_sqlite(self):
        """Whether it is a file."""
        return self.url.startswith("sqlite")

    @property
    def file(self):
        """Path of a SQLite file."""
        return Path(self.url.removeprefix("sqlite:///"))

    def ask(self, statement):
        """Return rows as dicts."""
        if self.is_sqlite:
            with read_only(self.file) as connection:
                return [dict(row) for row in connection.execute(statement)]
        with closing(postgresql(self.url)) as connection:
            connection.read_only = True
            return [{name: as_sqlite(value) for name, value in row.items()} for row in connection.execute(statement)]

    def as_analyst(self):
        """Return the settings by which an analyst asks: on PostgreSQL a role that reads the views, which stand now."""
        if self.is_sqlite:
            return ()
        from personalgen.catalogue.engine import open_catalogue
        from personalgen.catalogue.migrations import current_revision
        from personalgen.catalogue.roles import ANALYST, grant_role

        engine = open_catalogue(self.url)
        has_views = current_revision(engine) is not None
        if has_views:
            grant_role(engine, ANALYST, "asker")
        engine.dispose()
        return () if not has_views else (f"store.catalogue_analyst_url={self.url.replace('pg@', 'asker@')}",)

    def change(self, *statements):
        """Run statements in one transaction."""
        with closing(sqlite3.connect(self.file) if self.is_sqlite else postgresql(self.url)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    def tables(self):
        """Return every row of every table as dicts, in an order of their own."""
        if self.is_sqlite and not self.file.exists():
            return {}
        names = [row["name"] for row in self.ask(f"select name from {self._tables}")]
        return {name: sorted(self.ask(f'select * from "{name}"'), key=repr) for name in names}

    def columns(self, table):
        """Return the names of a table's columns."""
        if self.is_sqlite:
            return [row["name"] for row in self.ask(f"select name from pragma_table_info('{table}')")]
        asked = f"select attname as name from pg_attribute where attrelid = '{table}'::regclass and attnum > 0"
        return [row["name"] for row in self.ask(f"{asked} order by attnum")]

    def kept(self, folder):
        """Keep the catalogue as it is; return a function that puts it back."""
        if not self.is_sqlite:
            return self._copied()
        copy = self.copied(folder / f"{os.urandom(4).hex()}.db").file
        return lambda: shutil.copyfile(copy, self.file)

    def copied(self, path):
        """Return a copy, in the file `path` where it is a file; nobody may be connected."""
        if self.is_sqlite:
            return Catalogue(f"sqlite:///{shutil.copyfile(self.file, path)}")
        server, _, name = self.url.rpartition("/")
        copy = f"t{os.urandom(5).hex()}"
        on_server(server, f"create database {copy} template {name} strategy file_copy")
        return Catalogue(f"{server}/{copy}")

    @property
    def _tables(self):
        """The system's table of tables."""
        if self.is_sqlite:
            return "sqlite_master where type = 'table'"
        return "(select tablename as name from pg_tables where schemaname = 'public') as own"

    def _copied(self):
        """Copy the database; return a function that makes it anew from the copy, whoever is connected."""
        server, _, name = self.url.rpartition("/")
        _end_connections(server, name)
        copy = self.copied(Path()).url.rpartition("/")[2]

        def put_back():
            on_server(
                server,
                f"drop database {name} with (force)",
                f"create database {name} template {copy} strategy file_copy",
            )

        return put_back


def on_server(server, *statements):
    """Run statements on a server, outside a transaction."""
    with closing(postgresql(f"{server}/postgres")) as connection:
        connection.autocommit = True
        for statement in statements:
            connection.execute(statement)


def _end_connections(server, name):
    """Disconnect everybody: a database in use cannot be copied."""
    on_server(server, f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'")


def postgresql(url):
    """Return a connection whose rows are dicts."""
    import psycopg
    from psycopg.rows import dict_row

    return psycopg.connect(url.replace("+psycopg", ""), row_factory=dict_row)


def fresh_database(server):
    """Make an empty database; return its URL, as settings name it."""
    name = f"t{os.urandom(5).hex()}"
    on_server(server, f"create database {name}")
    return f"{server.replace('postgresql://', 'postgresql+psycopg://')}/{name}"


def as_sqlite(value):
    """Return a value of PostgreSQL's as SQLite keeps it: instants and JSON are text, truth and sums are numbers."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Decimal):
        return int(value) if value == int(value) else float(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    if isinstance(value, date):
        return value.isoformat()
    return json.dumps(value) if isinstance(value, (dict, list)) else value


@contextmanager
def read_only(database):
    """Yield a connection to a SQLite file that can change nothing."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        yield connection
