"""What roles of a PostgreSQL catalogue may do, also after they became another kind and after an upgrade."""

import os
from dataclasses import dataclass

import psycopg
import pytest

from personalgen.catalogue.engine import open_catalogue
from personalgen.catalogue.migrations import current_revision, downgrade, head_revision, upgrade
from personalgen.catalogue.roles import ANALYST, READER, WRITER, grant_role
from personalgen.errors import CatalogueError, ConfigError
from tests.catalogues import on_server

BEFORE, NEW_TABLE, NEW_VIEW = "0008", "data_health", "v_health"


@dataclass(frozen=True)
class Team:
    """A catalogue whose tables belong to a keeper that may make roles or not, and a role that nobody has made yet."""

    server: str
    database: str
    keeper: str
    role: str

    def engine(self, role=None):
        """Return an engine of a role, the keeper's if none is named."""
        return open_catalogue(f"{self._as(role or self.keeper)}/{self.database}")

    def grant(self, *kinds):
        """Make the role one kind after the other."""
        engine = self.engine()
        for kind in kinds:
            grant_role(engine, kind, self.role)
        engine.dispose()

    def upgrade(self):
        """Make one table anew, as an upgrade does, and every view, which only default privileges tell who reads."""
        engine = self.engine()
        downgrade(engine, BEFORE)
        upgrade(engine)
        engine.dispose()

    def may(self, statement):
        """Whether the role's rights let it run a statement, which is undone."""
        with psycopg.connect(f"{self._as(self.role)}/{self.database}") as connection:
            try:
                connection.execute("set transaction read write")
                connection.execute(statement)
            except psycopg.errors.InsufficientPrivilege:
                return False
            finally:
                connection.rollback()
        return True

    def setting(self, name):
        """Return a setting of the role's sessions."""
        with psycopg.connect(f"{self._as(self.role)}/{self.database}") as connection:
            return connection.execute(f"show {name}").fetchone()[0]

    def _as(self, role):
        return self.server.replace("pg@", f"{role}@")


@pytest.fixture(params=["createrole"])
def team(request, postgresql_server):
    """Return a catalogue at the newest revision with a keeper of its own."""
    name = os.urandom(4).hex()
    keeper, database = f"keeper_{name}", f"team_{name}"
    on_server(
        postgresql_server,
        f"create role {keeper} login {request.param}",
        f"create database {database} owner {keeper}",
    )
    made = Team(postgresql_server, database, keeper, f"somebody_{name}")
    engine = made.engine()
    upgrade(engine)
    engine.dispose()
    return made


@pytest.mark.parametrize("first", [WRITER, READER])
def test_who_becomes_an_analyst_keeps_nothing(team, first):
    """Neither the tables that there were, nor those that an upgrade makes, nor what numbers rows, but the views."""
    team.grant(first, ANALYST)
    assert all(team.may(f"select * from {view}") for view in ("v_assets", NEW_VIEW))
    for _ in range(2):
        for statement in ("select * from rating", f"select * from {NEW_TABLE}", "delete from rating",
                          f"delete from {NEW_TABLE}", "select nextval('night_night_id_seq')"):  # fmt: skip
            assert not team.may(statement), statement
        team.upgrade()


def test_who_becomes_a_reader_writes_no_more(team):
    """The tables that there were, and those that an upgrade makes."""
    team.grant(WRITER, READER)
    for _ in range(2):
        for name in ("rating", NEW_TABLE):
            assert team.may(f"select * from {name}")
            assert not team.may(f"delete from {name}"), name
        team.upgrade()


def test_who_becomes_a_writer_may_write_without_asking(team):
    """A reader's sessions begin read-only and end early; an analyst's are few: a writer's are not."""
    team.grant(ANALYST, READER, WRITER)
    assert team.setting("default_transaction_read_only") == "off"
    assert [team.setting(name) for name in ("statement_timeout", "lock_timeout")] == ["0", "0"]
    with psycopg.connect(f"{team.server}/postgres") as connection:
        limit = connection.execute("select rolconnlimit from pg_roles where rolname = %s", [team.role]).fetchone()
    assert limit == (-1,)
    assert team.may("delete from rating")
    assert not team.may("update alembic_version set version_num = '0001'")


@pytest.mark.parametrize("team", ["nocreaterole"], indirect=True)
@pytest.mark.parametrize(("kind", "writes"), [(WRITER, True), (READER, False)])
def test_printed_sql_that_another_role_runs_covers_the_keeper_s_upgrades(team, kind, writes):
    """What the keeper makes later is granted too, though a superuser granted it."""
    keeper = team.engine()
    with pytest.raises(CatalogueError, match="refused a write"):
        grant_role(keeper, kind, team.role)
    printed = grant_role(keeper, kind, team.role, run=False)
    keeper.dispose()
    with psycopg.connect(f"{team.server}/{team.database}") as superuser:
        for statement in printed:
            superuser.execute(statement)
    team.upgrade()
    for name in ("rating", NEW_TABLE, NEW_VIEW):
        assert team.may(f"select * from {name}"), name
    assert team.may(f"delete from {NEW_TABLE}") == writes


def test_a_writer_of_an_older_catalogue_is_told_who_upgrades_it(team):
    """And changes nothing."""
    team.grant(WRITER)
    keeper, writer = team.engine(), team.engine(team.role)
    downgrade(keeper, BEFORE)
    with pytest.raises(CatalogueError) as told:
        upgrade(writer)
    assert "is at revision '0008'" in str(told.value)
    assert f"`personalgen catalogue upgrade` as {team.keeper}" in str(told.value)
    assert "another process" not in str(told.value)
    assert current_revision(keeper) == BEFORE
    assert upgrade(keeper) == upgrade(writer) == head_revision()
    for engine in (keeper, writer):
        engine.dispose()


@pytest.mark.parametrize("kind", [WRITER, READER, ANALYST])
def test_the_owner_of_the_tables_is_given_no_kind(team, kind):
    """Nothing could be kept from it, and what it has is not taken."""
    engine = team.engine()
    with pytest.raises(ConfigError, match="owns the catalogue's tables"):
        grant_role(engine, kind, team.keeper)
    engine.dispose()


def test_a_database_without_tables_has_no_rights_to_give(postgresql_server):
    """The command that makes them is named."""
    name = f"bare_{os.urandom(4).hex()}"
    on_server(postgresql_server, f"create database {name}")
    engine = open_catalogue(f"{postgresql_server}/{name}")
    with pytest.raises(ConfigError, match="catalogue upgrade` first"):
        grant_role(engine, WRITER, "somebody")
    engine.dispose()
