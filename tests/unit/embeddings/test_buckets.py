"""What an affinity state knows of people gives the preferences that their whole histories give."""

import dataclasses
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from personalgen.affinity import AffinityOptions, AffinityState
from personalgen.embeddings import Foresight, PreferenceTable, embed_users, fit_basis
from personalgen.embeddings.buckets import embed_rows, recent_history
from personalgen.embeddings.fields import KNOWN_EVENTS
from personalgen.embeddings.rated import RatedPictures
from personalgen.histories import HistoryChange
from personalgen.recommenders import NextItemOptions

DAY = 86_400
NOW = 400 * DAY
ASKED = {
    "behaviour": 7,
    "collaborative": 1,
    "confidence": 1,
    "current": 1,
    "dislikes": 1,
    "expected": 1,
    "interests": 3,
}


@pytest.fixture(scope="module")
def history(make_history):
    """Return people with many events, some with more than are kept one by one, a year old or of today; two without."""
    rng = np.random.default_rng(3)
    rows = []
    for user in range(28):
        count = int(rng.choice([1, 3, 40, KNOWN_EVENTS + 60]))
        days = np.sort(rng.choice(2000, count, replace=False)) / 10 + (200 if user % 2 else 0)
        rows += [(user, int(rng.integers(12)), float(day), float(rng.choice([1, 2, -1]))) for day in days]
    return dataclasses.replace(
        make_history(rows), segments=tuple([None, "one", "other"][user % 3] for user in range(30))
    )


@pytest.fixture(scope="module")
def basis(history, features, options):
    """Return a basis with maps, estimated pseudo-events and a prior for each segment."""
    options = dataclasses.replace(options, estimate_shrinkage=True, segment_prior=True)
    everything = np.ones(len(history.item_ids), dtype=bool)
    return fit_basis(history, features, everything, options, next_item=NextItemOptions())


def batches(history, chosen):
    """Return the chosen events as the state takes them."""
    ids = np.array(history.user_ids)[history.user_index[chosen]], np.array(history.item_ids)[history.item_index[chosen]]
    columns = {"user_id": ids[0], "item_id": ids[1], "timestamp": history.timestamp[chosen]}
    return pa.table(columns | {"weight": history.weight[chosen]}).to_batches()


def from_state(state, history, basis, features, rated=None):
    """Return the table of all buckets."""
    items, item_ids = basis.item_vectors(features, history.item_ids), state.known_items()
    item_of_key = np.array([history.item_ids.index(item_id) for item_id in item_ids])
    recommender = Foresight.of(history, NextItemOptions()).fitted(0)
    tables = []
    for rows in state.rows():
        segments = dict(zip(history.user_ids, history.segments, strict=True))
        recent = recent_history(rows, item_of_key, history.item_ids, landmark=state.landmark, segment_of=segments)
        foresight = Foresight.by(recommender, len(rows.users))
        tables.append(
            embed_rows(
                rows, recent, basis, items, item_of_key, ASKED, now=NOW, landmark=state.landmark,
                foresight=foresight, rated=rated,
            )
        )  # fmt: skip
    return PreferenceTable.joined(tables)


def assert_same(found, expected):
    """Fail where a vector, a field, a count or a provenance differs by more than rounding."""
    assert found.user_ids == expected.user_ids
    assert np.array_equal(found.n_events, expected.n_events)
    assert np.allclose(found.vectors, expected.vectors, atol=1e-5)
    assert found.fields.keys() == expected.fields.keys()
    for name, rows in expected.fields.items():
        assert np.array_equal(found.fields[name].mask, rows.mask), name
        assert np.allclose(found.fields[name].values, rows.values, atol=2e-5), name
    for one, other in zip(found.top_events, expected.top_events, strict=True):
        assert [e["weight"] for e in one] == pytest.approx([e["weight"] for e in other], abs=1e-4)
        assert {e["timestamp"] for e in one} == {e["timestamp"] for e in other}


@pytest.mark.parametrize("nights", [1, 3])
def test_a_state_says_what_histories_say(history, basis, features, tmp_path, nights):
    """Every field of every user, whether the state came about at once or night by night."""
    options = AffinityOptions(half_life_days=10.0, n_recent=KNOWN_EVENTS, n_buckets=4)
    ends = [int((240 + 50 * night) * DAY) for night in range(nights - 1)] + [NOW]
    before, state = history.where(np.zeros(len(history.weight), dtype=bool)), None
    for night, end in enumerate(ends):
        now = history.where(history.timestamp < end)
        new, as_of = HistoryChange.between(before, now).is_new, datetime.fromtimestamp(end, UTC)
        if state is None:
            state = AffinityState.build(tmp_path / "state", batches(now, new), as_of=as_of, options=options)
        else:
            state = state.add(batches(now, new), as_of=as_of, night=str(night))
        before = now
    now = np.full(len(history.user_ids), NOW)
    foresight = Foresight.of(history, NextItemOptions())
    table = embed_users(history, basis, features, ASKED, now=now, foresight=foresight)
    known = np.flatnonzero(table.n_events)
    assert_same(from_state(state, history, basis, features), table.rows(known))
    rated = ratings_of(history, basis, features)
    table = embed_users(history, basis, features, ASKED, now=now, foresight=foresight, rated=rated)
    assert_same(from_state(state, history, basis, features, rated), table.rows(known))


def ratings_of(history, basis, features):
    """Return a rating of each third person, some long before and some after their newest events."""
    raters = np.unique(history.user_index)[::3]
    days = np.linspace(1, 395, len(raters)).astype(np.int64)
    vectors = basis.item_vectors(features, history.item_ids)[raters % len(history.item_ids)]
    weight = np.where(raters % 2, 0.8, -0.6)
    return RatedPictures(tuple(history.user_ids[k] for k in raters), raters + 50, days * DAY, weight, vectors)
