"""Two nights on one PostgreSQL server for everything, by roles and with hashed ids; no secret and no person is written.

The server trusts everybody, so each URL can have a password of its own to look for.
"""

import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pyarrow.parquet
import pytest

from tests import apart
from tests.catalogues import Catalogue, on_server, postgresql

pytestmark = pytest.mark.timeout(400, func_only=True)

TINY = Path(__file__).parent / "tiny.toml"
RUN = "import sys; from personalgen.cli import main; sys.exit(main(sys.argv[1:]))"
SALT = "a-salt-that-nobody-may-see"
SECRETS = {name: f"pw-{name}-{name}" for name in ("source", "keeper", "night", "tracking", "flows", "asker")}
ADA = "sim0-00007"
A_PERSON = re.compile(rb"sim0-[0-9]{5}")
FREE_OF = re.compile(b"|".join([A_PERSON.pattern, SALT.encode(), *(value.encode() for value in SECRETS.values())]))


@dataclass(frozen=True)
class Team:
    """A home whose databases are on one server, and what its commands told."""

    home: Path
    server: str
    environment: dict
    told: list

    def url(self, who, database, *, driver="psycopg", role="pg"):
        """Return a URL with a password of its own."""
        where = self.server.rpartition("@")[2]
        return f"postgresql+{driver}://{role}:{SECRETS[who]}@{where}/{database}"

    def tell(self, *arguments, may_fail=False, **settings):
        """Run the command line in a process of its own, secrets in its environment alone; return what it printed.

        Prefect reads its own variables when it is imported: nights begin in a new interpreter.
        """
        environment = os.environ | self.environment | settings
        command = [*arguments, "--config", str(TINY)]
        options = [f"home={self.home}", "world.name=", "source.users=users", "train.max_kimg=0.1"]
        command += [word for option in options for word in ("--set", option)]
        if "nightly" in arguments:
            command = [sys.executable, "-c", RUN, *command]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        else:
            done = apart.run(apart.command_line, *command, environment=environment)
        self.told.append(done.stdout + done.stderr)
        assert may_fail or done.returncode == 0, done.stderr[-3000:]
        return done

    def rows(self, database):
        """Return every row of every table of a database as text."""
        return repr(Catalogue(f"{self.server}/{database}").tables()).encode()


def copy_to(server, history, database):
    """Copy the tables of a SQLite history into a database of the server."""
    with closing(sqlite3.connect(history)) as given, closing(postgresql(f"{server}/{database}")) as copy, copy:
        for table in ("interactions", "items", "users"):
            found = given.execute(f"select * from {table}")
            names = [column[0] for column in found.description]
            kinds = ["bigint" if name in ("created_at", "opted_out") else "text" for name in names]
            columns = ", ".join(f"{name} {kind}" for name, kind in zip(names, kinds, strict=True))
            copy.execute(f"create table {table} ({columns})")
            with copy.cursor() as cursor:
                cursor.executemany(f"insert into {table} values ({', '.join(['%s'] * len(names))})", found.fetchall())


@pytest.fixture(scope="module")
def team(postgresql_server, tiny_world, tmp_path_factory):
    """A home after two nights as a role that may only write rows, with new events between, and a rating of a person."""
    server, home = postgresql_server, tmp_path_factory.mktemp("team")
    on_server(server, "create role keeper login createrole", *(f"create database team_{name}" for name in ("source",
              "tracking", "flows")), "create database team_catalogue owner keeper")  # fmt: skip
    copy_to(server, tiny_world / "history.db", "team_source")
    team = Team(home, server, {}, [])
    keeper = {"PERSONALGEN_STORE__CATALOGUE_URL": team.url("keeper", "team_catalogue", role="keeper")}
    team.environment.update({
        "PERSONALGEN_SOURCE__URL": team.url("source", "team_source"),
        "PERSONALGEN_SOURCE__IMAGE_ROOT": str(tiny_world),
        "PERSONALGEN_STORE__CATALOGUE_URL": team.url("night", "team_catalogue", role="night"),
        "PERSONALGEN_STORE__CATALOGUE_ANALYST_URL": team.url("asker", "team_catalogue", role="asker2"),
        "PERSONALGEN_STORE__TRACKING_URI": team.url("tracking", "team_tracking"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": team.url("flows", "team_flows", driver="asyncpg"),
        "PERSONALGEN_PRIVACY__HASH_IDS": "true",
        "PERSONALGEN_PRIVACY_SALT": SALT,
    })  # fmt: skip
    for command in ("upgrade", "grant-writer night", "grant-analyst asker2", "grant-reader gallery"):
        team.tell("catalogue", *command.split(), **keeper)
    team.tell("nightly", "--json")
    with closing(postgresql(f"{server}/team_source")) as source, source:
        source.execute("""insert into interactions select user_id, item_id, timestamp::bigint + 86400, weight, event
                          from interactions where timestamp ~ '^[0-9]+$' and timestamp::bigint < 2000000000
                          order by timestamp desc limit 200""")
    team.tell("nightly", "--json")
    (image, *_) = json.loads(team.tell("assets", "latest", "--user", ADA, "--json").stdout)
    team.tell("assets", "rate", str(image["asset_id"]), "--rating", "1", "--rater", ADA)
    return team


def test_two_nights_run_as_a_role_that_only_writes_rows(team):
    """Both are done, the second of other events, and people have images."""
    nights = Catalogue(f"{team.server}/team_catalogue").ask("select status, source_digest from night")
    assert [row["status"] for row in nights] == ["done", "done"]
    assert len({row["source_digest"] for row in nights}) == 2
    assert b"night_key" in team.rows("team_tracking")
    assert b"nightly" in team.rows("team_flows")
    assert team.rows("team_catalogue").count(b"hashed:") > 100


@pytest.mark.parametrize(
    "statement",
    [
        "drop table asset", "alter table asset add column x int", "truncate asset", "create table x (a int)",
        "update alembic_version set version_num = '0001'", "create role x", "drop view v_assets",
    ],
)  # fmt: skip
def test_the_night_s_role_changes_no_table(team, statement):
    """Nor says that the catalogue is of another revision."""
    url = team.url("night", "team_catalogue", role="night").replace("+psycopg", "")
    with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement)


def test_a_reader_reads_and_writes_nothing(team):
    """Every table, for programs that show pictures."""
    url = team.url("asker", "team_catalogue", role="gallery").replace("+psycopg", "")
    with psycopg.connect(url) as connection:
        assert connection.execute("select count(*) from asset").fetchone()[0] > 0
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("delete from asset")
        connection.rollback()
        connection.execute("set default_transaction_read_only = off")
        connection.commit()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("delete from asset")


def test_people_are_asked_for_by_their_plain_ids(team):
    """Lists show the hashed one, which may be asked for without the salt; who asks to be forgotten is, by either."""
    rows = json.loads(team.tell("assets", "latest", "--user", ADA, "--json").stdout)
    (hashed,) = {row["user_id"] for row in rows}
    assert hashed.startswith("hashed:")
    assert json.loads(team.tell("assets", "latest", "--user", hashed, "--json", PERSONALGEN_PRIVACY_SALT="").stdout)
    asked = f"select user_id from v_users where user_id = '{hashed}'"
    assert json.loads(team.tell("assets", "sql", asked, "--json").stdout) == [{"user_id": hashed}]
    team.tell("forget", ADA, "--reason", "asked")
    gone = team.tell("assets", "latest", "--user", ADA, "--json", may_fail=True)
    assert (gone.returncode, gone.stdout) == (2, "")
    assert f"There is no user {hashed!r}" in gone.stderr


def test_no_secret_and_no_person_is_written(team):
    """Not in a file of the home, a row of the three databases, or a line that was printed, errors and traces too."""
    wrong = {"PERSONALGEN_STORE__CATALOGUE_URL": team.url("night", "none"), "PERSONALGEN_STORE": team.url("night", "x")}
    for variable, url in [*wrong.items(), ("PERSONALGEN_STORE__TRACKING_URI", team.url("tracking", "none")),
                          ("PERSONALGEN_STORE__TRACKING_URI", team.url("tracking", "x", driver="nodriver")),
                          ("PERSONALGEN_SOURCE__URL", team.url("source", "none")),
                          ("PERSONALGEN_SOURCE__URL", team.url("source", "x", driver="nodriver"))]:  # fmt: skip
        command = ("models", "list") if variable.endswith("TRACKING_URI") else ("prepare",)
        assert team.tell("--debug", *command, may_fail=True, **{variable: url}).returncode != 0
    broken = {"PERSONALGEN_SOURCE__URL": team.url("source", "x", driver="nodriver")}
    assert team.tell("--debug", "nightly", may_fail=True, PREFECT_LOGGING_LEVEL="DEBUG", **broken).returncode != 0
    team.tell("doctor", "--json", may_fail=True)
    found = [(f"line {line[:200]}", match[0]) for told in team.told for line in told.splitlines()
             for match in FREE_OF.finditer(line.replace(ADA, "").encode())]  # fmt: skip
    found += [(name, match[0]) for name in ("team_catalogue", "team_tracking", "team_flows")
              for match in FREE_OF.finditer(team.rows(name))]  # fmt: skip
    for path in (path for path in team.home.rglob("*") if path.is_file()):
        content = path.read_bytes() + str(path).encode()
        if path.suffix == ".parquet":
            table = pyarrow.parquet.read_table(path)
            content += repr(table.to_pydict()).encode() + repr(table.schema.metadata).encode()
        found += [(str(path), match[0]) for match in FREE_OF.finditer(content)]
    assert found == []
