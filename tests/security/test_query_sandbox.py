"""An analyst's SQL on a stocked SQLite catalogue: what must answer, what must be refused or cut, and at what cost."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from personalgen.catalogue import query, query_worker
from personalgen.catalogue.engine import open_catalogue, transaction
from personalgen.catalogue.migrations import upgrade
from personalgen.catalogue.query import run_sql
from personalgen.catalogue.query_policy import MAX_STATEMENT_BYTES
from personalgen.errors import CatalogueError, ConfigError, NotFoundError, QueryError

pytestmark = pytest.mark.timeout(600)  # whichever test comes first waits for all attacks, a process each
ROOT = Path(__file__).resolve().parents[2]
N_ASSETS = 3_000


@pytest.fixture(scope="module")
def url(tmp_path_factory, stock):
    """Return the URL of a catalogue with 3,000 assets; three of its tables joined have 27 thousand million rows."""
    path = tmp_path_factory.mktemp("sandbox") / "catalogue.db"
    engine = open_catalogue(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    connection = sqlite3.connect(path)
    connection.executescript("BEGIN;" + stock.format(blob="x'0000803f'") + "COMMIT;")
    connection.close()
    return f"sqlite:///{path}"


@pytest.fixture(scope="module")
def report(url, attack):
    """Return how every attack ended and what all of them cost."""
    return attack(url, "sql_attacks_sqlite.txt")


@pytest.fixture(scope="module", autouse=True)
def untouched(url):
    """Check after all attacks that the catalogue's file and its folder are as they were."""
    folder = Path(url.removeprefix("sqlite:///")).parent
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".db"}
    yield
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".db"} == before
    assert {path.suffix for path in folder.iterdir()} <= {".db", ".lock", ".db-wal", ".db-shm"}


def test_the_list_is_long_enough(report):
    """At least 60 different attacks are tried."""
    assert len({each["statement"] for each in report["statements"]}) >= 60


def test_every_attack_is_refused_or_cut(report):
    """A hostile statement is a QueryError that says why, for all of them."""
    answered = [each for each in report["statements"] if each["columns"] is not None]
    assert answered == []
    assert all("Nothing was changed" in each["outcome"] for each in report["statements"])


def test_an_attack_costs_little(report):
    """Each ends with its time, and no process of a query ever holds 64 MiB, the interpreter included."""
    worst = max(report["statements"], key=lambda each: each["seconds"])
    print(f"worst: {worst['seconds']:.2f} s, {report['worker_kib'] / 1024:.0f} MiB: {worst['statement']}")  # noqa: T201
    assert worst["seconds"] < 10, "not cut: the timer is 1 s, the rest is a loaded machine's start of a process"
    assert report["worker_kib"] < 64 * 1024


def test_plain_questions_are_answered(url, listed):
    """Statements that analysts do ask have columns and hide nothing from them."""
    for statement in listed("sql_allowed_sqlite.txt"):
        result = run_sql(url, statement, timeout_sec=10)
        assert result.columns, statement
        assert result.hidden == (), statement


@pytest.mark.parametrize(
    "statement",
    [
        "select 1 where 'a' like '" + "%a" * 3_000 + "'",
        "select 1 where 'a' glob '" + "*a" * 3_000 + "'",
        "select " + "(" * 300 + "1" + ")" * 300,
        "select " + "+".join(["1"] * 300),
        "select " + " union all select ".join(["1"] * 50),
        "select " + ",".join(["1"] * 200),
        "select coalesce(" + ",".join(["1"] * 50) + ")",
        "select '" + "x" * MAX_STATEMENT_BYTES + "'",
        "select 'é" + "é" * (MAX_STATEMENT_BYTES // 2) + "'",
        "with a as (select '" + "x" * 1_000 + "' s), b as (select "
        + "||".join(["s"] * 50) + " s from a), c as (select "
        + "||".join(["s"] * 50) + " s from b) select length(s) from c",
        "select 1\0; drop table asset",
        "select '\ud800'",
        " \n\t",
        "/* never closed",
        "((((",
    ],
    ids=range(15),
)  # fmt: skip
def test_a_swollen_statement_is_refused(url, statement):
    """Patterns, nesting, columns, arguments and strings are bounded; broken text is refused, not a crash."""
    with pytest.raises(QueryError, match="Nothing was changed"):
        run_sql(url, statement, timeout_sec=5)


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("select printf('x')", r"function printf\(\)"),
        ("select * from sqlite_master", "table sqlite_master is not open"),
        ("with recursive c(x) as (select 1 union all select x from c) select * from c", "recursive"),
        ("pragma user_version", "PRAGMA is refused"),
        ("select * from pragma_user_version", "not allowed"),
        ("select nope from asset", "no such column: nope"),
    ],
)
def test_the_refusal_says_why(url, statement, why):
    """A refusal names what was refused."""
    with pytest.raises(QueryError, match=why):
        run_sql(url, statement)


def test_a_long_query_is_cut(url):
    """A query that does not end is killed at its time-out, and the message says what to do."""
    with pytest.raises(QueryError, match=r"cut after 0\.5 s. Narrow it"):
        run_sql(url, "select count(*) from asset a, asset b, asset c", timeout_sec=0.5)


def test_a_hungry_query_is_refused(url):
    """A query that sorts more than its memory allows is refused."""
    with pytest.raises(QueryError, match="more than 64 MiB of memory"):
        run_sql(url, "select a.member || b.member s from asset a, asset b order by s", timeout_sec=60)


def test_hidden_columns_read_as_null_and_are_named(url):
    """Paths outside the shard root and raw vectors read as NULL, and the result says so."""
    model = run_sql(url, "select * from model_version")
    assert model.hidden == ("model_version.folder",)
    assert dict(zip(model.columns, model.rows[0], strict=True))["folder"] is None
    assert run_sql(url, "select path from quarantine where path is not null").rows == ()
    assert run_sql(url, "select condition from user_current limit 1").hidden == ("user_current.condition",)


def test_the_views_of_ranks_and_of_the_forgotten_answer(url):
    """Each of the four has rows here, and none of them is hidden in part."""
    n_rows = {"v_recommendations": N_ASSETS, "v_user_neighbours": N_ASSETS, "v_item_neighbours": 1, "v_forgotten": 1}
    for view, expected in n_rows.items():
        result = run_sql(url, f"select * from {view}", max_rows=N_ASSETS)
        assert (len(result.rows), result.hidden, result.truncated) == (expected, (), False)


def test_rows_and_bytes_are_capped(url):
    """Beyond the caps rows are left out and the result says so; at the cap nothing is."""
    asked = "select member from asset order by asset_id"
    few = run_sql(url, asked, max_rows=5)
    assert (len(few.rows), few.truncated) == (5, True)
    assert run_sql(url, f"{asked} limit 5", max_rows=5).truncated is False
    small = run_sql(url, asked, max_rows=N_ASSETS, max_bytes=1_000)
    assert small.truncated
    assert 10 < len(small.rows) < 100
    assert run_sql(url, "select 'xxxxxxxx'", max_bytes=4).rows == ()


def test_values_come_back_as_they_are(url):
    """Integers of 64 bits, floats, text of any script, bytes and NULL survive the way."""
    result = run_sql(url, "select 9223372036854775807, 0.1, 'Ünïcode \u2028 \"', x'00ff', null, 9e999")
    assert result.rows == ((2**63 - 1, 0.1, 'Ünïcode \u2028 "', b"\x00\xff", None, float("inf")),)


def test_a_missing_catalogue_is_not_made(tmp_path):
    """Asking a catalogue that does not exist is a NotFoundError and makes no file."""
    with pytest.raises(NotFoundError, match="There is no catalogue"):
        run_sql(f"sqlite:///{tmp_path}/c.db", "select 1")
    with pytest.raises(NotFoundError):
        run_sql("sqlite://", "select 1")
    with pytest.raises(ConfigError):
        run_sql("mysql://host/c", "select 1")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_refused(tmp_path):
    """A file of another kind is a QueryError, not a crash."""
    path = tmp_path / "c.db"
    path.write_text("no database" * 200)
    with pytest.raises(QueryError, match="file is not a database"):
        run_sql(f"sqlite:///{path}", "select 1 from asset")


def test_a_query_answers_while_a_night_writes(tmp_path):
    """A query reads the last committed state while somebody holds the write lock, whatever the file's name."""
    url = f"sqlite:///{tmp_path}/odd #% name.db"
    engine = open_catalogue(url)
    upgrade(engine)
    with transaction(engine) as connection:
        connection.exec_driver_sql("INSERT INTO user (user_id, opted_out) VALUES ('ada', 0)")
        assert run_sql(url, "select count(*) from user").rows == ((0,),)
    assert run_sql(url, "select count(*) from user").rows == ((1,),)
    engine.dispose()


def test_the_worker_loads_nothing_heavy():
    """The worker imports the standard library and its policy alone, so that a query starts in milliseconds."""
    show = f"import sys, {query_worker.__name__}; print(*sorted(m for m in sys.modules if m.startswith('personalgen')))"
    command = [sys.executable, "-s", "-S", "-c", show]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == [
        "personalgen", "personalgen.catalogue", "personalgen.catalogue.query_policy",
        "personalgen.catalogue.query_worker",
    ]  # fmt: skip


def test_a_broken_worker_is_our_fault(url, monkeypatch):
    """A worker that cannot even start is a CatalogueError with the end of what it said."""
    monkeypatch.setattr(query, "_WORKER", "personalgen.no_such_module")
    with pytest.raises(CatalogueError, match="no_such_module"):
        run_sql(url, "select 1")


def test_secrets_of_the_environment_stay_outside(url, monkeypatch):
    """The worker's environment holds no variable of the parent but PATH."""
    seen = {}
    real_run = query.subprocess.run
    monkeypatch.setenv("SECRET_TOKEN", "sesame")
    monkeypatch.setattr(query.subprocess, "run", lambda *a, **k: seen.update(k["env"]) or real_run(*a, **k))
    run_sql(url, "select 1")
    assert "sesame" not in seen.values()
    assert seen["PATH"] == os.environ["PATH"]
