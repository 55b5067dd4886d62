"""Every verb and read of the catalogue, on SQLite and on a throw-away PostgreSQL."""

import os
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, event, func, select, text

from personalgen.artifacts import weights_key
from personalgen.catalogue import comparisons, planning, ranked, read, release, schema, shards, write
from personalgen.catalogue.engine import analyze, open_catalogue, transaction
from personalgen.catalogue.facts import (
    ComparisonFacts,
    ForgottenFacts,
    ItemFacts,
    ModelFacts,
    NightFacts,
    Pointer,
    QuarantineFacts,
    Ranked,
    ShardFacts,
)
from personalgen.catalogue.migrations import downgrade, head_revision, upgrade
from personalgen.catalogue.query import run_sql
from personalgen.catalogue.rows import ItemNeighbour, Recommendation, UserNeighbour
from personalgen.errors import CatalogueError, NotFoundError, QueryError
from personalgen.generation.assets import AssetRow, AssetRows

AT = datetime(2026, 3, 1, 3, 30, tzinfo=UTC)
POINT, POINT_DIGEST = {"guidance": 1.5}, 77

# --- a migrated database for each test --------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgresql(postgresql_server):
    """Return the URL of a server with a migrated database `template_catalogue`."""
    on_server(postgresql_server, "CREATE DATABASE template_catalogue")
    engine = open_catalogue(f"{postgresql_server}/template_catalogue")
    upgrade(engine)
    engine.dispose()
    return postgresql_server


def on_server(server, statement):
    admin = create_engine(f"{server}/postgres".replace("://", "+psycopg://"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(statement))
    admin.dispose()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory):
    """Return a SQLite file at the newest revision, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "catalogue.db"
    engine = open_catalogue(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()  # the last connection folds the write-ahead log into the file
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """Return the URL of a migrated, empty catalogue, once per backend."""
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("migrated_file"), tmp_path / "catalogue.db")
        return f"sqlite:///{tmp_path}/catalogue.db"
    server, name = request.getfixturevalue("postgresql"), f"c{os.urandom(4).hex()}"
    on_server(server, f"CREATE DATABASE {name} TEMPLATE template_catalogue STRATEGY file_copy")
    return f"{server}/{name}"


@pytest.fixture
def engine(url):
    """Return an engine on a migrated, empty catalogue."""
    engine = open_catalogue(url)
    yield engine
    engine.dispose()


# --- a small catalogue ----------------------------------------------------------------------------------------------


def begin(engine, key="night-a", **changes):
    """Begin a night."""
    facts = NightFacts(
        night_key=key,
        source="demo",
        as_of=AT,
        day=date(2026, 3, 1),
        source_digest="s",
        config_digest="c",
        mlflow_run_id="run",
    )
    return write.begin_night(engine, replace(facts, **changes), at=AT)


def model_facts(night_id, version=1):
    """Return the facts of a model whose weights differ by version."""
    return ModelFacts(
        model_name="gan", version=version, generator_sha256=f"{version}" * 64, basis_version="basis-1",
        condition_spec={"fields": []}, folder=f"models/{version}", night_id=night_id, mlflow_run_id="trained",
    )  # fmt: skip


def register(engine, night_id, version=1):
    """Register a model."""
    return write.register_model(engine, model_facts(night_id, version), at=AT)


def digest_of(version):
    """Return the generator digest of `model_facts(…, version)`."""
    return weights_key(f"{version}" * 64)


def shard_facts(night_id, model_version_id, name="000000", **changes):
    """Return the facts of a shard."""
    facts = ShardFacts(
        path=f"shards/night={night_id:06d}/{name}.tar", sha256=name * 10, byte_length=10_240, encoder="png/zlib",
        operating_point_digest=POINT_DIGEST, operating_point=POINT, night_id=night_id,
        model_version_id=model_version_id, sealed_at=AT, mlflow_run_id="generated",
    )  # fmt: skip
    return replace(facts, **changes)


def vector(taste):
    """Return a condition as its bytes."""
    return np.array([taste, 1.0], dtype="<f4").tobytes()


def rows_of(user_keys, *, version=1, taste=1, variants=1):
    """Return rows for the users, all of one taste."""
    rows = [
        AssetRow(
            user_key=int(key), generator_digest=digest_of(version), condition_digest=taste,
            operating_point_digest=POINT_DIGEST, variant=variant, member=f"{key:06d}-{variant:02d}.png",
            shard_offset=512, byte_length=99, crc32=2**32 - 1, seed=2**63 - 1,
            score=None if variant else 0.5, n_events=3,
            top_events=({"item_id": "höhe", "weight": 1.5, "timestamp": 17},), condition=vector(taste),
        )
        for key in user_keys
        for variant in range(variants)
    ]  # fmt: skip
    return packed_rows(rows)


def packed_rows(rows):
    """Return rows as a shard holds them."""
    return AssetRows.of(rows, encoder="png/zlib")


def counts(engine):
    """Return the number of rows of each table."""
    with engine.connect() as connection:
        return {
            name: connection.scalar(select(func.count()).select_from(t)) for name, t in schema.METADATA.tables.items()
        }


@pytest.fixture
def stocked(engine):
    """Return (night_id, model_version_id, user_keys): two users with two variants each, nothing released."""
    night_id = begin(engine)
    model = register(engine, night_id)
    keys = write.allocate_user_keys(engine, ["ada", "bob"], night_id=night_id, segments=["a", None])
    shards.commit_shard(engine, shard_facts(night_id, model), rows_of(keys, variants=2))
    return night_id, model, keys


def promote(engine, model, night_id, **changes):
    """Release a model the way a night does."""
    options = {
        "operating_point": POINT,
        "operating_point_digest": POINT_DIGEST,
        "reason": "better",
        "actor": "gate",
        "at": AT,
    }
    return release.release(engine, model, night_id=night_id, **{**options, **changes})


# --- nights, models, users, items, quarantine -----------------------------------------------------------------------


def test_a_night_begins_once_however_often_it_is_tried(engine):
    """A second attempt keeps the id and the runs it does not name, counts itself, and reopens a finished night."""
    first = begin(engine)
    write.finish_night(engine, first, status="failed", counts={"users": 2}, at=AT)
    assert begin(engine, mlflow_run_id=None, prefect_flow_run_id="flow") == first
    (night,) = read.nights(engine)
    assert (night.attempts, night.status, night.mlflow_run_id, night.prefect_flow_run_id) == (
        2,
        "running",
        "run",
        "flow",
    )
    assert (night.as_of, night.day, night.counts, night.finished_at) == (AT, date(2026, 3, 1), {"users": 2}, None)
    assert read.night_by_key(engine, "night-a") == night
    assert read.night_by_key(engine, "never") is None


def test_an_unknown_night_cannot_be_finished(engine):
    """Finishing a night that never began is a NotFoundError."""
    with pytest.raises(NotFoundError, match="no night 9"):
        write.finish_night(engine, 9, status="done", at=AT)


def test_a_model_is_registered_once(engine):
    """Registering the same weights again returns the same id and takes the new verdict."""
    night_id = begin(engine)
    first = register(engine, night_id)
    again = write.register_model(engine, replace(model_facts(night_id), verdict={"kid": 0.1}), at=AT)
    (model,) = read.model_versions(engine, model_name="gan")
    assert (again, model.verdict, model.created_at) == (first, {"kid": 0.1}, AT)
    assert model == read.model_by_version(engine, "gan", 1) == read.model_by_id(engine, first)
    assert model == read.model_by_weights(engine, "1" * 64)
    assert read.model_by_weights(engine, "2" * 64) is None


@pytest.mark.parametrize("changes", [{"version": 2}, {"model_name": "other"}, {"generator_sha256": "9" * 64}])
def test_a_model_is_not_registered_as_something_else(engine, changes):
    """The same weights under another version, or other weights under the same, are refused and change nothing."""
    night_id = begin(engine)
    register(engine, night_id)
    with pytest.raises(CatalogueError, match="the catalogue holds gan v1"):
        write.register_model(engine, replace(model_facts(night_id), **changes), at=AT)
    assert counts(engine)["model_version"] == 1


def test_user_keys_follow_the_order_asked_and_stay(engine):
    """Keys come in the order asked, are allocated in sorted order, and known users keep theirs."""
    night_id = begin(engine)
    first = write.allocate_user_keys(engine, ["b", "a", "b"], night_id=night_id)
    second = write.allocate_user_keys(engine, ["c", "a", "b"], night_id=night_id)
    assert first.dtype == np.int64
    assert first[1] < first[0] == first[2]
    assert second[1:].tolist() == [first[1], first[0]]
    assert second[0] > first.max()


def test_a_user_s_segment_and_wish_are_refreshed_only_where_given(engine):
    """Segments and opting out replace what was stored where they are given, and stay where they are not."""
    night_id = begin(engine)
    write.allocate_user_keys(engine, ["a", "b"], night_id=night_id, segments=["x", "y"], opted_out=[True, False])
    write.allocate_user_keys(engine, ["a", "b"], night_id=None, segments=["z", "y"])
    with engine.connect() as connection:
        rows = connection.execute(select(schema.user).order_by(schema.user.c.user_id)).all()
    assert [(r.segment, r.opted_out, r.first_night_id) for r in rows] == [("z", True, night_id), ("y", False, night_id)]


def test_items_are_inserted_and_refreshed(engine):
    """New items are inserted, changed titles and pictures replaced, equal rows not written, the split never."""
    night_id = begin(engine)
    items = [
        ItemFacts(item_id="b", split="train", title="B"),
        ItemFacts(item_id="a", split="test", image_sha256="f" * 64),
    ]
    assert write.upsert_items(engine, items, night_id=night_id) == 2
    assert write.upsert_items(engine, items, night_id=night_id) == 0
    assert write.upsert_items(engine, [replace(items[0], title="C", split="judge")], night_id=None) == 1
    with engine.connect() as connection:
        rows = connection.execute(select(schema.item).order_by(schema.item.c.item_key)).all()
    assert [(r.item_id, r.title, r.split, r.first_night_id) for r in rows] == [
        ("a", None, "test", night_id),
        ("b", "C", "train", night_id),
    ]


def test_quarantine_counts_are_those_of_the_last_attempt(engine):
    """A second attempt of a night replaces its counts instead of adding to them."""
    night_id = begin(engine)
    facts = QuarantineFacts(source_table="interactions", reason="no_item", n_rows=5, path="q.parquet")
    write.record_quarantine(engine, night_id, [facts])
    write.record_quarantine(engine, night_id, [replace(facts, n_rows=4), replace(facts, reason="null_id")])
    assert counts(engine)["quarantine"] == 2
    assert read.night_counts(engine, night_id).n_quarantined == 9


# --- shards and current assets --------------------------------------------------------------------------------------


def test_a_shard_is_catalogued_with_its_rows_and_pointers(engine, stocked):
    """Committing a shard writes it, its assets, and the current asset (variant 0) of each user."""
    night_id, _, keys = stocked
    assert {name: counts(engine)[name] for name in ("shard", "asset", "user_current")} == {
        "shard": 1, "asset": 4, "user_current": 2,
    }  # fmt: skip
    current = planning.current_conditions(engine, digest_of(1))
    assert current.user_keys.tolist() == sorted(keys.tolist())
    assert current.conditions.tolist() == [[1.0, 1.0]] * 2
    assert read.night_counts(engine, night_id).n_created == 4


def test_a_rerun_of_a_shard_adds_nothing(engine, stocked):
    """Committing the same shard again changes no row."""
    night_id, model, keys = stocked
    before = counts(engine)
    again = shards.commit_shard(engine, shard_facts(night_id, model), rows_of(keys, variants=2))
    assert (again.n_new, again.n_existing) == (0, 4)
    assert counts(engine) == before


def test_a_rerun_of_an_old_shard_does_not_take_users_back(engine, stocked):
    """Committing last night's shard again leaves the users at tonight's assets."""
    night_id, model, keys = stocked
    shards.commit_shard(engine, shard_facts(night_id, model, "000001"), rows_of(keys, taste=2))
    tonight = planning.current_conditions(engine, digest_of(1))
    shards.commit_shard(engine, shard_facts(night_id, model), rows_of(keys, variants=2))
    assert np.array_equal(planning.current_conditions(engine, digest_of(1)).asset_ids, tonight.asset_ids)


def test_existing_assets_are_kept_and_missing_ones_added(engine, stocked):
    """In a shard that overlaps an older one only the natural keys that were missing are inserted."""
    night_id, model, keys = stocked
    result = shards.commit_shard(engine, shard_facts(night_id, model, "000001"), rows_of(keys, variants=3))
    assert (result.n_new, result.n_existing) == (2, 4)
    assert counts(engine)["asset"] == 6


@pytest.mark.parametrize("table", ["asset", "user_current"])
def test_a_failure_inside_the_commit_leaves_nothing(engine, stocked, table):
    """An error at the assets or at the pointers takes back shard, assets and pointers."""
    night_id, model, keys = stocked
    before = counts(engine)

    def fail(_connection, _cursor, statement, *_rest):
        if statement.startswith(f"INSERT INTO {table} "):
            raise RuntimeError("power cut")

    event.listen(engine, "after_cursor_execute", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        shards.commit_shard(engine, shard_facts(night_id, model, "000001"), rows_of(keys, taste=2))
    event.remove(engine, "after_cursor_execute", fail)
    assert counts(engine) == before
    assert planning.current_conditions(engine, digest_of(1)).conditions.tolist() == [[1.0, 1.0]] * 2


@pytest.mark.parametrize(
    ("shard_changes", "row_changes", "message"),
    [
        ({"sha256": "0" * 64, "path": "shards/night=000001/000000.tar"}, {}, "must never be written again"),
        ({"night_id": 99}, {}, "does not know both"),
        ({"model_version_id": 99}, {}, "does not know both"),
        ({}, {"user_key": 9_999}, "1 of 1 user keys"),
        ({}, {"generator_digest": 5}, "holds rows of the generators"),
        ({}, {"operating_point_digest": 5}, "holds rows of the generators"),
    ],
)
def test_a_shard_that_does_not_fit_is_refused(engine, stocked, shard_changes, row_changes, message):
    """Other bytes under a known path, and unknown nights, models, users or generators are refused; nothing changes."""
    night_id, model, keys = stocked
    before = counts(engine)
    facts = replace(shard_facts(night_id, model, "000001"), **shard_changes)
    with pytest.raises(CatalogueError, match=message):
        shards.commit_shard(engine, facts, packed_rows([replace(rows_of(keys[:1], taste=2)[0], **row_changes)]))
    assert counts(engine) == before


def test_a_changed_user_keeps_the_previous_asset(engine, stocked):
    """A new condition moves the pointer and remembers where it was."""
    night_id, model, keys = stocked
    first = planning.current_conditions(engine, digest_of(1), keys[:1]).asset_ids[0]
    shards.commit_shard(engine, shard_facts(night_id, model, "000001"), rows_of(keys[:1], taste=2))
    with engine.connect() as connection:
        previous = connection.scalars(
            select(schema.user_current.c.previous_asset_id).order_by(schema.user_current.c.user_key)
        )
        assert previous.all() == [first, None]


def test_a_user_who_comes_back_is_pointed_at_the_old_asset(engine, stocked):
    """Pointing at an existing asset moves the pointer once, and is refused for somebody else's asset."""
    night_id, model, keys = stocked
    old = planning.current_conditions(engine, digest_of(1))
    shards.commit_shard(engine, shard_facts(night_id, model, "000001"), rows_of(keys, taste=2))
    back = [
        Pointer(int(key), int(asset_id), vector(1)) for key, asset_id in zip(old.user_keys, old.asset_ids, strict=True)
    ]

    def point(pointers):
        return shards.point_current(engine, generator_digest=digest_of(1), night_id=night_id, pointers=pointers)

    assert (point(back), point(back), point([])) == (2, 0, 0)
    assert np.array_equal(planning.current_conditions(engine, digest_of(1)).asset_ids, old.asset_ids)
    with pytest.raises(CatalogueError, match="1 of 2 assets"):
        point([back[0], back[1]._replace(asset_id=back[0].asset_id)])


def further(engine):
    """Return the variants that stand beside each user's current asset, and what the view says is current."""
    with engine.connect() as connection:
        told = connection.execute(text("SELECT user_key, variant, asset_id FROM user_variant ORDER BY 1, 2")).all()
        current = connection.execute(text("SELECT asset_id FROM v_assets WHERE is_current ORDER BY 1")).scalars().all()
    return [tuple(row) for row in told], current


def test_further_variants_stand_beside_the_current_asset(engine, stocked):
    """Each is found by its own condition, replaced with the first one, and gone where fewer are drawn."""
    night_id, model, keys = stocked
    one, two = (int(key) for key in sorted(keys))
    first, current = further(engine)
    assert [(user, variant) for user, variant, _ in first] == [(one, 1), (two, 1)]
    assert len(current) == 4
    rows = list(rows_of(np.array([one]), taste=2, variants=3))
    rows[2] = replace(rows[2], condition_digest=99)
    shards.commit_shard(engine, shard_facts(night_id, model, "000001"), packed_rows(rows))
    told, current = further(engine)
    assert [(user, variant) for user, variant, _ in told] == [(one, 1), (one, 2), (two, 1)]
    assert len(current) == 5
    asked = planning.further_variants(engine, digest_of(1), np.array([two, 999, one]), operating_point_digest=77)
    assert asked.tolist() == [1, 0, 2]
    assert not planning.further_variants(engine, digest_of(1), keys, operating_point_digest=78).any()
    shards.commit_shard(engine, shard_facts(night_id, model, "000002"), rows_of(np.array([one]), taste=3))
    assert [(user, variant) for user, variant, _ in further(engine)[0]] == [(two, 1)]


def test_a_shard_that_moves_nobody_leaves_the_variants(engine, stocked):
    """Without `move` the further images of users stay, as the first ones do."""
    night_id, model, keys = stocked
    before = further(engine)
    rows = rows_of(keys, taste=2, variants=2)
    shards.commit_shard(engine, shard_facts(night_id, model, "000001"), rows, move=False)
    assert further(engine) == before


def test_a_user_who_comes_back_is_pointed_at_all_old_variants(engine, stocked):
    """A pointer brings back the further images too, and is refused for a wrong variant."""
    night_id, model, keys = stocked
    old = planning.current_conditions(engine, digest_of(1))
    before = further(engine)
    shards.commit_shard(engine, shard_facts(night_id, model, "000001"), rows_of(keys, taste=2))
    assert further(engine)[0] == []
    second = {user: asset_id for user, _, asset_id in before[0]}
    back = [
        Pointer(int(key), int(asset_id), vector(1), (second[int(key)],))
        for key, asset_id in zip(old.user_keys, old.asset_ids, strict=True)
    ]
    shards.point_current(engine, generator_digest=digest_of(1), night_id=night_id, pointers=back)
    assert further(engine) == before
    wrong = back[0]._replace(variants=(int(back[0].asset_id),))
    with pytest.raises(CatalogueError, match=r"1 of 2 assets.*as variant 1 of user key"):
        shards.point_current(engine, generator_digest=digest_of(1), night_id=night_id, pointers=[wrong])
    assert further(engine) == before


# --- planning -------------------------------------------------------------------------------------------------------


def test_current_conditions_are_those_of_the_users_asked_for(engine, stocked):
    """Users without a current asset and users not asked for are left out; another generator has none."""
    _, _, keys = stocked
    asked = planning.current_conditions(engine, digest_of(1), np.array([keys[1], 999]))
    assert asked.user_keys.tolist() == [keys[1]]
    assert planning.current_conditions(engine, digest_of(1), np.array([], dtype=np.int64)).conditions.shape == (0, 0)
    assert planning.current_conditions(engine, digest_of(2)).user_keys.shape == (0,)


def test_present_assets_are_found_by_their_natural_key(engine, stocked, monkeypatch):
    """Each natural key gets its asset's id or MISSING, whatever the order and the size of the chunks."""
    monkeypatch.setattr(planning, "CHUNK", 2)
    _, _, keys = stocked
    wanted = [(keys[1], 1, 1), (keys[0], 1, 0), (999, 1, 0), (keys[0], 2, 0), (keys[0], 1, 1), (keys[1], 1, 2)]
    users, conditions, variants = (np.array(column) for column in zip(*wanted, strict=True))

    def present(point):
        return planning.assets_present(
            engine, digest_of(1), point, user_keys=users, condition_digests=conditions, variants=variants
        )

    found = present(POINT_DIGEST)
    missing = planning.MISSING
    assert (found == missing).tolist() == [False, False, True, True, False, True]
    for asset_id, (user_key, _, variant) in zip(found.tolist(), wanted, strict=True):
        if asset_id != missing:
            lineage = read.asset(engine, asset_id)
            assert (lineage.user_key, lineage.summary.variant) == (user_key, variant)
    assert set(present(POINT_DIGEST + 1).tolist()) == {missing}


# --- release --------------------------------------------------------------------------------------------------------


def test_a_promotion_moves_the_live_release_once(engine, stocked):
    """A night's promotion is written and applied once, also when its rerun comes after a rollback."""
    night_id, first, _ = stocked
    second = register(engine, night_id, version=2)
    assert read.live_release(engine) is None
    assert (promote(engine, first, None, action="manual"), promote(engine, second, night_id)) == (True, True)
    assert release.rollback(engine, reason="worse", actor="ada", at=AT) == first
    assert promote(engine, second, night_id) is False
    live = read.live_release(engine)
    assert (live.version, live.generator_digest, live.operating_point, live.moved_at) == (1, digest_of(1), POINT, AT)


def test_a_hold_moves_nothing(engine, stocked):
    """A held candidate is written once and what users see stays."""
    night_id, first, _ = stocked
    promote(engine, first, night_id)
    second = register(engine, night_id, version=2)
    options = {"night_id": night_id, "reason": "no gain", "actor": "gate", "at": AT, "verdict": {"gain": 0.0}}
    assert (release.hold(engine, second, **options), release.hold(engine, second, **options)) == (True, False)
    held, promoted = read.promotions(engine)
    assert (held.action, held.from_version, held.to_version, held.verdict) == ("hold", 1, 2, {"gain": 0.0})
    assert (promoted.action, promoted.from_version, promoted.night_id, promoted.at) == ("promote", None, night_id, AT)
    assert read.live_release(engine).model_version_id == first


def test_a_rollback_keeps_the_history_and_restores_the_operating_point(engine, stocked):
    """A rollback moves the pointer alone: assets, current assets and earlier decisions stay."""
    night_id, first, _ = stocked
    second = register(engine, night_id, version=2)
    promote(engine, first, night_id)
    promote(engine, second, night_id, operating_point={"guidance": 3.0}, operating_point_digest=78)
    before = counts(engine)
    release.rollback(engine, reason="worse", actor="ada", at=AT)
    live = read.live_release(engine)
    assert (live.model_version_id, live.operating_point, live.night_id) == (first, POINT, None)
    assert [entry.action for entry in read.promotions(engine)] == ["rollback", "promote", "promote"]
    assert counts(engine) == {**before, "model_promotion": 3}


def test_two_rollbacks_go_two_steps_back(engine, stocked):
    """Without a target a rollback goes to what the live model replaced, so a second one goes further."""
    night_id, first, _ = stocked
    models = [first, register(engine, night_id, 2), register(engine, night_id, 3)]
    for model in models:
        promote(engine, model, night_id)
    assert [release.rollback(engine, reason="r", actor="a", at=AT) for _ in range(2)] == [models[1], models[0]]
    assert release.rollback(engine, reason="r", actor="a", at=AT, to=models[2]) == models[2]


def test_a_rollback_needs_somewhere_to_go(engine, stocked):
    """Nothing live, nothing before it, the live model itself, or one that was never live: refused, nothing written."""
    night_id, first, _ = stocked
    second = register(engine, night_id, version=2)
    options = {"reason": "r", "actor": "a", "at": AT}
    with pytest.raises(NotFoundError, match="no release before"):
        release.rollback(engine, **options)
    promote(engine, first, night_id)
    for to, message in [
        (None, "no release before"),
        (first, "live already"),
        (second, "never live"),
        (99, "never live"),
    ]:
        with pytest.raises(NotFoundError, match=message):
            release.rollback(engine, to=to, **options)
    assert len(read.promotions(engine)) == 1


def test_an_unknown_model_is_not_released(engine):
    """Releasing or holding a model version that does not exist is a NotFoundError."""
    with pytest.raises(NotFoundError, match="no model version 5"):
        promote(engine, 5, None)
    with pytest.raises(NotFoundError, match="no model version 5"):
        release.hold(engine, 5, night_id=None, reason="r", actor="a", at=AT)


# --- recommendations, neighbours, who is forgotten -------------------------------------------------------------------

ITEMS = ("cup", "hat", "map")
NONE = float("nan")


@pytest.fixture
def people(engine):
    """Return the id of a night that knows three users and three items."""
    night_id = begin(engine)
    write.allocate_user_keys(engine, ["eve", "bob", "ada"], night_id=night_id)
    items = [ItemFacts(item_id=name, split="train", title=None if name == "map" else name.upper()) for name in ITEMS]
    write.upsert_items(engine, items, night_id=night_id)
    return night_id


def ranking(owners, found, rows):
    """Return what was found as {owner: [(id, score), ...]}, all rows equally long."""
    index = [[found.index(name) for name, _ in row] for row in rows]
    scores = [[score for _, score in row] for row in rows]
    return Ranked(
        owner_ids=tuple(owners), found_ids=tuple(found), found_index=np.array(index, dtype=np.int32),
        scores=np.array(scores, dtype=np.float32),
    )  # fmt: skip


def recommend(engine, night_id):
    """Recommend two items to bob, none to ada, and one to eve, whose first is not to be shown."""
    rows = [[("hat", 0.75), ("cup", 0.5)], [("cup", NONE), ("cup", NONE)], [("cup", -np.inf), ("map", -0.25)]]
    return write.replace_recommendations(engine, night_id, ranking(["bob", "ada", "eve"], ITEMS, rows))


def make_alike(engine, night_id):
    """Make everybody everybody's neighbour."""
    names = ["ada", "bob", "eve"]
    rows = [[(name, 1 - place / 4) for place, name in enumerate(n for n in names if n != own)] for own in names]
    return write.replace_user_neighbours(engine, night_id, ranking(names, names, rows))


def forget(engine, user_id, **changes):
    """Forget a user."""
    facts = ForgottenFacts(
        user_id=user_id, actor="ops", reason="asked", statistics_exact=True, removed={"preference tables": 3}
    )
    return write.record_forgotten(engine, replace(facts, **changes), at=AT)


def ranked_rows(engine):
    """Return all rows of the three tables."""
    with engine.connect() as connection:
        return {
            kind.rows.name: [tuple(row) for row in connection.execute(select(kind.rows))]
            for kind in (ranked.RECOMMENDATIONS, ranked.ITEM_NEIGHBOURS, ranked.USER_NEIGHBOURS)
        }


def test_recommendations_are_read_with_title_and_day(engine, people):
    """Best first, ranks without a gap where nothing was found; who has none gets nothing."""
    day = date(2026, 3, 1)
    assert recommend(engine, people) == 3
    assert read.recommendations(engine, "bob") == (
        Recommendation("bob", 1, "hat", "HAT", 0.75, people, day),
        Recommendation("bob", 2, "cup", "CUP", 0.5, people, day),
    )
    assert read.recommendations(engine, "eve") == (Recommendation("eve", 1, "map", None, -0.25, people, day),)
    assert read.recommendations(engine, "ada") == ()
    assert [row.rank for row in read.recommendations(engine, "bob", limit=1)] == [1]


def test_neighbours_are_read_with_their_names(engine, people):
    """Items have titles, users have none; both have rank, cosine and day."""
    found = ranking(["hat"], ITEMS, [[("map", 0.5), ("cup", 0.25)]])
    assert write.replace_item_neighbours(engine, people, found) == 2
    assert read.items_like(engine, "hat") == (
        ItemNeighbour("hat", 1, "map", None, 0.5, people, date(2026, 3, 1)),
        ItemNeighbour("hat", 2, "cup", "CUP", 0.25, people, date(2026, 3, 1)),
    )
    assert read.items_like(engine, "map") == read.users_like(engine, "bob") == ()
    assert make_alike(engine, people) == 6
    assert read.users_like(engine, "bob", limit=1) == (UserNeighbour("bob", 1, "ada", 1.0, people, date(2026, 3, 1)),)


@pytest.mark.parametrize("ask", [read.recommendations, read.users_like, read.items_like])
def test_whom_nobody_knows_has_no_empty_answer(engine, people, ask):
    """An unknown user or item is a NotFoundError with its id."""
    with pytest.raises(NotFoundError, match=r"no (user|item) 'nobody'"):
        ask(engine, "nobody")


def test_a_night_replaces_the_rows_of_the_one_before(engine, people, monkeypatch):
    """Nothing of the old night stays, whatever the size of the chunks; the same night again writes the same rows."""
    recommend(engine, people)
    later = begin(engine, "night-b", day=date(2026, 3, 2))
    found = ranking(["eve", "ada"], ITEMS, [[("cup", 0.5), ("hat", 0.25)], [("hat", 0.5), ("cup", NONE)]])
    assert write.replace_recommendations(engine, later, found) == 3
    assert [(row.item_id, row.day) for row in read.recommendations(engine, "eve")] == [
        ("cup", date(2026, 3, 2)),
        ("hat", date(2026, 3, 2)),
    ]
    assert read.recommendations(engine, "bob") == ()
    before = ranked_rows(engine)
    monkeypatch.setattr(ranked, "CHUNK_ROWS", 1)
    write.replace_recommendations(engine, later, found)
    assert ranked_rows(engine) == before
    empty = Ranked(owner_ids=(), found_ids=(), found_index=np.empty((0, 0), int), scores=np.empty((0, 0), np.float32))
    assert write.replace_recommendations(engine, later, empty) == 0
    assert ranked_rows(engine)["recommendation"] == []


@pytest.mark.parametrize(
    ("write_rows", "owners", "found", "says"),
    [
        (write.replace_recommendations, ["bob", "zoe"], ITEMS, r"1 of 2 user ids .* 'zoe'"),
        (write.replace_recommendations, ["bob"], ["pen"], r"1 of 1 item ids .* 'pen'"),
        (write.replace_item_neighbours, ["cup", "pen"], ITEMS, r"1 of 2 item ids .* 'pen'"),
        (write.replace_user_neighbours, ["bob"], ["zoe"], r"1 of 1 user ids .* 'zoe'"),
        (write.replace_recommendations, ["bob", "bob"], ITEMS, "(?i)unique"),
    ],
)
def test_ranks_of_the_unknown_are_refused(engine, people, write_rows, owners, found, says):
    """An id that is not in the catalogue, or stands there twice, is a CatalogueError, and the old rows stay."""
    recommend(engine, people)
    make_alike(engine, people)
    before = ranked_rows(engine)
    with pytest.raises(CatalogueError, match=says):
        write_rows(engine, people, ranking(owners, found, [[(found[0], 0.5)]] * len(owners)))
    assert ranked_rows(engine) == before


def test_an_unknown_night_recommends_nothing(engine, people):
    """A night that never began is a NotFoundError, for ranks and for the ledger."""
    for act in (recommend, lambda engine, night_id: write.complete_forgotten(engine, night_id, at=AT)):
        with pytest.raises(NotFoundError, match="no night 9"):
            act(engine, 9)


@pytest.mark.parametrize(
    "silence",
    [
        lambda engine: write.allocate_user_keys(engine, ["bob"], night_id=None, opted_out=[True]),
        lambda engine: write.list_users(engine, ["ada", "eve"]),
        lambda engine: forget(engine, "bob"),
    ],
    ids=["opted out", "not listed", "forgotten"],
)
def test_silent_people_are_recommended_nothing_and_nobody_s_neighbours(engine, url, people, silence):
    """At once in reads and views, on either side; and tonight's rows are not even written, whoever asks for them."""
    recommend(engine, people)
    make_alike(engine, people)
    silence(engine)
    for again in (False, True):
        if again:
            assert (recommend(engine, people), make_alike(engine, people)) == (1, 2)
        assert read.recommendations(engine, "bob") == read.users_like(engine, "bob") == ()
        assert [row.neighbour_id for row in read.users_like(engine, "ada")] == ["eve"]
        assert run_sql(url, "SELECT user_id FROM v_recommendations", as_owner=True).rows == (("eve",),)
        alike = run_sql(url, "SELECT user_id, neighbour_id FROM v_user_neighbours ORDER BY user_id", as_owner=True).rows
        assert alike == (("ada", "eve"), ("eve", "ada"))
    assert [row.rank for row in read.users_like(engine, "ada")] == [1]
    assert len(read.silent_users(engine)) == 1


def test_forgetting_writes_a_line_and_takes_the_ranked_rows(engine, people):
    """The line counts what the caller and the catalogue deleted; other people's rows stay as they were."""
    recommend(engine, people)
    make_alike(engine, people)
    forget(engine, "bob", statistics_exact=False)
    (line,) = read.forgotten(engine)
    assert (line.requested_at, line.actor, line.reason, line.statistics_exact) == (AT, "ops", "asked", False)
    deleted = {
        "recommendations": 2, "neighbours": 4, "conditions": 0, "assets' events in SQL": 0, "blind choices": 0,
        "refused images": 0,
    }  # fmt: skip
    assert line.removed == {"preference tables": 3, **deleted}
    assert (line.coefficients_at, line.coefficients_day) == (None, None)
    assert read.forgotten_user_ids(engine) == {"bob"}
    assert read.silent_users(engine) == {line.user_key}
    assert len(ranked_rows(engine)["recommendation"]) == 1
    assert len(ranked_rows(engine)["user_neighbour"]) == 2


def test_a_ledger_s_lines_are_completed_once(engine, people):
    """The first solve fills the open lines; later ones find none and change nothing. The newest line comes first."""
    assert write.complete_forgotten(engine, people, at=AT) == 0
    first, again, other = forget(engine, "bob"), forget(engine, "bob"), forget(engine, "ada")
    assert first < again < other
    assert write.complete_forgotten(engine, people, at=AT) == 3
    later = begin(engine, "night-b", day=date(2026, 3, 2))
    last = forget(engine, "eve")
    noon = AT.replace(hour=12)
    assert (write.complete_forgotten(engine, later, at=noon), write.complete_forgotten(engine, later, at=AT)) == (1, 0)
    assert [(line.forgotten_id, line.coefficients_at, line.coefficients_day) for line in read.forgotten(engine)] == [
        (last, noon, date(2026, 3, 2)), *((each, AT, date(2026, 3, 1)) for each in (other, again, first)),
    ]  # fmt: skip


def test_whom_nobody_knows_is_not_forgotten(engine, people):
    """An unknown user is a NotFoundError and leaves no line."""
    with pytest.raises(NotFoundError, match="no user 'zoe'"):
        forget(engine, "zoe")
    assert read.forgotten(engine) == ()


def test_a_failure_while_forgetting_leaves_everything(engine, people):
    """An error at the ledger's line takes back the mark and the deleted rows."""
    recommend(engine, people)
    before = ranked_rows(engine)

    def fail(_connection, _cursor, statement, *_rest):
        if statement.startswith("INSERT INTO forgotten "):
            raise RuntimeError("power cut")

    event.listen(engine, "after_cursor_execute", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        forget(engine, "bob")
    event.remove(engine, "after_cursor_execute", fail)
    assert (ranked_rows(engine), read.forgotten_user_ids(engine), read.forgotten(engine)) == (before, frozenset(), ())


def test_a_source_does_not_bring_back_who_was_forgotten(engine, stocked):
    """Naming the person again, opted in, changes nothing: no live image, and nobody waits for one."""
    night_id, model, keys = stocked
    promote(engine, model, night_id)
    forget(engine, "ada")
    write.allocate_user_keys(engine, ["ada", "bob"], night_id=night_id, segments=["a", None], opted_out=[False, False])
    write.list_users(engine, ["ada", "bob"])
    assert read.silent_users(engine) == {keys[0]}
    assert {asset.user_id for asset in read.latest_assets(engine) if asset.is_live} == {"bob"}
    assert read.users_without_live(engine) == 0
    with engine.connect() as connection:
        shown = connection.execute(text("SELECT user_id, forgotten, live_asset_id IS NULL FROM v_users ORDER BY 1"))
        assert [tuple(row) for row in shown] == [("ada", True, True), ("bob", False, False)]


def test_analysts_read_ranks_and_the_ledger(engine, url, people):
    """The four views answer through `run_sql`; the ledger names nobody."""
    recommend(engine, people)
    write.replace_item_neighbours(engine, people, ranking(["hat"], ITEMS, [[("cup", 0.25)]]))
    asked = "SELECT item_id, title, rank, day FROM v_recommendations WHERE user_id = 'bob' ORDER BY rank"
    assert run_sql(url, asked, as_owner=True).rows == (("hat", "HAT", 1, "2026-03-01"), ("cup", "CUP", 2, "2026-03-01"))
    asked = "SELECT item_id, neighbour_id, neighbour_title, cosine FROM v_item_neighbours"
    assert run_sql(url, asked, as_owner=True).rows == (("hat", "cup", "CUP", 0.25),)
    forget(engine, "bob")
    ledger = run_sql(url, "SELECT * FROM v_forgotten", as_owner=True)
    assert "bob" not in str(ledger.rows)
    assert "user_id" not in ledger.columns
    assert len(ledger.rows) == 1


# --- blind choices --------------------------------------------------------------------------------------------------


def vote(user_id="ada", **changes):
    """Return a choice of the left picture."""
    facts = ComparisonFacts(
        user_id=user_id, left_generator_digest=1, right_generator_digest=2**62 + 1, operating_point_digest=POINT_DIGEST,
        winner="left", voter="vera", source="terminal",
    )  # fmt: skip
    return replace(facts, **changes)


def test_a_vote_entered_twice_is_one_row(engine, people):
    """Again it writes nothing; another answer of the same voter takes its place, another voter's stands beside it."""
    assert comparisons.record_comparisons(engine, people, [vote(), vote("bob", winner="tie")], at=AT) == 2
    assert comparisons.record_comparisons(engine, people, [vote(source="notebook")], at=AT.replace(hour=12)) == 0
    first = comparisons.comparisons(engine)[0]
    assert (first.user_id, first.winner, first.source, first.at) == ("ada", "left", "terminal", AT)
    assert (first.right_generator_digest, first.left_variant) == (2**62 + 1, 0)
    changed = [vote(winner="right"), vote(voter="wim")]
    assert comparisons.record_comparisons(engine, people, changed, at=AT.replace(hour=12)) == 2
    found = [(row.user_id, row.voter, row.winner) for row in comparisons.comparisons(engine)]
    assert found == [("ada", "vera", "right"), ("bob", "vera", "tie"), ("ada", "wim", "left")]


def test_votes_are_read_by_night_and_by_the_two_models(engine, people):
    """Both sides count, whichever model was left; other models and nights do not."""
    later, other = begin(engine, "night-b"), 2**62 + 1
    turned = vote("bob", left_generator_digest=other, right_generator_digest=1)
    comparisons.record_comparisons(engine, people, [vote(), turned, vote("eve", left_generator_digest=9)], at=AT)
    comparisons.record_comparisons(engine, later, [vote()], at=AT)
    assert [row.user_id for row in comparisons.comparisons(engine, between=(1, other))] == ["ada", "bob", "ada"]
    assert comparisons.comparisons(engine, between=(other, 1)) == comparisons.comparisons(engine, between=(1, other))
    assert len(comparisons.comparisons(engine, night_id=people)) == 3
    assert comparisons.comparisons(engine, between=(1, 3)) == ()


@pytest.mark.parametrize("changes", [{"winner": "both"}, {"source": "guess"}, {"user_id": "zoe"}])
def test_one_bad_vote_refuses_all(engine, people, changes):
    """A winner or source of another name, and an unknown person, leave the table as it was."""
    with pytest.raises((CatalogueError, NotFoundError), match="Nothing was changed"):
        comparisons.record_comparisons(engine, people, [vote("bob"), vote(**changes)], at=AT)
    with pytest.raises(NotFoundError, match="no night 99"):
        comparisons.record_comparisons(engine, 99, [vote()], at=AT)
    assert comparisons.comparisons(engine) == ()


def test_who_is_forgotten_has_no_blind_choice(engine, people):
    """The rows about this person are deleted and counted, other people's stay, and no later vote names the person."""
    comparisons.record_comparisons(engine, people, [vote(), vote(voter="wim"), vote("bob")], at=AT)
    forget(engine, "ada")
    assert read.forgotten(engine)[0].removed["blind choices"] == 2
    assert [row.user_id for row in comparisons.comparisons(engine)] == ["bob"]
    with pytest.raises(NotFoundError, match=r"1 of 1 people .* forgotten, the first 'ada'"):
        comparisons.record_comparisons(engine, people, [vote()], at=AT)


def test_analysts_read_blind_choices(engine, url, people):
    """v_comparisons names the person, the versions where there are any, and which of them was chosen."""
    model = write.register_model(engine, model_facts(people, 3), at=AT)
    digest = read.model_by_id(engine, model).generator_digest
    votes = [vote(right_generator_digest=digest, winner=winner) for winner in ("right", "tie")]
    comparisons.record_comparisons(engine, people, [votes[0], replace(votes[1], user_id="bob")], at=AT)
    asked = "SELECT user_id, left_version, right_version, chosen_version, right_generator, day FROM v_comparisons"
    assert run_sql(url, f"{asked} ORDER BY comparison_id", as_owner=True).rows == (
        ("ada", None, 3, 3, str(digest), "2026-03-01"), ("bob", None, 3, None, str(digest), "2026-03-01"),
    )  # fmt: skip


# --- reads and views ------------------------------------------------------------------------------------------------


def test_assets_page_from_the_newest(engine, stocked):
    """Pages follow each other by the last id, without a gap; one user's assets can be asked for."""
    first = read.latest_assets(engine, limit=3)
    rest = read.latest_assets(engine, limit=3, before_asset_id=first[-1].asset_id)
    ids = [asset.asset_id for asset in (*first, *rest)]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 4
    assert {asset.user_id for asset in read.latest_assets(engine, user_id="ada")} == {"ada"}
    assert read.latest_assets(engine, user_id="nobody") == ()


def test_lineage_names_everything_an_asset_came_from(engine, stocked):
    """One asset tells user, model, runs, seed, operating point, events and where its bytes lie."""
    night_id, model, keys = stocked
    (newest,) = read.latest_assets(engine, limit=1)
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
        return {
            (a.user_id, a.preference_hash, a.variant): (a.is_current, a.is_live) for a in read.latest_assets(engine)
        }

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
    users = run_sql(url, "SELECT user_id, segment, live_path, first_day FROM v_users ORDER BY user_id", as_owner=True)
    assert [row[:2] for row in users.rows] == [("ada", "a"), ("bob", None)]
    assert users.rows[0][2].endswith("-00.png")
    assert users.rows[0][3] == "2026-03-01"
    runs = run_sql(url, "SELECT night_id, n_images, n_quarantined, promoted_version, status FROM v_runs", as_owner=True)
    assert runs.rows == ((night_id, 4, 0, 1, "running"),)
    assets = run_sql(
        url, "SELECT user_id, COUNT(*) FROM v_assets WHERE is_live GROUP BY user_id ORDER BY user_id", as_owner=True
    )
    assert (assets.rows, assets.truncated) == ((("ada", 2), ("bob", 2)), False)
    assert run_sql(url, "SELECT asset_id FROM v_assets", max_rows=3, as_owner=True).truncated


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
        run_sql(url, statement, as_owner=True)
    assert counts(engine)["asset"] == 4


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
    write_night = begin(engine)
    write.allocate_user_keys(engine, ["ada"], night_id=write_night)
    assert upgrade(engine) == head_revision()
    comparisons.record_comparisons(engine, write_night, [vote()], at=AT)
    downgrade(engine, "0002")
    assert upgrade(engine) == head_revision()
    assert comparisons.comparisons(engine) == ()
    assert read.user_key(engine, "ada") == 1


def test_the_error_of_a_broken_write_names_no_password(url, engine):
    """What a refused write says holds neither password nor trace."""
    with pytest.raises(CatalogueError) as caught, transaction(engine) as connection:
        connection.execute(text("INSERT INTO nowhere VALUES (1)"))
    assert "nowhere" in str(caught.value)
    assert "Nothing was changed" in str(caught.value)
