"""An analyst's SQL on a stocked PostgreSQL catalogue, as a role that reads the views alone."""

import time

import psycopg
import pytest
from sqlalchemy import create_engine, text

from personalgen.catalogue.engine import open_catalogue
from personalgen.catalogue.migrations import _migrate, upgrade
from personalgen.catalogue.query import run_sql
from personalgen.catalogue.roles import ANALYST, grant_role, role_statements
from personalgen.catalogue.schema import METADATA
from personalgen.catalogue.views import VIEWS
from personalgen.cli import main
from personalgen.errors import ConfigError, QueryError
from tests.catalogues import fresh_database

pytestmark = pytest.mark.timeout(600)  # whichever test comes first waits for all attacks, a process each
ROLE = "analyst"


def on_server(server, statement):
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture(scope="module")
def owner_url(postgresql_server, stock):
    """Return the URL of a stocked catalogue as its owner, who may administer the server too."""
    on_server(postgresql_server, "CREATE DATABASE sandbox")
    url = f"{postgresql_server}/sandbox"
    engine = open_catalogue(url)
    upgrade(engine)
    grant_role(engine, ANALYST, ROLE)
    engine.dispose()
    with psycopg.connect(url) as connection:
        connection.execute(stock.format(blob="'\\x0000803f'").encode())
        connection.commit()
        connection.autocommit = True
        connection.execute("ANALYZE")
    return url


@pytest.fixture(scope="module")
def url(owner_url):
    """Return the URL of the same as the analysts' role."""
    return owner_url.replace("pg@", f"{ROLE}@")


@pytest.fixture(scope="module")
def report(url, attack):
    """Return how every attack ended and what all of them cost."""
    return attack(url, "sql_attacks_postgresql.txt")


@pytest.fixture(scope="module", autouse=True)
def untouched(owner_url):
    """Check after all attacks that no row, relation or role came, went or changed."""

    def state():
        with psycopg.connect(owner_url) as connection:
            sums = {
                name: connection.execute(
                    f"SELECT count(*), md5(string_agg(t::text, E'\\n')) FROM \"{name}\" t"
                ).fetchone()
                for name in METADATA.tables
            }
            names = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
            roles = "SELECT rolname, rolsuper FROM pg_roles ORDER BY 1"
            large = "SELECT count(*) FROM pg_largeobject_metadata"
            return sums, *(connection.execute(asked).fetchall() for asked in (names, roles, large))

    before = state()
    yield
    assert state() == before


def test_the_list_is_long_enough(report):
    """At least 60 different attacks are tried."""
    assert len({each["statement"] for each in report["statements"]}) >= 60


def test_every_attack_is_refused_or_cut(report):
    """A hostile statement is a QueryError that says why, for all of them."""
    answered = [each for each in report["statements"] if each["columns"] is not None]
    assert answered == []
    assert all("Nothing was changed" in each["outcome"] for each in report["statements"])


def test_an_attack_costs_little(report):
    """Each ends with its time; neither the query's process nor the server's grows by 64 MiB."""
    slow = max(report["statements"], key=lambda each: each["seconds"])
    large = max(report["statements"], key=lambda each: each["server_kib"])
    print(f"worst: {slow['seconds']:.2f} s: {slow['statement']}")  # noqa: T201
    print(f"largest: {large['server_kib'] / 1024:.0f} MiB on the server: {large['statement']}")  # noqa: T201
    assert slow["seconds"] < 10, "not cut: the timer is 1 s, the rest is a loaded machine's start of a process"
    assert large["server_kib"] < 64 * 1024
    assert report["worker_kib"] < 2 * 64 * 1024, "the interpreter and the driver take 40 of it before any query"


def test_plain_questions_are_answered(url, attack):
    """Statements that analysts do ask are answered for a role that has no rights on the tables."""
    report = attack(url, "sql_allowed_postgresql.txt", timeout_sec=10)
    assert len(report["statements"]) > 30
    assert [each for each in report["statements"] if not each["columns"]] == []


def test_the_role_reads_the_views_and_nothing_else(owner_url, url):
    """Every view is readable, no table is, also for a session that the query command does not stand before."""
    with psycopg.connect(url) as connection:
        for view in VIEWS:
            connection.execute(f"SELECT * FROM {view} LIMIT 1").fetchall()
        connection.rollback()
        for name in METADATA.tables:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f'SELECT * FROM "{name}" LIMIT 1')
            connection.rollback()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SET default_transaction_read_only = off; COMMIT; CREATE TABLE x (a int)")


def test_a_migration_hands_the_readers_on(owner_url, url):
    """Views are made anew by a migration, and who could read the old ones can read the new ones."""
    engine = open_catalogue(owner_url.replace("/sandbox", "/handed_on"))
    on_server(owner_url.rpartition("/")[0], "CREATE DATABASE handed_on")
    upgrade(engine)
    grant_role(engine, ANALYST, ROLE)
    _migrate(engine, "head", down=False)  # what `upgrade` does to a catalogue of an older revision
    engine.dispose()
    assert run_sql(url.replace("/sandbox", "/handed_on"), "SELECT * FROM v_users").rows == ()


def test_granting_twice_is_granting_once(owner_url):
    """The second time the role is there, and the same statements run but for the one that makes it."""
    engine = open_catalogue(owner_url)
    assert grant_role(engine, ANALYST, ROLE) == role_statements(
        ANALYST, ROLE, database="sandbox", owner="pg", exists=True
    )
    told = grant_role(engine, ANALYST, "somebody", run=False)
    assert told[0].startswith("CREATE ROLE somebody LOGIN NOSUPERUSER")
    assert not [each for each in told if "PASSWORD" in each.upper()]
    engine.dispose()


@pytest.mark.parametrize("name", ["", "a b", 'a"; DROP ROLE pg; --', "Röle", "1a", "x" * 64])
def test_a_role_has_a_plain_name(name):
    """A name that would need quotes is refused before any SQL is made of it."""
    with pytest.raises(ConfigError, match="not a plain name"):
        role_statements(ANALYST, name, database="d", owner="o")


def test_sqlite_has_no_roles(tmp_path):
    """Asked of a SQLite catalogue, the verb says that nothing is needed."""
    engine = open_catalogue(f"sqlite:///{tmp_path}/c.db")
    with pytest.raises(ConfigError, match="SQLite has no roles"):
        grant_role(engine, ANALYST, ROLE)
    engine.dispose()


def test_the_owner_is_refused_unless_told(owner_url):
    """A role that may write or administer answers only where somebody said so, and even then only reads."""
    with pytest.raises(QueryError, match=r"role pg may administer the server.*grant-analyst.*--as-owner"):
        run_sql(owner_url, "SELECT 1")
    assert run_sql(owner_url, "SELECT count(*) FROM asset", as_owner=True).rows == ((3000,),)
    for statement in ("SELECT pg_read_file('/etc/passwd')", "SELECT * FROM pg_authid", "DELETE FROM asset"):
        with pytest.raises(QueryError, match="Nothing was changed"):
            run_sql(owner_url, statement, as_owner=True)


@pytest.mark.parametrize(
    ("grant", "why"),
    [
        ("GRANT INSERT ON quarantine TO {0}", "may write public.quarantine"),
        ("GRANT DELETE ON v_users TO {0}", "may write public.v_users"),
        ("ALTER TABLE item OWNER TO {0}", "may write public.item"),
        ("GRANT pg_write_all_data TO {0}", "may administer"),
        ("GRANT pg_read_server_files TO {0}", "may administer"),
        ("ALTER ROLE {0} CREATEROLE", "may administer"),
    ],
)
def test_a_role_that_may_more_is_refused(owner_url, grant, why):
    """One right too many on any table or on the server is found and named."""
    name = f"too_{abs(hash(grant)) % 10**6}"
    engine = create_engine(owner_url.replace("postgresql://", "postgresql+psycopg://"))
    grant_role(engine, ANALYST, name)
    try:
        with engine.begin() as connection:
            connection.execute(text(grant.format(name)))
        with pytest.raises(QueryError, match=why):
            run_sql(owner_url.replace("pg@", f"{name}@"), "SELECT 1")
    finally:
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE item OWNER TO pg"))
            connection.execute(text(f"DROP OWNED BY {name}"))
            connection.execute(text(f"DROP ROLE {name}"))
        engine.dispose()


def test_a_role_that_sees_no_views_is_told_so(postgresql_server, url):
    """Asked of an empty database, and of a catalogue in which nobody granted it anything, it gets no answer."""
    other = fresh_database(postgresql_server)
    as_analyst = f"{url.rpartition('/')[0]}/{other.rpartition('/')[2]}"
    with pytest.raises(QueryError, match="sees no view v_assets"):
        run_sql(as_analyst, "SELECT 1")
    engine = open_catalogue(other)
    upgrade(engine)
    engine.dispose()
    with pytest.raises(QueryError, match="sees no view v_assets"):
        run_sql(as_analyst, "SELECT 1")


def test_a_query_that_is_cut_ends_on_the_server_too(owner_url, url):
    """The server does not go on with a statement whose process was killed."""
    with pytest.raises(QueryError, match=r"cut after 0\.5 s"):
        run_sql(url, "SELECT count(*) FROM v_users a, v_users b, v_users c", timeout_sec=0.5)
    deadline = time.monotonic() + 20
    asked = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND state = 'active'"
    with psycopg.connect(owner_url, autocommit=True) as connection:
        while (active := connection.execute(asked, [ROLE]).fetchone()[0]) and time.monotonic() < deadline:
            time.sleep(0.05)
    assert active == 0


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("SELECT repeat('x', 9)", r"function repeat\(text,integer\) is not"),
        ("SELECT * FROM pg_roles", "table pg_catalog.pg_roles is not open"),
        ("SELECT member FROM asset", "permission denied for table asset"),
        ("SELECT nothing FROM v_assets", 'column "nothing" does not exist'),
        ("SELECT 1 WHERE 'a' ~ 'b'", r"operator ~ \(textregexeq"),
        ("SELECT user_id || variant FROM v_assets", "cast both sides to text"),
        ("SELECT sqrt(2.0::numeric)", r"function sqrt\(numeric\).*cast its argument to float"),
        ("SELECT 1 FROM v_users u GROUP BY u", "whole row"),
        ("SELECT user_id IN ('a'), ARRAY['b'] FROM v_users", "array is not allowed"),
        ("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x FROM c) SELECT * FROM c", "recursive"),
        ("SELECT 1; SELECT 2", "cannot insert multiple commands"),
        ("SELECT '1'::bit(9)", r"function bit\(bit,integer,boolean\) is not"),
    ],
)
def test_the_refusal_says_why(url, statement, why):
    """A refusal names what was refused."""
    with pytest.raises(QueryError, match=why):
        run_sql(url, statement)


def test_values_come_back_as_they_are(url):
    """Numbers, text of any script, times and NULL survive the way."""
    result = run_sql(url, "SELECT 9223372036854775807, 0.5, 'Ünïcode ☃', DATE '2026-03-01', NULL, TRUE")
    assert result.rows == ((2**63 - 1, 0.5, "Ünïcode ☃", "2026-03-01", None, True),)


def test_the_command_line_makes_the_role_and_asks_as_it(owner_url, url, tmp_path, capsys):
    """`catalogue grant-analyst` prints what it runs; `assets sql` goes to the analysts' URL."""
    home = ["--set", f"home={tmp_path}", "--set", f"store.catalogue_url={owner_url}"]
    assert main(["catalogue", "grant-analyst", "printed", "--print", *home]) == 0
    assert capsys.readouterr().out.startswith("CREATE ROLE printed LOGIN NOSUPERUSER")
    assert main(["catalogue", "grant-analyst", ROLE, *home]) == 0
    assert f'REVOKE ALL ON ALL TABLES IN SCHEMA "public" FROM {ROLE};' in capsys.readouterr().out
    asked = ["assets", "sql", "SELECT current_user AS who", "--csv", *home]
    assert main(asked) == 2
    assert "grant-analyst" in capsys.readouterr().err
    assert main([*asked, "--set", f"store.catalogue_analyst_url={url}"]) == 0
    assert capsys.readouterr().out == f"who\n{ROLE}\n"
