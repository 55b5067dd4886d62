"""Reads and views, and SQL of analysts, on either database."""

from datetime import date

import pytest
from sqlalchemy import text

from personalgen.catalogue import placed, questions, read, shards, write
from personalgen.catalogue.engine import analyze, open_catalogue, transaction
from personalgen.catalogue.migrations import downgrade
from personalgen.catalogue.query import run_sql
from personalgen.catalogue.scopes import AssetFilter
from personalgen.errors import CatalogueError, NotFoundError, QueryError
from tests.integration.catalogue.small import (
    AT,
    POINT,
    begin,
    counts,
    promote,
    rows_of,
    shard_facts,
)


def test_a_value_that_the_database_cannot_hold_is_said_to_be_one(engine, stocked):
    """PostgreSQL refuses a NUL: the message does not send anybody to look for the server; SQLite finds nobody."""
    asked = AssetFilter(user_id="a\0b")
    if engine.dialect.name == "sqlite":
        assert questions.latest(engine, asked) == ()
        return
    with pytest.raises(CatalogueError, match="cannot hold a value that was asked for: ask for another one"):
        questions.latest(engine, asked)


def test_assets_page_from_the_newest(engine, stocked):
    """Pages follow each other by the last id, without a gap; one user's assets can be asked for."""
    first = questions.latest(engine, limit=3)
    rest = questions.latest(engine, limit=3, before_asset_id=first[-1].asset_id)
    ids = [asset.asset_id for asset in (*first, *rest)]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 4
    assert {asset.user_id for asset in questions.latest(engine, AssetFilter(user_id="ada"))} == {"ada"}
    assert questions.latest(engine, AssetFilter(user_id="nobody")) == ()


def test_lineage_names_everything_an_asset_came_from(engine, stocked):
    """One asset tells user, model, runs, seed, operating point, events and where its bytes lie."""
    night_id, model, keys = stocked
    (newest,) = questions.latest(engine, limit=1)
    lineage = read.asset(engine, newest.asset_id)
    shown = lineage.summary
    assert shown == newest
    assert (shown.user_id, shown.model_name, shown.model_version, shown.variant, shown.score) == (
        "bob",
        "gan",
        1,
        1,
        None,
    )
    assert (shown.seed, shown.mlflow_run_id, shown.preference_hash) == (2**63 - 1, "generated", "1")
    assert (shown.as_of, shown.day) == (AT, date(2026, 3, 1))
    assert shown.top_events == [{"item_id": "höhe", "weight": 1.5, "timestamp": 17}]
    assert shown.path == f"shards/night={night_id:06d}/000000.tar#{keys[1]:06d}-01.png"
    assert (lineage.training_run_id, lineage.operating_point, lineage.basis_version) == ("trained", POINT, "basis-1")
    assert (lineage.crc32, lineage.shard_offset, lineage.model_version_id) == (2**32 - 1, 512, model)
    with pytest.raises(NotFoundError, match="no asset 999"):
        read.asset(engine, 999)


def test_current_and_live_are_told_apart(engine, stocked):
    """An asset is current under its own model, and live where that model and point are released and the user is in."""
    night_id, model, keys = stocked
    shards.commit_shard(engine, shard_facts(night_id, model, "000001"), rows_of(keys, taste=2))

    def flags():
        return {(a.user_id, a.preference_hash, a.variant): (a.is_current, a.is_live) for a in questions.latest(engine)}

    assert flags()["ada", "2", 0] == (True, False)
    assert flags()["ada", "1", 0] == flags()["ada", "1", 1] == (False, False)
    promote(engine, model, night_id)
    write.allocate_user_keys(engine, ["bob"], night_id=night_id, opted_out=[True])
    assert (flags()["ada", "2", 0], flags()["bob", "2", 0]) == ((True, True), (True, False))
    promote(engine, model, begin(engine, "other"), operating_point={}, operating_point_digest=5)
    assert flags()["ada", "2", 0] == (True, False)


def test_analysts_read_the_views(engine, url, stocked):
    """The three views answer through `run_sql`, times as text, on a connection that cannot write."""
    night_id, model, _ = stocked
    promote(engine, model, night_id)
    analyze(engine)
    users = run_sql(
        url,
        "SELECT user_id, segment, live_path, first_day FROM v_users ORDER BY user_id",
        as_owner=True,
        timeout_sec=30,
    )
    assert [row[:2] for row in users.rows] == [("ada", "a"), ("bob", None)]
    assert users.rows[0][2].endswith("-00.png")
    assert users.rows[0][3] == "2026-03-01"
    runs = run_sql(
        url,
        "SELECT night_id, n_images, n_quarantined, promoted_version, status FROM v_runs",
        as_owner=True,
        timeout_sec=30,
    )
    assert runs.rows == ((night_id, 4, 0, 1, "running"),)
    assets = run_sql(
        url, "SELECT user_id, COUNT(*) FROM v_assets WHERE is_live GROUP BY user_id ORDER BY user_id", as_owner=True
    )
    assert (assets.rows, assets.truncated) == ((("ada", 2), ("bob", 2)), False)
    assert run_sql(url, "SELECT asset_id FROM v_assets", max_rows=3, as_owner=True, timeout_sec=30).truncated


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM asset",
        "WITH gone AS (DELETE FROM asset RETURNING 1) SELECT * FROM gone",
        "SELECT 1; DELETE FROM asset",
        "SELECT nothing FROM nowhere",
        "",
    ],
)
def test_analysts_cannot_write(engine, url, stocked, statement):
    """A statement that writes, two statements, and a wrong one are QueryErrors; no row is lost."""
    with pytest.raises(QueryError, match="Nothing was changed"):
        run_sql(url, statement, as_owner=True, timeout_sec=30)
    assert counts(engine)["asset"] == 4


def test_the_error_of_a_broken_write_names_no_password(url, engine):
    """What a refused write says holds neither password nor trace."""
    with pytest.raises(CatalogueError) as caught, transaction(engine) as connection:
        connection.execute(text("INSERT INTO nowhere VALUES (1)"))
    assert "nowhere" in str(caught.value)
    assert "Nothing was changed" in str(caught.value)


def test_placed_images_come_in_chunks_on_either_backend(engine, url, stocked):
    """As they lie in their shard, also for who may write, and for who stops half-way."""
    reader = open_catalogue(url, read_only=True)
    for one in (engine, reader):
        found = list(placed.placed_assets(one, live_only=False, chunk_rows=1))
        assert [asset.user_id for asset in found] == ["ada", "ada", "bob", "bob"]
        assert sorted(found, key=lambda asset: asset.shard_offset) == found
        started = placed.placed_assets(one, live_only=False, chunk_rows=1)
        assert next(started) == found[0]
        started.close()
    assert list(placed.placed_assets(engine)) == []
    reader.dispose()


def test_a_catalogue_that_was_never_made_is_told_from_an_empty_one_on_either_backend(engine):
    """By its tables."""
    assert read.has_tables(engine)
    downgrade(engine)
    assert not read.has_tables(engine)
