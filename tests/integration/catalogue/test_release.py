"""What is planned from and what is live, on either database."""

import numpy as np
import pytest

from personalgen.catalogue import planning, read, release
from personalgen.errors import NotFoundError
from tests.integration.catalogue.small import (
    AT,
    POINT,
    POINT_DIGEST,
    counts,
    digest_of,
    promote,
    register,
)


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
