"""Shards, their assets and who is pointed at them, on either database."""

from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import event, select, text

from personalgen.catalogue import planning, read, schema, shards
from personalgen.catalogue.facts import (
    Pointer,
)
from personalgen.errors import CatalogueError
from tests.integration.catalogue.small import (
    counts,
    digest_of,
    packed_rows,
    rows_of,
    shard_facts,
    vector,
)


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


def test_a_shard_whose_images_were_all_refused_is_catalogued(engine, stocked):
    """It has no asset and moves nobody; the same shard again changes no row."""
    night_id, model, keys = stocked
    before, none = counts(engine), packed_rows([])
    for _ in range(2):
        result = shards.commit_shard(engine, shard_facts(night_id, model, "000001"), none)
        assert (result.n_new, result.n_existing) == (0, 0)
        assert counts(engine) == before | {"shard": 2}
    current = planning.current_conditions(engine, digest_of(1))
    assert current.user_keys.tolist() == sorted(keys.tolist())


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
    point = {"operating_point_digest": 77, "count": 2}
    asked = planning.further_variants(engine, digest_of(1), np.array([two, 999, one]), **point)
    assert asked.tolist() == [[True, False], [False, False], [True, True]]
    assert not planning.further_variants(engine, digest_of(1), keys, operating_point_digest=78, count=2).any()
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
        Pointer(int(key), int(asset_id), vector(1), ((1, second[int(key)]),))
        for key, asset_id in zip(old.user_keys, old.asset_ids, strict=True)
    ]
    shards.point_current(engine, generator_digest=digest_of(1), night_id=night_id, pointers=back)
    assert further(engine) == before
    wrong = back[0]._replace(variants=((1, int(back[0].asset_id)),))
    with pytest.raises(CatalogueError, match=r"1 of 2 assets.*as variant 1 of user key"):
        shards.point_current(engine, generator_digest=digest_of(1), night_id=night_id, pointers=[wrong])
    assert further(engine) == before


def test_whose_first_image_was_refused_keeps_all_that_they_had(engine, stocked):
    """A further image alone moves nothing, whether the user had images before or not; a refused one is not there."""
    night_id, model, keys = stocked
    before = further(engine)
    rows = list(rows_of(keys[:1], taste=2, variants=2))
    shards.commit_shard(engine, shard_facts(night_id, model, "000001"), packed_rows(rows[1:]))
    assert further(engine) == before
    rows = list(rows_of(keys[:1], taste=3, variants=2))
    shards.commit_shard(engine, shard_facts(night_id, model, "000002"), packed_rows(rows[:1]))
    assert [user for user, _, _ in further(engine)[0]] == [int(keys[1])]
