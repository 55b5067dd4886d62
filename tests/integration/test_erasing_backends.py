"""Intents, erased shards and deleted nights in the catalogue, on SQLite and on a throw-away PostgreSQL."""

import os
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime

import pytest
from sqlalchemy import create_engine, delete, func, insert, select, text, update

from personalgen.catalogue import compact, deletions, erasures, health, people, read, schema, write
from personalgen.catalogue.engine import open_catalogue, transaction
from personalgen.catalogue.facts import ForgottenFacts, ModelFacts, NightFacts
from personalgen.catalogue.migrations import upgrade
from personalgen.errors import CatalogueError, NotFoundError, UserError

AT = datetime(2026, 3, 1, 3, 30, tzinfo=UTC)
USERS = ("ada", "bob", "eve")


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request, tmp_path):
    """Return an engine on a migrated catalogue with one night, one model and three users, an image each."""
    url = f"sqlite:///{tmp_path}/catalogue.db"
    if request.param == "postgresql":
        server, name = request.getfixturevalue("postgresql_server"), f"e{os.urandom(4).hex()}"
        admin = create_engine(f"{server}/postgres".replace("://", "+psycopg://"), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        admin.dispose()
        url = f"{server}/{name}"
    engine = open_catalogue(url)
    upgrade(engine)
    fill(engine)
    yield engine
    engine.dispose()


def fill(engine):
    """Write a night with two shards, ada and bob in the first, eve in the second; ada is bob's neighbour."""
    night = NightFacts(
        night_key="k", source="demo", as_of=AT, day=date(2026, 3, 1), source_digest="s", config_digest="c"
    )
    night_id = write.begin_night(engine, night, at=AT)
    model = ModelFacts(
        model_name="gan", version=1, generator_sha256="1" * 64, basis_version="b", condition_spec={}, folder="m"
    )
    model_id = write.register_model(engine, model, at=AT)
    keys = write.allocate_user_keys(engine, USERS, night_id=night_id, segments=["s", None, None]).tolist()
    digest = read.model_by_id(engine, model_id).generator_digest
    with transaction(engine) as connection:
        for k, key in enumerate(keys, start=1):
            if k != 2:
                connection.execute(insert(schema.shard).values(**shard_row(k, night_id, model_id)))
            connection.execute(insert(schema.asset).values(**asset_row(k, key, digest, night_id, model_id)))
            connection.execute(
                insert(schema.user_current).values(
                    generator_digest=digest, user_key=key, asset_id=k, condition=b"", changed_night_id=night_id
                )
            )
        other = {"user_key": keys[1], "neighbour_key": keys[0], "rank": 1, "cosine": 1.0, "night_id": night_id}
        connection.execute(insert(schema.user_neighbour).values(**other))


def shard_row(k, night_id, model_id):
    return {
        "shard_id": k, "path": f"shards/{k}.tar", "sha256": str(k) * 64, "byte_length": 9, "n_assets": 2,
        "encoder": "png", "operating_point_digest": 7, "operating_point": {}, "night_id": night_id,
        "model_version_id": model_id, "sealed_at": AT,
    }  # fmt: skip


def asset_row(k, key, digest, night_id, model_id):
    return {
        "asset_id": k, "user_key": key, "generator_digest": digest, "condition_digest": 1, "operating_point_digest": 7,
        "variant": 0, "night_id": night_id, "model_version_id": model_id, "shard_id": 3 if k == 3 else 1,
        "member": str(k), "shard_offset": 512 * k, "byte_length": 9, "crc32": 1, "seed": 1, "n_events": 1,
        "top_events": [{"item_id": "i"}],
    }  # fmt: skip


def begin(engine, *users):
    erasures.begin_erasures(engine, users, actor="ops", reason="asked", at=AT)


def count(engine, table):
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(table))


def test_every_table_that_names_a_user_is_looked_after():
    """A table of a later revision is either emptied of a person at once, or named as one that is not."""
    naming = {table.name for table in schema.METADATA.tables.values() if "user_key" in table.c}
    assert naming == {table.name for table in people.tables_of_people()} | people.KEPT
    assert set(people.KINDS) <= naming


def test_an_intent_silences_and_deletes_all_but_images(engine):
    """Rows that name the person go at once, the assets' events too; the images wait for their bytes."""
    begin(engine, "ada")
    (one,) = erasures.open_erasures(engine)
    assert (one.user_id, one.reason, one.shards) == ("ada", "asked", [])
    assert {kind: n for kind, n in one.removed.items() if n} == {
        "conditions": 1,
        "neighbours": 1,
        people.EVENTS: 1,
    }
    assert read.silent_users(engine) == {one.user_key}
    assert (count(engine, schema.user_current), count(engine, schema.user_neighbour), count(engine, schema.asset)) == (
        2,
        0,
        3,
    )
    assert read.asset(engine, 1).summary.top_events == []


def test_a_second_intent_changes_nothing(engine):
    """The first request's words and counts stay."""
    begin(engine, "ada")
    before = erasures.open_erasures(engine)
    erasures.begin_erasures(engine, ["ada"], actor="x", reason="x", at=AT)
    assert erasures.open_erasures(engine) == before


def test_all_are_begun_or_none(engine):
    """One unknown person among others leaves everything."""
    with pytest.raises(NotFoundError, match=r"no user 'zoe'.*nor 1 others of the 3"):
        begin(engine, "ada", "zoe", "zac")
    assert (erasures.open_erasures(engine), read.silent_users(engine)) == ((), frozenset())


def test_a_shard_is_erased_in_one_transaction(engine):
    """New digest and count, the assets gone, the counts noted; a renamed shard asks for the old one's removal."""
    begin(engine, "ada", "bob", "eve")
    keys = [one.user_key for one in erasures.open_erasures(engine)]
    first, second = erasures.shards_of_people(engine, keys)
    assert [own.asset_id for own in first.owned] == [1, 2]
    erasures.commit_erased_shard(engine, first, path=first.path, sha256="e" * 64, at=AT)
    erasures.commit_erased_shard(engine, second, path="shards/3-erased1.tar", sha256="f" * 64, at=AT)
    with engine.connect() as connection:
        rows = connection.execute(select(schema.shard.c.path, schema.shard.c.sha256, schema.shard.c.n_assets)).all()
    assert sorted(map(tuple, rows)) == [("shards/1.tar", "e" * 64, 0), ("shards/3-erased1.tar", "f" * 64, 1)]
    assert erasures.asked_removals(engine) == ("shards/3.tar",)
    erasures.removed(engine, "shards/3.tar")
    assert (erasures.asked_removals(engine), erasures.shards_of_people(engine, keys)) == ((), ())
    assert [one.removed["images"] for one in erasures.open_erasures(engine)] == [1, 1, 1]
    assert [one.shards for one in erasures.open_erasures(engine)][2] == ["shards/3-erased1.tar"]


def test_a_shard_that_changed_meanwhile_is_refused(engine):
    """Nothing of it is deleted."""
    begin(engine, "ada")
    (found,) = erasures.shards_of_people(engine, [one.user_key for one in erasures.open_erasures(engine)])
    with transaction(engine) as connection:
        connection.execute(update(schema.shard).values(sha256="0" * 64))
    with pytest.raises(CatalogueError, match="was changed in the catalogue"):
        erasures.commit_erased_shard(engine, found, path=found.path, sha256="e" * 64, at=AT)
    assert (count(engine, schema.asset), erasures.asked_removals(engine)) == (3, ())


def test_the_ledger_takes_the_intent_s_place(engine):
    """Counts are summed, the id is replaced, the receipt is kept; the key stays."""
    begin(engine, "ada")
    facts = ForgottenFacts(
        user_id="ada", actor="ops", reason="asked", statistics_exact=True, removed={"blind pairs": 2},
        erased_as="erased:x", receipt={"remains": ["nothing"]},
    )  # fmt: skip
    write.record_forgotten(engine, facts, at=AT.replace(hour=5))
    (line,) = read.forgotten(engine)
    assert (line.removed["blind pairs"], line.removed["conditions"]) == (2, 1)
    assert (line.requested_at, line.erased_at) == (AT, AT.replace(hour=5))
    assert line.receipt == {"remains": ["nothing"]}
    assert read.forgotten_user_ids(engine) == {"erased:x"}
    assert (erasures.open_erasures(engine), read.user_key(engine, "erased:x")) == ((), line.user_key)


def test_a_night_whose_images_are_seen_is_not_deleted(engine):
    """How many and under which model; further images count, too."""
    with pytest.raises(UserError, match=r"3 current images under gan v1 \(neither live nor released before\)"):
        deletions.delete_night(engine, 1, actor="ops", reason="old", at=AT)
    with transaction(engine) as connection:
        connection.execute(delete(schema.user_current))
        key = {"generator_digest": 1, "user_key": 1, "variant": 1, "asset_id": 3}
        connection.execute(insert(schema.user_variant).values(**key))
    with pytest.raises(UserError, match="1 further images"):
        deletions.delete_night(engine, 1, actor="ops", reason="old", at=AT)
    assert count(engine, schema.asset) == 3


def test_a_night_is_deleted_in_one_transaction(engine):
    """Its rows go, its files are asked to be removed, the ledger's line is open until they are."""
    with transaction(engine) as connection:
        connection.execute(delete(schema.user_current))
    figure = health.HealthFacts("items", "volume", 3.0, None, None, None, "unknown")
    health.record_health(engine, 1, [figure])
    line = deletions.delete_night(engine, 1, actor="ops", reason="old", at=AT)
    own = dict.fromkeys(("comparison", "quarantine", "user_change", "daily_stat", "ratings"), 0)
    assert [row.value for row in health.health(engine)] == [3.0], "later nights are compared with it"
    assert line.removed == {"previous images": 0, "images": 3, "shards": 2, **own}
    assert (count(engine, schema.asset), count(engine, schema.shard)) == (0, 0)
    assert erasures.asked_removals(engine) == ("shards/1.tar", "shards/3.tar")
    assert deletions.night_deletions(engine, open_only=True) == (line,)
    deletions.finish_deletion(engine, line.night_deletion_id, at=AT)
    assert deletions.night_deletions(engine, open_only=True) == ()
    assert read.night_by_id(engine, 1).status == "deleted"
    for night in (1, 7):
        with pytest.raises(NotFoundError, match="Nothing was changed"):
            deletions.delete_night(engine, night, actor="ops", reason="old", at=AT)


def test_a_rewritten_file_holds_no_deleted_text(engine):
    """SQLite's free pages may hold what was deleted, and then do not; PostgreSQL looks after itself."""
    secret = "a text that stands nowhere else"
    if engine.dialect.name == "sqlite":
        with closing(sqlite3.connect(engine.url.database)) as connection:
            connection.execute("PRAGMA secure_delete=OFF")
            for statement in (f"INSERT INTO item (item_id, split) VALUES ('{secret}', 'train')", "DELETE FROM item"):
                connection.execute(statement)
                connection.commit()
        assert compact.has_residue(engine, [secret])
    compact.rewrite(engine)
    assert not compact.has_residue(engine, [secret])
    assert count(engine, schema.asset) == 3
