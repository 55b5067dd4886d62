"""Migrations up and down, on either database."""

from datetime import timedelta

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import select, text

from personalgen.catalogue import comparisons, read, schema, write
from personalgen.catalogue.engine import transaction
from personalgen.catalogue.migrations import downgrade, head_revision, upgrade
from tests.integration.catalogue.small import (
    AT,
    begin,
    vote,
)


def test_the_revisions_make_the_schema_on_either_backend(engine):
    """Alembic finds no difference between the migrated database and the schema that the code declares."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.METADATA) == []


def test_down_and_up_again_on_either_backend(engine):
    """A catalogue can be taken back to nothing and brought to the newest revision again."""
    downgrade(engine)
    assert upgrade(engine) == head_revision()
    assert begin(engine) == 1


def test_a_catalogue_of_the_first_revision_goes_on_on_either_backend(engine):
    """Users of a catalogue from before the second revision stay, and nobody of them is forgotten."""
    downgrade(engine, "0001")
    with transaction(engine) as connection:
        connection.execute(text("""INSERT INTO "user" (user_id, opted_out) VALUES ('ada', FALSE)"""))
    assert upgrade(engine) == head_revision()
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.METADATA) == []
        found = connection.execute(select(schema.user.c.user_id, schema.user.c.forgotten))
        assert [tuple(row) for row in found] == [("ada", False)]


def test_a_catalogue_of_the_second_revision_goes_on_on_either_backend(engine):
    """A person of a catalogue from before the third revision can be asked for, and a downgrade takes the choices."""
    downgrade(engine, "0002")
    with transaction(engine) as connection:
        connection.execute(text("""INSERT INTO "user" (user_id, opted_out) VALUES ('ada', FALSE)"""))
    assert upgrade(engine) == head_revision()
    write_night = begin(engine)
    comparisons.record_comparisons(engine, write_night, [vote()], at=AT)
    downgrade(engine, "0002")
    assert upgrade(engine) == head_revision()
    assert comparisons.comparisons(engine) == ()
    assert read.user_key(engine, "ada") == 1


def test_nights_of_before_the_eighth_revision_are_nightly_on_either_backend(engine):
    """Nothing else ran then; the column goes with a downgrade, and the night stays."""
    begin(engine, kind="backfill")
    downgrade(engine, "0007")
    assert upgrade(engine) == head_revision()
    assert [(night.night_key, night.kind) for night in read.nights(engine)] == [("night-a", "nightly")]


def test_a_backfill_is_no_newest_night_on_either_backend(engine):
    """The watermark is that of nights that go forward, and the list says which kind each is."""
    later = AT + timedelta(days=9)
    for key, at, kind in (("a", AT, "generate"), ("b", later, "backfill")):
        write.finish_night(engine, begin(engine, key, as_of=at, kind=kind), status="done", at=later)
    assert read.newest_as_of(engine) == AT
    with engine.connect() as connection:
        assert connection.scalars(text("SELECT kind FROM v_runs ORDER BY night_id")).all() == ["generate", "backfill"]
