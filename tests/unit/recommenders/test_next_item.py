import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personalgen.errors import ArtifactError, DataError
from personalgen.histories import DAY_SEC, History, HistoryChange
from personalgen.recommenders.low_rank import LowRankNextItem, LowRankOptions
from personalgen.recommenders.next_item import LinearNextItem
from personalgen.recommenders.statistics import NextItemOptions
from personalgen.recommenders.stored import load_recommender, save_recommender

OPTIONS = NextItemOptions(half_life=3.0, window=4, ridge=10.0)
USERS, ITEMS = "abcd", "uvwxyz"
events = st.lists(
    st.tuples(st.sampled_from(USERS), st.integers(0, 6), st.sampled_from(ITEMS), st.sampled_from([1.0, -1.0])),
    max_size=40,
    unique_by=lambda event: event[:3],
)


def told(rows):
    """Return the history of (user, hour, item, weight); users and items are those that occur."""
    users, items = (tuple(sorted({row[k] for row in rows})) for k in (0, 2))
    rows = sorted((users.index(user), hour * 3600, items.index(item), weight) for user, hour, item, weight in rows)
    user, time, item, weight = np.array(rows).reshape(-1, 4).T
    whole = (column.astype(np.int64) for column in (user, item, time))
    return History(users, items, *whole, weight.astype(np.float32))


@given(before=events, now=events)
@settings(deadline=None)
def test_following_a_change_is_the_fit_to_the_bit(before, now):
    """Whatever came, was late, was corrected or is gone, people and items too."""
    before, now = told(before), told(now)
    followed = LinearNextItem(OPTIONS).fit(before).follow(HistoryChange.between(before, now))
    fitted = LinearNextItem(OPTIONS).fit(now)
    assert followed.item_ids == now.item_ids
    sums = followed.statistics.sums()
    assert all(np.array_equal(sums[name], value) for name, value in fitted.statistics.sums().items())


def walk(n_users=300, n_items=40, seed=0):
    """Return people who go through the items in steps."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(n_users), 12)
    item = (np.repeat(rng.integers(0, n_items, n_users), 12) + rng.integers(1, 4, len(user)).cumsum()) % n_items
    ones = np.ones(len(user), dtype=np.float32)
    ids = tuple(f"u{k:03d}" for k in range(n_users)), tuple(f"i{k:03d}" for k in range(n_items))
    return History(*ids, user, item, np.tile(np.arange(12), n_users) * DAY_SEC, ones)


def test_the_main_directions_are_the_eigenvectors():
    """Found by products with thin matrices: the plane that the dense decomposition gives."""
    model = LinearNextItem(OPTIONS, dim=8).fit(walk())
    decayed, last = model.coefficients()
    products, mixed = (matrix.astype(np.float64) for matrix in model.statistics.products())
    rows = np.block([[products, mixed.T], [mixed, np.diag(model.statistics.last.astype(float))]])
    both = np.vstack([decayed, last]).astype(np.float64)
    values, vectors = np.linalg.eigh(both.T @ rows @ both)
    directions = model.item_vectors().astype(np.float64)
    assert np.allclose(directions.T @ directions, np.eye(8), atol=1e-4)
    kept = np.trace(directions.T @ (both.T @ rows @ both) @ directions)
    assert kept == pytest.approx(values[-8:].sum(), rel=0.01)
    assert abs(vectors[:, -1] @ directions[:, 0]) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "model",
    [
        LinearNextItem(OPTIONS, dim=8),
        LinearNextItem(NextItemOptions(two_scales=False), dim=8),
        LowRankNextItem(LowRankOptions(rank=16)),
    ],
    ids=["two scales", "one scale", "low rank"],
)
def test_a_stored_model_answers_as_before(model, tmp_path):
    """Scores and vectors are the same to the bit."""
    history = walk()
    save_recommender(tmp_path / "model", model.fit(history))
    loaded = load_recommender(tmp_path / "model")
    assert (loaded.item_ids, loaded.options) == (model.item_ids, model.options)
    assert np.array_equal(loaded.scores(history), model.scores(history))
    assert np.array_equal(loaded.user_vectors(history), model.user_vectors(history))
    assert np.array_equal(loaded.item_vectors(), model.item_vectors())


def test_a_stored_model_goes_on(tmp_path):
    """What is added after loading gives what a fit on everything gives, and the files stay as they were."""
    before = walk(seed=1)
    now = before.where(np.ones(len(before.item_index), dtype=np.bool_))
    earlier = before.where(before.timestamp < 8 * DAY_SEC)
    folder = save_recommender(tmp_path / "model", LinearNextItem(OPTIONS).fit(earlier))
    loaded = load_recommender(folder).follow(HistoryChange.between(earlier, now))
    fitted = LinearNextItem(OPTIONS).fit(now)
    assert np.array_equal(loaded.statistics.decayed, fitted.statistics.decayed)
    assert np.allclose(loaded.scores(now), fitted.scores(now), atol=1e-6)
    again = load_recommender(folder).statistics.decayed
    assert np.array_equal(again, LinearNextItem(OPTIONS).fit(earlier).statistics.decayed)


def test_a_model_of_another_version_is_refused(tmp_path):
    """The message says which format was found."""
    folder = save_recommender(tmp_path / "model", LinearNextItem(OPTIONS).fit(walk()))
    card = folder / "recommender.json"
    card.write_text(card.read_text().replace('"format": 1', '"format": 7').replace('"format":1', '"format":7'))
    with pytest.raises(ArtifactError, match="format 7"):
        load_recommender(folder)


def test_a_catalogue_that_outgrew_the_sums_is_refused():
    """Before anything is subtracted."""
    few = NextItemOptions(most_items=40)
    before = walk()
    model = LinearNextItem(few).fit(before)
    sums = model.statistics.decayed.copy()
    with pytest.raises(DataError, match="LowRankNextItem"):
        model.follow(HistoryChange.between(before, walk(n_items=41)))
    assert np.array_equal(model.statistics.decayed, sums)
