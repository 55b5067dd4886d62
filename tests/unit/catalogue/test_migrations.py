import subprocess
import sys

import pytest
from sqlalchemy import create_engine, inspect, text

from personalgen.catalogue.engine import open_catalogue, transaction
from personalgen.catalogue.migrations import current_revision, downgrade, head_revision, upgrade
from personalgen.catalogue.schema import METADATA
from personalgen.catalogue.views import VIEWS, create_views
from personalgen.errors import CatalogueError

pytestmark = pytest.mark.sqlite_only  # PostgreSQL: tests/integration/catalogue/test_revisions.py

UPGRADE = """
import sys
from personalgen.catalogue.engine import open_catalogue
from personalgen.catalogue.migrations import upgrade
sys.stdin.read(1)  # wait for the starting shot
print(upgrade(open_catalogue(sys.argv[1])))
"""


def described(engine):
    """Return everything that the database says of its tables and views."""
    seen = inspect(engine)
    tables = {
        table: {
            "columns": [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in seen.get_columns(table)],
            "key": seen.get_pk_constraint(table),
            "unique": sorted(map(str, seen.get_unique_constraints(table))),
            "indexes": sorted(map(as_text, seen.get_indexes(table))),
            "references": sorted(map(str, seen.get_foreign_keys(table))),
            "checks": sorted(map(str, seen.get_check_constraints(table))),
            "autoincrement": "AUTOINCREMENT" in sql_of(engine, table),
            "without rowid": "WITHOUT ROWID" in sql_of(engine, table),
        }
        for table in seen.get_table_names()
        if table != "alembic_version"
    }
    return {"tables": tables, "views": {name: seen.get_view_definition(name) for name in seen.get_view_names()}}


def as_text(index):
    """Return what is said of an index; a clause's own text names its place in memory."""
    return str({**index, "dialect_options": {name: str(value) for name, value in index["dialect_options"].items()}})


def sql_of(engine, name):
    with engine.connect() as connection:
        return connection.scalar(text("SELECT sql FROM sqlite_master WHERE name = :name"), {"name": name})


def test_the_revisions_make_the_schema(engine):
    """A migrated database has the tables, columns, keys, indexes, references and views that the code declares."""
    declared = create_engine("sqlite://")
    METADATA.create_all(declared)
    with declared.begin() as connection:
        create_views(connection)
    assert described(engine) == described(declared)
    declared.dispose()


def test_down_and_up_again(engine):
    """Downgrading to the base leaves nothing, upgrading again makes everything."""
    before = described(engine)
    downgrade(engine)
    assert (current_revision(engine), described(engine)) == (None, {"tables": {}, "views": {}})
    assert upgrade(engine) == head_revision()
    assert described(engine) == before


def test_a_catalogue_of_the_first_revision_goes_on(engine):
    """Rows of before stay, nobody in them is forgotten, and the tables and views are those of a new catalogue."""
    before = described(engine)
    downgrade(engine, "0001")
    assert (current_revision(engine), described(engine)["views"]) == ("0001", {})
    assert "recommendation" not in inspect(engine).get_table_names()
    with transaction(engine) as connection:
        connection.execute(text("INSERT INTO user (user_id, segment, opted_out) VALUES ('ada', 's', 1)"))
    assert upgrade(engine) == head_revision()
    assert described(engine) == before
    with engine.connect() as connection:
        found = connection.execute(text("SELECT user_id, segment, opted_out, listed, forgotten FROM user")).all()
    assert [tuple(row) for row in found] == [("ada", "s", 1, 1, 0)]


def test_a_catalogue_of_the_second_revision_goes_on(engine):
    """Rows of before stay, and blind choices can be written: the tables and views are those of a new catalogue."""
    before = described(engine)
    downgrade(engine, "0002")
    assert (current_revision(engine), described(engine)["views"]) == ("0002", {})
    assert "comparison" not in inspect(engine).get_table_names()
    assert "forgotten" in inspect(engine).get_table_names()
    with transaction(engine) as connection:
        connection.execute(text("INSERT INTO user (user_id, opted_out, forgotten) VALUES ('ada', 0, 1)"))
    assert upgrade(engine) == head_revision()
    assert described(engine) == before
    with engine.connect() as connection:
        found = connection.execute(text("SELECT user_id, forgotten FROM user")).all()
    assert [tuple(row) for row in found] == [("ada", 1)]


def test_the_further_images_of_the_third_revision_stay_current(engine):
    """What stood beside a user's current asset by having its condition is named one by one."""
    before = described(engine)
    downgrade(engine, "0003")
    columns = """generator_digest, user_key, condition_digest, operating_point_digest, variant, night_id,
        model_version_id, shard_id, member, shard_offset, byte_length, crc32, seed, n_events, top_events"""
    with transaction(engine) as connection:
        for condition, point, variant in [(1, 1, 0), (1, 1, 1), (1, 1, 2), (2, 1, 1), (1, 2, 1)]:
            values = f"7, 1, {condition}, {point}, {variant}, 1, 1, 1, 'm', 0, 1, 1, 1, 0, '[]'"
            connection.execute(text(f"INSERT INTO asset ({columns}) VALUES ({values})"))
        current = "generator_digest, user_key, asset_id, condition, changed_night_id"
        connection.execute(text("PRAGMA defer_foreign_keys=ON"))
        connection.execute(text("INSERT INTO user (user_key, user_id, opted_out) VALUES (1, 'ada', 0)"))
        night = (
            """night_id, night_key, source, as_of, day, source_digest, config_digest, status, attempts, created_at"""
        )
        connection.execute(
            text(f"INSERT INTO night ({night}) VALUES (1, 'k', 's', 't', 'd', 'x', 'y', 'done', 1, 't')")
        )
        connection.execute(text(f"INSERT INTO user_current ({current}) VALUES (7, 1, 1, x'00', 1)"))
    assert upgrade(engine) == head_revision()
    assert described(engine) == before
    with engine.connect() as connection:
        found = connection.execute(text("SELECT user_key, variant, asset_id FROM user_variant ORDER BY variant")).all()
    assert [tuple(row) for row in found] == [(1, 1, 2), (1, 2, 3)]


def test_a_ledger_of_before_receipts_goes_on(engine):
    """Lines of the fourth revision stay, without a receipt; who was forgotten then keeps the id until asked again."""
    before = described(engine)
    downgrade(engine, "0004")
    assert "erasure" not in inspect(engine).get_table_names()
    line = "user_key, requested_at, actor, reason, statistics_exact, removed"
    with transaction(engine) as connection:
        connection.execute(text("INSERT INTO user (user_key, user_id, opted_out, forgotten) VALUES (1, 'ada', 0, 1)"))
        connection.execute(text(f"INSERT INTO forgotten ({line}) VALUES (1, '2026-03-01', 'ops', 'asked', 1, '{{}}')"))
    assert upgrade(engine) == head_revision()
    assert described(engine) == before
    with engine.connect() as connection:
        found = connection.execute(text("SELECT user_key, erased_at, receipt FROM v_forgotten")).all()
    assert [tuple(row) for row in found] == [(1, None, None)]


def test_a_second_upgrade_writes_nothing(tmp_path, engine):
    """At the newest revision `upgrade` leaves the file as it is."""
    engine.dispose()
    before = (tmp_path / "catalogue.db").read_bytes()
    assert upgrade(engine) == head_revision()
    engine.dispose()
    assert (tmp_path / "catalogue.db").read_bytes() == before


def test_a_newer_catalogue_is_refused(engine):
    """A revision that this program does not know is refused, with what to do."""
    with transaction(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for act in (upgrade, downgrade):
        with pytest.raises(CatalogueError, match=r"'9999'.*install that one.*Nothing was changed"):
            act(engine)
    assert current_revision(engine) == "9999"


def test_a_file_that_is_no_database_is_refused(tmp_path):
    """A file of another kind is a CatalogueError and stays as it is."""
    path = tmp_path / "c.db"
    path.write_text("not a database, but long enough to be read as a header of one" * 20)
    before = path.read_bytes()
    engine = open_catalogue(f"sqlite:///{path}")
    with pytest.raises(CatalogueError, match="cannot be opened"):
        upgrade(engine)
    engine.dispose()
    assert path.read_bytes() == before


def test_a_failing_revision_leaves_nothing(tmp_path, monkeypatch):
    """An error in the middle of an upgrade takes back every table of it."""
    engine = open_catalogue(f"sqlite:///{tmp_path}/c.db")
    monkeypatch.setitem(VIEWS, "v_broken", "SELECT FROM nowhere")
    with pytest.raises(CatalogueError, match="Nothing was changed"):
        upgrade(engine)
    assert (current_revision(engine), inspect(engine).get_table_names()) == (None, [])
    engine.dispose()


def test_processes_that_start_at_once_all_succeed(tmp_path):
    """Three processes that open a new catalogue at the same moment all find it at the newest revision."""
    url = f"sqlite:///{tmp_path}/deep/c.db"
    racers = [
        subprocess.Popen([sys.executable, "-c", UPGRADE, url], stdin=-1, stdout=-1, stderr=-1, text=True)
        for _ in range(3)
    ]
    for racer in racers:
        racer.stdin.write("!")
        racer.stdin.flush()
    answers = [racer.communicate(timeout=60) for racer in racers]
    assert [out.strip() for out, _ in answers] == [head_revision()] * 3, answers
