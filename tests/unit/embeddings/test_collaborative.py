import dataclasses

import numpy as np
import pytest

from personalgen.embeddings import collaborative, embed_users, fit_basis
from personalgen.embeddings.collaborative import collaborative_known
from personalgen.embeddings.known import Moments
from personalgen.errors import ConfigError
from personalgen.recommenders import NextItemOptions
from personalgen.recommenders.low_rank import LowRankNextItem, LowRankOptions
from personalgen.recommenders.next_item import LinearNextItem

ALL = np.ones(12, dtype=bool)
RECOMMENDER = NextItemOptions(half_life=2.0, window=4, ridge=1.0)


@pytest.fixture(scope="module")
def walkers(make_history):
    """Return 40 people who like the twelve items in a circle, from anywhere on, one a day."""
    starts = np.random.default_rng(0).integers(0, 12, 40)
    return make_history([(user, int((s + k) % 12), k, 1.0) for user, s in enumerate(starts) for k in range(6)], 40)


@pytest.fixture(scope="module")
def frozen(walkers, features, options):
    """Return a basis with maps of 7 columns, fitted on the walkers."""
    return fit_basis(walkers, features, ALL, dataclasses.replace(options, next_item_dim=7), next_item=RECOMMENDER)


def known(history, basis, features, moments=None):
    """Return the vectors of a history's users, or of some moments."""
    moments = moments or Moments.of_users(history, np.zeros(len(history.user_ids)))
    items = basis.item_vectors(features, history.item_ids)
    return collaborative_known(history, basis, items, moments.start, moments.stop)


def raw(found, basis):
    """Return vectors before they are standardised."""
    return found.values * basis.maps.scale + basis.maps.center


def test_it_is_the_next_item_models_vector(walkers, frozen, features):
    """Of everybody who was there when the basis was fitted, to rounding."""
    model = LinearNextItem(RECOMMENDER, dim=7).fit(walkers)
    assert np.allclose(raw(known(walkers, frozen, features), frozen), model.user_vectors(walkers), atol=1e-5)


def test_one_scale_has_no_row_of_the_last_like(walkers, features, options):
    """The vector is that of the model of decayed likes alone."""
    one = dataclasses.replace(RECOMMENDER, two_scales=False)
    basis = fit_basis(walkers, features, ALL, options, next_item=one)
    model = LinearNextItem(one).fit(walkers)
    assert not basis.maps.of_items[:, 64:].any()
    assert np.allclose(raw(known(walkers, basis, features), basis), model.user_vectors(walkers), atol=1e-5)


def test_a_large_catalogue_has_the_model_of_low_rank(walkers, features, options):
    """With all columns its vectors have the products of that model's, of fewer the largest part of them."""
    large = dataclasses.replace(RECOMMENDER, most_items=11)
    expected = LowRankNextItem(LowRankOptions(half_life=2.0, window=4)).fit(walkers).user_vectors(walkers)
    found = {}
    for dim in (64, 4):
        basis = fit_basis(walkers, features, ALL, dataclasses.replace(options, next_item_dim=dim), next_item=large)
        found[dim] = raw(known(walkers, basis, features), basis)
    assert np.allclose(found[64] @ found[64].T, expected @ expected.T, atol=1e-4)
    assert (found[4] ** 2).sum() > 0.4 * (expected**2).sum()


def test_people_who_fitted_it_have_unit_variance(walkers, frozen, features):
    """Zero mean in every column, and variance 1 over the columns."""
    values = known(walkers, frozen, features).values
    assert values.mean(0) == pytest.approx(np.zeros(7), abs=1e-4)
    assert values.var(0).mean() == pytest.approx(1, rel=1e-3)


def test_an_unchanged_user_keeps_every_bit(walkers, frozen, features, make_history):
    """Whatever others do later, and whichever items are new: the same bits."""
    columns = walkers.user_index, walkers.item_index, walkers.timestamp // 86_400, walkers.weight
    events = [*zip(*(column.tolist() for column in columns), strict=True), *((3, k, 90, 1.0) for k in range(5))]
    later = make_history([(user, item + (item > 4), day, weight) for user, item, day, weight in events], 40, 13)
    later = dataclasses.replace(later, item_ids=(*walkers.item_ids[:5], "i04b", *walkers.item_ids[5:]))
    tonight, before = known(later, frozen, np.insert(features, 5, 1, axis=0)), known(walkers, frozen, features)
    same = np.arange(40) != 3
    assert np.array_equal(tonight.values[same], before.values[same])
    assert not np.array_equal(tonight.values[3], before.values[3])


def test_a_moment_is_a_history_cut_there(frozen, features, make_history):
    """Dislikes and ties included: the vector before an event is that of whoever has nothing else."""
    rng = np.random.default_rng(0)
    events = [
        (int(u), int(i), int(d), w)
        for u, i, d, w in zip(
            rng.integers(0, 4, 60),
            rng.integers(0, 12, 60),
            rng.integers(0, 9, 60),
            rng.choice([1.0, 0.5, -1.0], 60),
            strict=True,
        )
    ]
    history = make_history(events, 4)
    found = known(history, frozen, features, Moments.before_events(history, np.arange(60)))
    for k, (user, now) in enumerate(zip(history.user_index, history.timestamp, strict=True)):
        alone = known(history.where(history.timestamp < now), frozen, features)
        assert np.array_equal(found.values[k], alone.values[user])
        assert found.mask[k] == alone.mask[user]


def test_moments_are_asked_about_in_parts(walkers, frozen, features, monkeypatch):
    """However many at once, the same bits."""
    whole = known(walkers, frozen, features).values
    monkeypatch.setattr(collaborative, "_CHUNK", 7)
    assert np.array_equal(known(walkers, frozen, features).values, whole)


def test_whoever_liked_nothing_has_none(frozen, features, make_history):
    """Absent without an event and after a dislike alone."""
    found = known(make_history([(0, 1, 1, -1.0), (1, 2, 1, 1.0)], 3), frozen, features)
    assert found.mask.tolist() == [False, True, False]
    assert not found.values[[0, 2]].any()


def test_a_new_item_says_what_its_content_says(past, features, options, make_history):
    """With a picture like those of a camp it points where they do, and away from the other camp."""
    basis = fit_basis(past, features, ALL, options, next_item=RECOMMENDER)
    one_each = make_history([(k, k, 1, 1.0) for k in range(12)], 12)
    camps = known(one_each, basis, features).values
    own = np.arange(12) < 6
    new = dataclasses.replace(one_each, item_ids=tuple(f"new{k}" for k in range(12)))
    found = known(new, basis, features).values
    similar = found @ (camps[own].mean(0) - camps[~own].mean(0))
    assert similar[own].mean() > 0 > similar[~own].mean()


def test_a_basis_without_maps_is_a_clear_error(past, basis, features):
    """The message says what to do, and that nothing was done."""
    with pytest.raises(ConfigError, match=r"'collaborative'.* has no maps.*condition\.fields.*Nothing was embedded"):
        embed_users(past, basis, features, {"collaborative": 1})


def test_a_basis_that_has_learned_nothing_says_nothing(features, options, make_history):
    """Likes that nobody followed by another: all vectors are zero, and finite."""
    history = make_history([(user, user % 4, 1, 1.0) for user in range(30)])
    basis = fit_basis(history, features, ALL, options, next_item=RECOMMENDER)
    assert not known(history, basis, features).values.any()
