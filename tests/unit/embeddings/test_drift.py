import dataclasses
import math

import numpy as np
import pytest

from personalgen.conditions import ConditionSpec, FieldSpec
from personalgen.embeddings import FieldRows, PreferenceTable
from personalgen.embeddings.drift import Drift, DriftOptions, as_it_was, held_at, measure_drift
from personalgen.embeddings.preference import events_to_json
from personalgen.errors import OptionsError

N_USERS = 200


def table(vectors, user_ids=None, fields=None):
    """Return a table of these vectors."""
    n_users = len(vectors)
    user_ids = user_ids or tuple(f"u{k:03d}" for k in range(n_users))
    events = tuple(events_to_json([{"item_id": "x", "timestamp": k, "weight": 1.0}]) for k in range(n_users))
    counts = np.arange(1, n_users + 1, dtype=np.int32)
    return PreferenceTable(user_ids, vectors.astype(np.float32), counts, events, "basis", fields or {})


@pytest.fixture
def before():
    """Return last night's table."""
    return table(np.random.default_rng(0).normal(size=(N_USERS, 8)))


def moved(before, share, seed=1):
    """Return a table in which the vectors of a share of the people are others."""
    rng = np.random.default_rng(seed)
    vectors = before.vectors.copy()
    vectors[: int(share * N_USERS)] = rng.normal(size=(int(share * N_USERS), 8))
    return table(vectors)


def test_the_same_vectors_have_not_moved(before):
    """A cosine and a ratio of 1, and no reason."""
    drift = measure_drift(before, before, before.user_ids)
    assert (drift.cosine, drift.norm_ratio, drift.n_unchanged) == (pytest.approx(1), pytest.approx(1), N_USERS)
    assert math.isnan(drift.ndcg_share)
    assert drift.reasons(DriftOptions()) == ()
    assert set(drift.metrics()) == {"cosine", "norm_ratio", "n_unchanged"}


def test_who_did_something_new_may_move(before):
    """Only users of whom nothing new is known are compared."""
    tonight = moved(before, 0.5)
    active = set(before.user_ids[: N_USERS // 2])
    assert measure_drift(before, tonight, set(before.user_ids) - active).cosine == pytest.approx(1)
    assert measure_drift(before, tonight, before.user_ids).cosine < 0


def test_a_hundredth_may_be_moved_and_no_more(before):
    """One of two hundred does not decide, six do."""
    assert measure_drift(before, moved(before, 0.005), before.user_ids).reasons(DriftOptions()) == ()
    (reason,) = measure_drift(before, moved(before, 0.03), before.user_ids).reasons(DriftOptions())
    assert "below drift.min_cosine = 0.999" in reason


@pytest.mark.parametrize(("factor", "falls"), [(1.4, False), (1.6, True), (0.7, False), (0.6, True)])
def test_lengths_may_change_within_a_factor(before, factor, falls):
    """Either way."""
    reasons = measure_drift(before, table(before.vectors * factor), ()).reasons(DriftOptions())
    assert bool(reasons) == falls


@pytest.mark.parametrize(("share", "falls"), [(math.nan, False), (0.6, False), (0.4, True)])
def test_a_recommender_far_below_popularity_is_a_reason(before, share, falls):
    """Where it is known."""
    drift = measure_drift(before, before, (), ndcg_share=share)
    assert bool(drift.reasons(DriftOptions())) == falls


def test_too_few_people_tell_nothing(before):
    """Nineteen unchanged ones have no cosine, nineteen common ones no ratio."""
    other = moved(before, 1.0)
    assert math.isnan(measure_drift(before, other, before.user_ids[:19]).cosine)
    few = before.rows(np.arange(19))
    assert math.isnan(measure_drift(few, other, ()).norm_ratio)
    assert measure_drift(few, other, few.user_ids).reasons(DriftOptions()) == ()
    assert Drift(math.nan, math.nan, math.nan, 0).reasons(DriftOptions()) == ()


def test_last_night_s_rows_are_taken_on():
    """By id, whatever the order and whoever left; a newcomer is nobody yet."""
    fields = {"interests": FieldRows(np.ones((3, 2, 5), dtype=np.float32), np.ones((3, 2), dtype=bool))}
    before = table(np.eye(3, 4), ("a", "b", "d"), fields)
    more = {"interests": FieldRows(np.full((3, 2, 5), 9, dtype=np.float32), np.ones((3, 2), dtype=bool))}
    tonight = table(np.full((3, 4), 7.0), ("b", "c", "d"), more)
    held = held_at(before, dataclasses.replace(tonight, n_events=np.array([2, 5, 3], dtype=np.int32)))
    assert held.user_ids == ("b", "c", "d")
    assert held.vectors.tolist() == [[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]]
    assert held.n_events.tolist() == [2, 0, 3]
    assert held.top_events[1] == ()
    assert held.top_events[2] == before.top_events[2]
    assert held.fields["interests"].mask.tolist() == [[True, True], [False, False], [True, True]]
    assert held.fields["interests"].values[1].sum() == 0


def test_bounds_that_nothing_meets_are_refused():
    """All in one message."""
    with pytest.raises(OptionsError, match=r"max_norm_ratio must be at least 1.*min_cosine must be in \[0, 1\]"):
        DriftOptions(min_cosine=1.5, max_norm_ratio=0.5)


def test_what_was_withdrawn_does_not_come_back():
    """Who has fewer events than last night stands by tonight's row, also of a field."""
    fields = {"dislikes": FieldRows(np.ones((2, 4), dtype=np.float32), np.ones(2, dtype=bool))}
    none = {"dislikes": FieldRows(np.zeros((2, 4), dtype=np.float32), np.zeros(2, dtype=bool))}
    before = dataclasses.replace(table(np.eye(2, 4), ("a", "b"), fields), n_events=np.array([9, 9], dtype=np.int32))
    tonight = dataclasses.replace(table(np.full((2, 4), 7.0), ("a", "b"), none), n_events=np.array([9, 0], np.int32))
    held = held_at(before, tonight)
    assert held.vectors.tolist() == [[1, 0, 0, 0], [7, 7, 7, 7]]
    assert held.n_events.tolist() == [9, 0]
    assert held.fields["dislikes"].mask.tolist() == [True, False]
    assert held.top_events[1] == tonight.top_events[1]


def test_a_newcomer_s_confidence_says_that_nothing_is_known():
    """As in training it is never absent."""
    one = {"confidence": FieldRows(np.ones((1, 4), dtype=np.float32), np.ones(1, dtype=bool))}
    two = {"confidence": FieldRows(np.ones((2, 4), dtype=np.float32), np.ones(2, dtype=bool))}
    held = held_at(table(np.eye(1, 4), ("a",), one), table(np.eye(2, 4), ("a", "b"), two))
    assert held.fields["confidence"].mask.tolist() == [True, True]
    assert held.fields["confidence"].values[1].tolist() == [0, 0, 0, 0]


def test_what_is_the_same_to_rounding_is_as_it_was():
    """To the bit, also where the tables hold other people; who moved in any field stands as computed."""
    vectors, dislikes = np.full((4, 8), 0.3, np.float32), np.full((4, 2), 0.5, np.float32)
    present, later = np.ones(4, dtype=np.bool_), vectors + np.float32(2e-7)
    then = table(vectors, ("a", "b", "c", "d"), {"dislikes": FieldRows(dislikes, present)})
    others = dislikes.copy()
    others[2, 1] = 0.6
    later[1, 0] = 0.4
    computed = table(later, ("a", "b", "d", "e"), {"dislikes": FieldRows(others, present)})
    spec = ConditionSpec((FieldSpec("preference", "vector", 8), FieldSpec("dislikes", "vector", 2)))
    found = as_it_was(then, computed, spec)
    assert found.user_ids == computed.user_ids
    assert [bool((row == vectors[0]).all()) for row in found.vectors] == [True, False, False, False]
    assert (found.vectors[1:] == later[1:]).all()
    assert (found.fields["dislikes"].values == others).all()
