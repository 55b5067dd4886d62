import numpy as np
import pytest

from personalgen.embeddings.expected import Foresight
from personalgen.embeddings.known import Moments
from personalgen.recommenders import NextItemOptions
from personalgen.recommenders.low_rank import LowRankNextItem

OPTIONS = NextItemOptions(half_life=2.0, window=4, ridge=1.0)


@pytest.fixture
def items(basis, features, past):
    """Return the vectors of the items."""
    return basis.item_vectors(features, past.item_ids)


@pytest.fixture
def walkers(make_history):
    """Return 40 people who like the twelve items in a circle, from anywhere on, one a day."""
    starts = np.random.default_rng(0).integers(0, 12, 40)
    events = [(user, int((start + k) % 12), k, 1.0) for user, start in enumerate(starts) for k in range(6)]
    return make_history(events, n_users=40), starts


def expected(foresight, history, basis, items, moments):
    return foresight.expected(history, basis, items, moments.start, moments.stop)


def test_what_comes_next_is_expected(walkers, basis, items):
    """In the circle the vector is nearest to the next item's, hardly to that of the newest."""
    history, starts = walkers
    found = expected(Foresight.of(history, OPTIONS), history, basis, items, Moments.of_users(history, np.zeros(40)))
    distance = np.linalg.norm(found.values[:, None] - basis.standardise(items), axis=2)
    assert found.mask.all()
    assert (distance.argmin(1) == (starts + 6) % 12).mean() > 0.8


def test_a_large_catalogue_is_foretold_in_low_rank(walkers, basis, items):
    """Above `most_items` the model of low rank stands in, and finds the circle as well."""
    history, starts = walkers
    foresight = Foresight.of(history, NextItemOptions(half_life=2.0, window=4, most_items=11))
    found = expected(foresight, history, basis, items, Moments.of_users(history, np.zeros(40)))
    distance = np.linalg.norm(found.values[:, None] - basis.standardise(items), axis=2)
    assert isinstance(foresight.fitted(0), LowRankNextItem)
    assert (distance.argmin(1) == (starts + 6) % 12).mean() > 0.8


def test_nobody_is_foretold_by_a_recommender_that_has_learnt_from_them(walkers, make_history, basis, items):
    """Whatever one person does later, what was expected of that person before is the same to the bit."""
    history, _ = walkers
    later = [(0, 3, 50 + k, 1.0) for k in range(30)]
    columns = history.user_index, history.item_index, history.timestamp // 86_400, history.weight
    changed = make_history([*zip(*(column.tolist() for column in columns), strict=True), *later], n_users=40)
    before = [
        expected(Foresight.of_others(own, OPTIONS), own, basis, items, Moments.before_events(own, np.arange(6)))
        for own in (history, changed)
    ]
    assert np.array_equal(before[0].values, before[1].values)
    leaky = [
        expected(Foresight.of(own, OPTIONS), own, basis, items, Moments.before_events(own, np.arange(6)))
        for own in (history, changed)
    ]
    assert not np.array_equal(leaky[0].values, leaky[1].values)


def test_whoever_liked_nothing_is_expected_nothing_of(make_history, walkers, basis, items):
    """Absent before the first like, also after a dislike."""
    history, _ = walkers
    foresight = Foresight.of(history, OPTIONS)
    own = make_history([(0, 1, 1, -1.0), (1, 2, 1, 1.0)], n_users=3)
    found = expected(foresight, own, basis, items, Moments.of_users(own, np.zeros(3)))
    assert found.mask.tolist() == [False, True, False]
    assert not found.values[[0, 2]].any()
    nothing = make_history([], n_users=2)
    assert not expected(foresight, nothing, basis, items, Moments.of_users(nothing, np.zeros(2))).mask.any()


def test_nothing_foretold_is_nothing_expected(make_history, walkers, basis, items):
    """A like that nobody followed by another tells nothing: absent, and not the mean of whatever stands first."""
    history, _ = walkers
    alone = history.where(history.item_index != 11)
    own = make_history([(0, 11, 1, 1.0)], n_users=1)
    found = expected(Foresight.of(alone, OPTIONS), own, basis, items, Moments.of_users(own, np.zeros(1)))
    assert not found.mask.any()
    assert not found.values.any()


def test_the_same_at_a_moment_and_alone(walkers, make_history, basis, items):
    """What is expected before an event is what is expected of a history that ends there."""
    history, starts = walkers
    foresight = Foresight.of(history, OPTIONS)
    fourth = expected(foresight, history, basis, items, Moments.before_events(history, np.array([3])))
    alone = make_history([(0, int((starts[0] + k) % 12), k, 1.0) for k in range(3)], n_users=1)
    whole = expected(foresight, alone, basis, items, Moments.of_users(alone, np.zeros(1)))
    assert np.allclose(fourth.values, whole.values, atol=1e-5)
