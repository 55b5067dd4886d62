"""Roles of PostgreSQL for a team: who migrates owns the tables, the night only writes rows, a gallery only reads them.

Tables and views of later migrations are covered too, by default privileges of the role that makes them.
"""

from typing import Final

from sqlalchemy import Engine, text

from personalgen.catalogue.analysts import quoted, require_plain
from personalgen.catalogue.engine import transaction
from personalgen.errors import ConfigError

WRITER, READER = KINDS = ("writer", "reader")
_CREATE = "CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT"
_ON_TABLES: Final = {WRITER: "SELECT, INSERT, UPDATE, DELETE", READER: "SELECT"}
_SETTINGS: Final = {
    WRITER: {"idle_in_transaction_session_timeout": "'10min'"},
    READER: {"default_transaction_read_only": "on", "statement_timeout": "'30s'"},
}


def role_statements(kind: str, role: str, *, database: str, schema: str = "public", exists: bool = False) -> list[str]:
    """Return the SQL that makes `role`, unless it `exists`, and gives it what its kind needs; twice is once.

    A writer may change rows and no table, and cannot say that the catalogue is of another revision; a reader may read
    every table. No password is set.

    Raises:
        ConfigError: the name is not plain.
    """
    require_plain(role)
    where, rights = quoted(schema), _ON_TABLES[kind]
    return [
        *([] if exists else [_CREATE.format(role)]),
        *(f"ALTER ROLE {role} SET {name} = {value}" for name, value in _SETTINGS[kind].items()),
        f"GRANT CONNECT{', TEMPORARY' if kind == WRITER else ''} ON DATABASE {quoted(database)} TO {role}",
        f"GRANT USAGE ON SCHEMA {where} TO {role}",
        f"REVOKE CREATE ON SCHEMA {where} FROM {role}",
        f"GRANT {rights} ON ALL TABLES IN SCHEMA {where} TO {role}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {where} GRANT {rights} ON TABLES TO {role}",
        f"REVOKE INSERT, UPDATE, DELETE ON {where}.alembic_version FROM {role}",
        *(_for_writing(where, role) if kind == WRITER else ()),
    ]


def grant_role(engine: Engine, kind: str, role: str, *, run: bool = True) -> list[str]:
    """Make the role, or mend its grants, in one transaction; return the SQL, which is only told without `run`.

    Raises:
        ConfigError: the catalogue is no PostgreSQL, the role owns its tables, or the name is not plain.
        CatalogueError: the catalogue's own role may not make roles; nothing was changed.
    """
    if engine.dialect.name != "postgresql":
        raise ConfigError(
            f"grant-{kind} is for a catalogue on PostgreSQL; SQLite has no roles, and whoever may write its file may "
            "write all of it. Nothing was changed."
        )
    with engine.connect() as connection:
        database, schema, own = connection.execute(
            text("SELECT current_database(), current_schema(), current_user")
        ).one()
        known = connection.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role})
    if role == own:
        raise ConfigError(
            f"the role {role} owns the catalogue's tables, so it may change and drop them whatever is granted. Name "
            "another role. Nothing was changed."
        )
    statements = role_statements(kind, role, database=database, schema=schema, exists=known is not None)
    if run:
        with transaction(engine) as connection:
            for statement in statements:
                connection.execute(text(statement))
    return statements


def _for_writing(where: str, role: str) -> list[str]:
    """Return what numbers new rows."""
    return [
        f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {where} TO {role}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {where} GRANT USAGE, SELECT ON SEQUENCES TO {role}",
    ]
