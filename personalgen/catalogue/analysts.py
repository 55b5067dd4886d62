"""The PostgreSQL role that analysts' queries run as: it may read the views, and nothing else of the catalogue.

A view reads the tables with its owner's rights, so the role needs none on them. Views are made anew by every migration
(`migrations`), which hands their readers on. On SQLite there are no roles: there the query's own process is the wall.
"""

import re
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, Engine, text

from personalgen.catalogue.engine import transaction
from personalgen.catalogue.views import VIEWS
from personalgen.errors import ConfigError

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_SETTINGS: Final = {
    "default_transaction_read_only": "on",
    "statement_timeout": "'10s'",
    "lock_timeout": "'500ms'",
    "idle_in_transaction_session_timeout": "'10s'",
    "work_mem": "'1MB'",
}
"""Defaults of the role's sessions. A session may change them: they keep honest people from accidents, no more."""


def grant_statements(role: str, *, database: str, schema: str = "public", exists: bool = False) -> list[str]:
    """Return the SQL that makes `role`, unless it `exists`, and lets it read the views; twice is once.

    No password is set: the operator does that in psql, or the server knows the role by other means.

    Raises:
        ConfigError: the name is not plain: lower-case letters, digits and _, at most 63 of them.
    """
    require_plain(role)
    where, views = quoted(schema), ", ".join(f"{quoted(schema)}.{name}" for name in sorted(VIEWS))
    create = f"CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT CONNECTION LIMIT 8"
    return [
        *([] if exists else [create]),
        *(f"ALTER ROLE {role} SET {name} = {value}" for name, value in _SETTINGS.items()),
        f"GRANT CONNECT ON DATABASE {quoted(database)} TO {role}",
        f"GRANT USAGE ON SCHEMA {where} TO {role}",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {where} FROM {role}",
        f"GRANT SELECT ON {views} TO {role}",
    ]


def require_plain(role: str) -> None:
    """Return if the name needs no quotes.

    Raises:
        ConfigError: it has other characters than lower-case letters, digits and _.
    """
    if not _NAME.fullmatch(role):
        raise ConfigError(
            f"the role {role!r} is not a plain name: lower-case letters, digits and _, at most 63, no digit first. "
            "Nothing was changed."
        )


def statements_for(engine: Engine, role: str) -> list[str]:
    """Return `grant_statements` for the catalogue as it stands.

    Raises:
        ConfigError: the catalogue is no PostgreSQL, or the name is not plain.
    """
    if engine.dialect.name != "postgresql":
        raise ConfigError(
            "grant-analyst is for a catalogue on PostgreSQL; SQLite has no roles, and `personalgen assets sql` needs "
            "none there. Nothing was changed."
        )
    with engine.connect() as connection:
        database, schema = connection.execute(text("SELECT current_database(), current_schema()")).one()
        known = connection.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role})
    return grant_statements(role, database=database, schema=schema, exists=known is not None)


def grant_analyst(engine: Engine, role: str) -> list[str]:
    """Make the role, or mend its grants, in one transaction; return the SQL that was run.

    Raises:
        ConfigError: see `statements_for`.
        CatalogueError: the catalogue's own role may not make roles; nothing was changed.
    """
    statements = statements_for(engine, role)
    with transaction(engine) as connection:
        for statement in statements:
            connection.execute(text(statement))
    return statements


def readers(connection: Connection) -> list[str]:
    """Return who, beside its owner, may read v_assets; nobody where there are no roles or no views."""
    if connection.dialect.name != "postgresql":
        return []
    granted = """
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN NULL ELSE pg_get_userbyid(a.grantee) END
        FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.oid = to_regclass('v_assets') AND a.privilege_type = 'SELECT' AND a.grantee <> c.relowner
    """
    return [name for name in connection.scalars(text(granted)) if name is not None]


def grant_views(connection: Connection, roles: Sequence[str]) -> None:
    """Let these roles read every view."""
    for role in roles:
        connection.execute(text(f"GRANT SELECT ON {', '.join(sorted(VIEWS))} TO {quoted(role)}"))


def quoted(name: str) -> str:
    """Return an identifier as SQL; `:` would be a parameter of SQLAlchemy's text()."""
    return '"' + name.replace('"', '""').replace(":", "\\:") + '"'
