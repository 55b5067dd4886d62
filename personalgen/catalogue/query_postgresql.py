"""The worker's side of a query on PostgreSQL: whose role it is, what the statement would do, and its rows.

One read-only transaction, on a connection that nothing else uses: the role is looked at, the server shows its parse
tree of the statement (`parse_tree`), and only then a cursor is declared for it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from personalgen.catalogue.parse_tree import Named, fault_of, mentioned
from personalgen.catalogue.query_policy import TABLES, RefusedError, reasons, start_timer

if TYPE_CHECKING:
    from psycopg import Connection

_PAGE_ROWS = 100
_CONNECT_SEC = 5
_AFTER_THE_WORKER_MS = 100
"""The server's own timer is behind the worker's, whose end is told in words that say what to do."""

_SETTINGS: Final = {
    "default_transaction_read_only": "on",
    "lock_timeout": "500",
    "client_connection_check_interval": "500",
    "work_mem": "1MB",
    "hash_mem_multiplier": "1",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "standard_conforming_strings": "on",
    "debug_pretty_print": "off",
    "client_min_messages": "log",
}
"""Of the session. No function that could change one is on the list of those allowed."""

_ROLE = """
SELECT current_user,
       r.rolsuper OR r.rolcreaterole OR r.rolreplication OR r.rolbypassrls
           OR EXISTS (SELECT 1 FROM pg_roles p WHERE pg_has_role(p.oid, 'MEMBER') AND p.rolname IN (
               'pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program', 'pg_write_all_data')),
       (SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = s.schema AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
          AND (pg_has_role(c.relowner, 'MEMBER') OR has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE'))
        ORDER BY c.relname LIMIT 1),
       s.schema
FROM pg_roles r,
     (SELECT (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
              WHERE c.oid = to_regclass('v_assets') AND has_table_privilege(c.oid, 'SELECT')) AS schema) s
WHERE r.rolname = current_user
"""
_FUNCTIONS = """
SELECT p.oid::int8, n.nspname, p.proname, replace(replace(p.oid::regprocedure::text, 'pg_catalog.', ''), '"', '')
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.oid = ANY (%s::int8[]::oid[])
"""
_OPERATORS = """
SELECT o.oid::int8, n.nspname, o.oprname, o.oprcode::oid::int8
FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace WHERE o.oid = ANY (%s::int8[]::oid[])
"""
_TYPES = """
SELECT t.oid::int8, n.nspname, t.typname
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.oid = ANY (%s::int8[]::oid[])
"""
_RELATIONS = """
SELECT c.oid::int8, n.nspname, c.relname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY (%s::int8[]::oid[])
"""


@contextmanager
def answer(request: dict[str, Any]) -> Iterator[tuple[list[str], Iterator[Sequence[Any]], set[str]]]:
    """Yield columns and rows of the statement, through a server-side cursor; nothing is hidden here.

    A cursor takes one SELECT only and keeps the rows on the server. The server looks for a vanished client, so that
    killing this process ends the statement too.

    Raises:
        RefusedError: the role may do more than read, the statement may not run, or the server refused it.
    """
    import psycopg

    timeout_ms = int(request["timeout_sec"] * 1000) + _AFTER_THE_WORKER_MS
    settings = {**_SETTINGS, "statement_timeout": str(timeout_ms)}
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    with (
        reasons(psycopg.Error, lambda: None),
        psycopg.connect(
            request["target"], options=options, client_encoding="utf8", connect_timeout=_CONNECT_SEC
        ) as connection,
    ):
        connection.read_only = True
        start_timer(request["timeout_sec"])
        schema = _checked_role(connection, as_owner=request["as_owner"])
        _check_statement(connection, request["statement"].encode(), frozenset(request["views"]) | TABLES, schema)
        with connection.cursor(name="personalgen_query") as cursor:
            cursor.itersize = _PAGE_ROWS
            cursor.execute(request["statement"].encode())
            yield [column.name for column in cursor.description or ()], cursor, set()
        connection.rollback()


def _checked_role(connection: "Connection[Any]", *, as_owner: bool) -> str:
    """Return the schema of the catalogue.

    Raises:
        RefusedError: the role may write, own or read more than the catalogue, and nobody said that it may.
    """
    role, powerful, writes, schema = connection.execute(_ROLE).fetchone() or ("?", True, None, None)
    if schema is None:
        raise RefusedError(
            f"The role {role} sees no view v_assets: the URL names another database, no night has run, or `personalgen "
            f"catalogue grant-analyst {role}` is missing."
        )
    if (powerful or writes) and not as_owner:
        why = "may administer the server" if powerful else f"may write {schema}.{writes}"
        raise RefusedError(
            f"The role {role} {why}, and queries are for roles that only read. Make one with `personalgen catalogue "
            "grant-analyst ROLE` and name it in store.catalogue_analyst_url, or say --as-owner."
        )
    return str(schema)


def _check_statement(connection: "Connection[Any]", statement: bytes, relations: frozenset[str], schema: str) -> None:
    """Return if the server's parse tree of the statement holds nothing but what is allowed.

    Raises:
        RefusedError: it says why not.
    """
    tree = _parse_tree(connection, statement)
    found = mentioned(tree)

    def rows(query: str, oids: frozenset[int]) -> dict[int, Any]:
        return {row[0]: row[1:] for row in connection.execute(query, [sorted(oids)]).fetchall()}

    operators = rows(_OPERATORS, found.operators)
    named = Named(
        functions=rows(_FUNCTIONS, found.functions | {each[2] for each in operators.values()}),
        operators=operators,
        types=rows(_TYPES, found.types),
        relations=rows(_RELATIONS, found.relations),
    )
    if (fault := fault_of(tree, named, relations=relations, schema=schema)) is not None:
        raise RefusedError(fault)


def _parse_tree(connection: "Connection[Any]", statement: bytes) -> str:
    """Return the server's tree of a statement that is parsed, never planned and never run."""
    import psycopg

    trees: list[str] = []
    connection.execute("SET LOCAL debug_print_parse = on")
    connection.add_notice_handler(lambda told: trees.append(told.message_detail or ""))
    parsed = connection.pgconn.prepare(b"", statement)
    if parsed.status != psycopg.pq.ExecStatus.COMMAND_OK:
        raise psycopg.ProgrammingError(parsed.get_error_message())
    shown = [tree for tree in trees if tree.startswith("{QUERY")]
    connection.execute("SET LOCAL debug_print_parse = off")
    if len(shown) != 1:
        raise RefusedError("The server did not show how it reads the statement (debug_print_parse); it was not run.")
    return shown[0]
