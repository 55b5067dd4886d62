"""An analyst's SQL on a stocked SQLite catalogue: what must answer, what must be refused or cut, and at what cost."""

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from personalgen.catalogue import query, query_worker
from personalgen.catalogue.engine import open_catalogue, transaction
from personalgen.catalogue.migrations import upgrade
from personalgen.catalogue.query import run_sql
from personalgen.catalogue.query_policy import MAX_STATEMENT_BYTES
from personalgen.errors import CatalogueError, ConfigError, NotFoundError, QueryError

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
N_ASSETS = 3_000
STOCK = f"""
BEGIN;
INSERT INTO night (night_key, source, as_of, day, source_digest, config_digest, status, attempts, created_at)
    VALUES ('k', 'demo', '2026-03-01 00:00:00', '2026-03-01', 's', 'c', 'done', 1, '2026-03-01 00:00:00');
INSERT INTO model_version (model_name, version, generator_sha256, generator_digest, basis_version, condition_spec,
    folder, created_at) VALUES ('gan', 1, 'f', 7, 'b', '{{}}', '/secret/models/1', '2026-03-01 00:00:00');
INSERT INTO shard (path, sha256, byte_length, n_assets, encoder, operating_point_digest, operating_point, night_id,
    model_version_id, sealed_at) VALUES ('s.tar', 'f', 1, {N_ASSETS}, 'png', 1, '{{}}', 1, 1, '2026-03-01 00:00:00');
INSERT INTO item (item_id, title, split) VALUES ('i', 'Item', 'train');
INSERT INTO quarantine (night_id, source_table, reason, n_rows, path) VALUES (1, 'items', 'r', 1, '/secret/q.parquet');
WITH RECURSIVE n(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM n WHERE k < {N_ASSETS})
    INSERT INTO user (user_id, segment, opted_out) SELECT 'u' || k, 's' || k % 3, 0 FROM n;
INSERT INTO asset (user_key, generator_digest, condition_digest, operating_point_digest, variant, night_id,
    model_version_id, shard_id, member, shard_offset, byte_length, crc32, seed, score, n_events, top_events)
    SELECT user_key, 7, user_key, 1, 0, 1, 1, 1, 'member-' || user_key || '.png', 512, 99, 1, user_key, 0.5, 1,
    '[{{"item_id": "i", "weight": 1.0, "timestamp": 1}}]' FROM user;
INSERT INTO user_current (generator_digest, user_key, asset_id, condition, changed_night_id)
    SELECT 7, user_key, asset_id, x'0000803f', 1 FROM asset;
INSERT INTO recommendation SELECT user_key, 1, 1, 0.5, 1 FROM user;
INSERT INTO item_neighbour VALUES (1, 1, 1, 1.0, 1);
INSERT INTO user_neighbour SELECT user_key, 1, 1 + user_key % {N_ASSETS}, 0.5, 1 FROM user;
INSERT INTO forgotten (user_key, requested_at, actor, reason, statistics_exact, removed)
    VALUES (7, '2026-03-01 00:00:00', 'ops', 'asked', 1, '{{"recommendations": 1}}');
COMMIT;
"""


def listed(name):
    """Return the statements of a list."""
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Return the URL of a catalogue with 3,000 assets; three of its tables joined have 27 thousand million rows."""
    path = tmp_path_factory.mktemp("sandbox") / "catalogue.db"
    engine = open_catalogue(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    connection = sqlite3.connect(path)
    connection.executescript(STOCK)
    connection.close()
    return f"sqlite:///{path}"


@pytest.fixture(scope="module", autouse=True)
def untouched(url):
    """Check after all attacks that the catalogue's file and its folder are as they were."""
    folder = Path(url.removeprefix("sqlite:///")).parent
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".db"}
    yield
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".db"} == before
    assert {path.suffix for path in folder.iterdir()} <= {".db", ".lock", ".db-wal", ".db-shm"}


def test_the_list_is_long_enough():
    """At least 60 different attacks are tried."""
    assert len(set(listed("sql_attacks_sqlite.txt"))) >= 60


@pytest.mark.parametrize("statement", listed("sql_attacks_sqlite.txt"))
def test_an_attack_is_refused_or_cut(url, statement):
    """A hostile statement is a QueryError that says why, and the time it takes is the time it is given."""
    began = time.monotonic()
    with pytest.raises(QueryError, match="Nothing was changed"):
        run_sql(url, statement, timeout_sec=0.4)
    assert time.monotonic() - began < 10, "not cut: a kill follows the time-out at once, also on a loaded machine"


@pytest.mark.parametrize("statement", listed("sql_allowed_sqlite.txt"))
def test_a_plain_question_is_answered(url, statement):
    """A statement that analysts do ask has columns and hides nothing from them."""
    result = run_sql(url, statement)
    assert result.columns
    assert result.hidden == ()


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


PEAK = """
import resource, sys
from personalgen.catalogue.query import run_sql
from personalgen.errors import QueryError
try:
    run_sql(sys.argv[1], "select a.member || b.member s from asset a, asset b order by s", timeout_sec=60)
except QueryError as error:
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, error)
"""


def test_a_hungry_query_is_refused(url):
    """A query that sorts more than its memory allows is refused, and its process never holds more than 64 MiB."""
    done = subprocess.run([sys.executable, "-c", PEAK, url], capture_output=True, text=True, check=True, cwd=ROOT)
    peak_kib, _, message = done.stdout.partition(" ")
    assert "more than 64 MiB of memory" in message
    assert int(peak_kib) < 64 * 1024


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
