import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalgen.catalogue.query_policy import FUNCTIONS, HIDDEN_COLUMNS, TABLES, Authorizer, refusal
from personalgen.catalogue.schema import METADATA

DANGEROUS = {"printf", "format", "hex", "zeroblob", "randomblob", "replace", "load_extension", "group_concat", "quote"}


def test_the_open_names_are_those_of_the_schema():
    """Queries may read tables that exist, and those that do are open, under these names."""
    assert set(METADATA.tables) == TABLES
    assert {column in METADATA.tables[table].c for table, column in HIDDEN_COLUMNS} == {True}


def test_no_function_that_swells_is_open():
    """None of the functions that make long values out of short ones is allowed."""
    assert FUNCTIONS.isdisjoint(DANGEROUS)


@pytest.mark.parametrize(
    "statement",
    ["select 1", "WITH a AS (SELECT 1) SELECT * FROM a", "values (1)", " \n-- why\n/* x */ ( select 1)", "select 1;"],
)
def test_reading_passes(statement):
    """A statement that begins by reading goes on to the database, whatever comments stand before it."""
    assert refusal(statement) is None


@given(st.text())
def test_no_text_breaks_the_first_look(statement):
    """Any text is either refused with a reason or begins with a reading keyword."""
    reason = refusal(statement)
    assert reason or any(word in statement.upper() for word in ("SELECT", "WITH", "VALUES"))


@pytest.mark.parametrize("code", [number for number in range(1, 34) if number not in {20, 21, 31}])
def test_every_action_but_reading_is_denied(code):
    """Of SQLite's authorizer actions only SELECT, READ and FUNCTION can pass; unknown ones cannot."""
    authorizer = Authorizer(frozenset(), frozenset())
    assert authorizer(code, "asset", "asset", "main", None) == sqlite3.SQLITE_DENY
    assert authorizer.refused


def test_the_empty_column_is_only_that_of_an_unknown_name():
    """`count(*)` of a common table expression passes, of a real table that is not open it does not."""
    authorizer = Authorizer(frozenset({"alembic_version"}), frozenset())
    assert authorizer(sqlite3.SQLITE_READ, "my_cte", "", None, None) == sqlite3.SQLITE_OK
    for name in ("alembic_version", "ALEMBIC_VERSION", "sqlite_master", "pragma_database_list"):
        assert authorizer(sqlite3.SQLITE_READ, name, "", None, None) == sqlite3.SQLITE_DENY


def test_the_first_reason_is_kept():
    """What is reported is the first thing that was refused."""
    authorizer = Authorizer(frozenset(), frozenset())
    authorizer(sqlite3.SQLITE_FUNCTION, None, "printf", None, None)
    authorizer(sqlite3.SQLITE_READ, "secret", "x", "main", None)
    assert "printf" in authorizer.refused
