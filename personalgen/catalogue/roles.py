"""Roles of PostgreSQL: who migrates owns the tables, nights write rows, a gallery reads tables, analysts read views.

Tables and views of later migrations are covered by default privileges of the role that owns the tables, and makes them.
A view reads the tables with its owner's rights, so analysts need none on them. Migrations make the views anew and hand
their readers on. On SQLite there are no roles: there the process of an analyst's query is the wall.
"""

import re
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, Engine, text

from personalgen.catalogue.engine import transaction
from personalgen.catalogue.views import VIEWS
from personalgen.errors import ConfigError

WRITER, READER, ANALYST = KINDS = ("writer", "reader", "analyst")
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_CREATE = "CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT"
_CONNECTIONS: Final = {WRITER: -1, READER: -1, ANALYST: 8}
_SETTINGS: Final = {
    WRITER: {"idle_in_transaction_session_timeout": "'10min'"},
    READER: {"default_transaction_read_only": "on", "statement_timeout": "'30s'"},
    ANALYST: {
        "default_transaction_read_only": "on",
        "statement_timeout": "'10s'",
        "lock_timeout": "'500ms'",
        "idle_in_transaction_session_timeout": "'10s'",
        "work_mem": "'1MB'",
    },
}
"""Defaults of the role's sessions. A session may change them: they keep honest people from accidents, no more."""


def role_statements(
    kind: str, role: str, *, database: str, owner: str, schema: str = "public", exists: bool = False
) -> list[str]:
    """Return the SQL that makes `role`, unless it `exists`, and gives it what its kind needs alone; twice is once.

    A writer may change rows and no table, and cannot say that the catalogue is of another revision; a reader may read
    every table, an analyst the views. What the role had as another kind is taken first, also from tables that `owner`
    will make. No password is set: the operator does that in psql, or the server knows the role by other means.

    Raises:
        ConfigError: the name is not plain: lower-case letters, digits and _, at most 63 of them.
    """
    _require_plain(role)
    where, settings = quoted(schema), _SETTINGS[kind]
    others = sorted({name for each in _SETTINGS.values() for name in each} - settings.keys())
    later = f"ALTER DEFAULT PRIVILEGES FOR ROLE {quoted(owner)} IN SCHEMA {where}"
    return [
        *([] if exists else [_CREATE.format(role)]),
        f"ALTER ROLE {role} CONNECTION LIMIT {_CONNECTIONS[kind]}",
        *(f"ALTER ROLE {role} RESET {name}" for name in others),
        *(f"ALTER ROLE {role} SET {name} = {value}" for name, value in settings.items()),
        f"GRANT CONNECT{', TEMPORARY' if kind == WRITER else ''} ON DATABASE {quoted(database)} TO {role}",
        f"GRANT USAGE ON SCHEMA {where} TO {role}",
        f"REVOKE CREATE ON SCHEMA {where} FROM {role}",
        *(f"REVOKE ALL ON ALL {things} IN SCHEMA {where} FROM {role}" for things in ("TABLES", "SEQUENCES")),
        *(f"{later} REVOKE ALL ON {things} FROM {role}" for things in ("TABLES", "SEQUENCES")),
        *_rights(kind, role, where, later),
    ]


def grant_role(engine: Engine, kind: str, role: str, *, run: bool = True) -> list[str]:
    """Make the role, or mend its grants, in one transaction; return the SQL, which is only told without `run`.

    Raises:
        ConfigError: the catalogue is no PostgreSQL, the role owns its tables, or the name is not plain.
        CatalogueError: the catalogue's own role may not make roles; nothing was changed.
    """
    if engine.dialect.name != "postgresql":
        raise ConfigError(
            f"grant-{kind} is for a catalogue on PostgreSQL; SQLite has no roles: whoever may write its file may write "
            "all of it, and `personalgen assets sql` needs none there. Nothing was changed."
        )
    with engine.connect() as connection:
        database, schema = connection.execute(text("SELECT current_database(), current_schema()")).one()
        owner = owner_of(connection)
        known = connection.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role})
    if owner is None:
        raise ConfigError(
            f"grant-{kind} gives rights on the catalogue's tables, and there are none. Run `personalgen catalogue "
            "upgrade` first. Nothing was changed."
        )
    if role == owner:
        raise ConfigError(
            f"the role {role} owns the catalogue's tables, so it may change and drop them whatever is granted. Name "
            "another role. Nothing was changed."
        )
    statements = role_statements(kind, role, database=database, owner=owner, schema=schema, exists=known is not None)
    if run:
        with transaction(engine) as connection:
            for statement in statements:
                connection.execute(text(statement))
    return statements


def owner_of(connection: Connection) -> str | None:
    """Return the role that owns the catalogue's tables on PostgreSQL, or None where there are none."""
    owner = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass('alembic_version')"
    found: str | None = connection.scalar(text(owner))
    return found


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


def _rights(kind: str, role: str, where: str, later: str) -> list[str]:
    """Return the grants of a kind on what there is, and on what `later` starts to say of what will be made."""
    if kind == ANALYST:
        return [f"GRANT SELECT ON {', '.join(f'{where}.{name}' for name in sorted(VIEWS))} TO {role}"]
    if kind == READER:
        return [f"GRANT SELECT ON ALL TABLES IN SCHEMA {where} TO {role}", f"{later} GRANT SELECT ON TABLES TO {role}"]
    return [
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {where} TO {role}",
        f"{later} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role}",
        f"REVOKE INSERT, UPDATE, DELETE ON {where}.alembic_version FROM {role}",
        f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {where} TO {role}",
        f"{later} GRANT USAGE, SELECT ON SEQUENCES TO {role}",
    ]


def _require_plain(role: str) -> None:
    """Return if the name needs no quotes.

    Raises:
        ConfigError: it has other characters than lower-case letters, digits and _.
    """
    if not _NAME.fullmatch(role):
        raise ConfigError(
            f"the role {role!r} is not a plain name: lower-case letters, digits and _, at most 63, no digit first. "
            "Nothing was changed."
        )
