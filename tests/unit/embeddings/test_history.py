import dataclasses

import numpy as np
import pytest

from personalgen.embeddings import embed_users, fit_basis, vectors_before_events
from personalgen.embeddings.history import decayed_weights, raw_user_vectors

ALL = np.ones(12, dtype=bool)


def test_a_weight_halves_per_half_life_before_the_users_own_newest_event(make_history):
    """The anchor is each user's last event, be it a dislike, and never tonight."""
    history = make_history([(0, 0, 1, 1.0), (0, 1, 11, 2.0), (0, 2, 21, -1.0), (1, 0, 500, 1.0)], n_users=2)
    assert decayed_weights(history, 10.0) == pytest.approx([0.25, 1.0, -1.0, 1.0])


def test_raw_vectors_are_the_formula(make_history, options):
    """Two likes, one of them a half-life old, one dislike: the shrunk mean less a part of the dislikes, by hand."""
    items = np.eye(12, 6, dtype=np.float32)
    prior = np.full(6, 0.5, dtype=np.float32)
    history = make_history([(0, 0, 0, 1.0), (0, 1, 10, 1.0), (0, 2, 10, -1.0)], n_users=1)
    raw = raw_user_vectors(history, items, options, prior=(prior[None], np.full(6, 1.0)))[0]
    expected = (np.array([0.5, 1, 0, 0, 0, 0]) + prior) / 2.5 - 0.3 * np.array([0, 0, 1, 0, 0, 0]) / 2
    assert raw == pytest.approx(expected, abs=1e-6)


def test_without_a_prior_likes_are_averaged_as_they_are(make_history, options):
    """One like is its item's vector; nobody is shrunk."""
    items = np.eye(12, 6, dtype=np.float32)
    raw = raw_user_vectors(make_history([(0, 3, 5, 1.0)], n_users=1), items, options, prior=None)[0]
    assert raw == pytest.approx(items[3])


def test_likes_pull_towards_the_item_more_the_more_there_are(basis, make_history, features):
    """Five likes stand 5/6 of the way from the crowd to the item, one like half of it."""
    few, many = (embed_users(make_history([(0, 0, 1, 1.0)] * k), basis, features).vectors[0] for k in (1, 5))
    item = basis.standardise(basis.item_vectors(features[:1], ("i00",)))[0]
    assert few == pytest.approx(item / 2, abs=1e-5)
    assert many == pytest.approx(item * 5 / 6, abs=1e-5)


def test_a_dislike_pushes_away(basis, make_history, features):
    """Adding a dislike at the time of the last event lowers the product with that item and leaves others' vectors."""
    likes = [(0, 0, 1, 1.0), (0, 1, 2, 1.0), (1, 7, 1, 1.0)]
    item = basis.item_vectors(features, tuple(f"i{k:02d}" for k in range(12)))[8] / basis.scale
    before = embed_users(make_history(likes), basis, features).vectors
    after = embed_users(make_history([*likes, (0, 8, 2, -1.0)]), basis, features).vectors
    assert after[0] @ item < before[0] @ item - 0.05
    assert np.array_equal(after[1:], before[1:])


def test_a_user_without_events_is_the_population(basis, make_history, features):
    """The zero vector, no events, no top events."""
    table = embed_users(make_history([(0, 0, 1, 1.0)]), basis, features)
    assert table.vectors[1:] == pytest.approx(np.zeros((29, 6)), abs=1e-5)
    assert table.n_events.tolist() == [1] + [0] * 29
    assert table.top_events[1:] == ((),) * 29


@pytest.mark.parametrize("shrinkage", [0.0, 1.0])
def test_nobody_is_undefined_whatever_the_shrinkage(basis, make_history, features, shrinkage):
    """Also without shrinkage every row is finite and agrees with the point-in-time row, likes or none."""
    basis = dataclasses.replace(basis, options=dataclasses.replace(basis.options, shrinkage=shrinkage))
    history = make_history([(0, 0, 1, -1.0), (0, 1, 2, 1.0), (1, 2, 1, 1.0)], n_users=3)
    before = vectors_before_events(history, basis, features)
    assert np.isfinite(before).all()
    nobody, disliked_one = embed_users(make_history([(1, 0, 1, -1.0)], n_users=2), basis, features).vectors
    assert before == pytest.approx(np.stack([nobody, disliked_one, nobody]), abs=1e-5)


def test_the_population_is_standardised(basis, past, features):
    """Over the users that fitted it, raw vectors have mean `center`; each half spreads by about 1 a column."""
    table = embed_users(past, basis, features)
    raw = table.vectors * basis.scale + basis.center
    unshrunk = raw_user_vectors(past, basis.item_vectors(features, past.item_ids), basis.options, prior=None)
    assert unshrunk.mean(0) == pytest.approx(basis.center, abs=1e-5)
    for half in (slice(0, 4), slice(4, 6)):
        assert table.vectors[:, half].std(0).mean() == pytest.approx(1, rel=1e-3)
    items, prior = basis.item_vectors(features, past.item_ids), basis.priors_of(past)
    assert raw == pytest.approx(raw_user_vectors(past, items, basis.options, prior=prior), abs=1e-5)


def test_camps_are_apart(basis, past, features):
    """Users of a camp are nearer to each other than to the other camp."""
    vectors = embed_users(past, basis, features).vectors
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert (unit[::2] @ unit[::2].T).mean() > 0.5
    assert (unit[::2] @ unit[1::2].T).mean() < -0.5


def test_the_basis_is_fitted_on_the_fit_items_only(past, features, options):
    """Neither the features of other items nor any event on them can reach a basis."""
    fit_items = np.arange(12) % 3 > 0
    basis = fit_basis(past, features, fit_items, options)
    other = features.copy()
    other[~fit_items] = np.random.default_rng(5).normal(size=other[~fit_items].shape)
    assert fit_basis(past, other, fit_items, options).version == basis.version
    on_fit_items = past.where(fit_items[past.item_index])
    assert fit_basis(on_fit_items, features, fit_items, options).version == basis.version
    assert {int(item_id[1:]) % 3 for item_id in basis.item_ids} <= {1, 2}
    moved = features.copy()
    moved[1] += 1
    assert fit_basis(past, moved, fit_items, options).version != basis.version


def test_the_basis_is_fitted_on_the_given_events_only(past, features, options):
    """Leaving out events changes it, so that the caller decides what it may know; dislikes do not count."""
    version = fit_basis(past, features, ALL, options).version
    early = past.where(past.timestamp < np.median(past.timestamp))
    assert fit_basis(early, features, ALL, options).version != version
    with_dislike = dataclasses.replace(past, weight=np.where(np.arange(len(past.weight)) == 3, -1, past.weight))
    without = past.where(np.arange(len(past.weight)) != 3)
    assert fit_basis(with_dislike, features, ALL, options).version == fit_basis(without, features, ALL, options).version


def test_top_events_are_shares_of_the_total_largest_first(basis, make_history, features):
    """Old events weigh less, a dislike is negative, shares of all events add up to 1 in absolute value."""
    table = embed_users(
        make_history([(0, 0, 0, 1.0), (0, 1, 10, 1.0), (0, 2, 20, -1.0), (1, 5, 0, 1.0)]), basis, features
    )
    assert [event["item_id"] for event in table.top_events[0]] == ["i02", "i01", "i00"]
    assert [event["weight"] for event in table.top_events[0]] == pytest.approx([-4 / 7, 2 / 7, 1 / 7], abs=1e-3)
    assert [event["timestamp"] for event in table.top_events[0]] == [20 * 86_400, 10 * 86_400, 0]
    assert table.top_events[1] == ({"item_id": "i05", "timestamp": 0, "weight": 1.0},)


def test_only_so_many_top_events_are_kept(basis, make_history, features):
    """The three largest of five; their shares count the events that are not shown."""
    table = embed_users(make_history([(0, k, 10 * k, 1.0) for k in range(5)]), basis, features)
    assert [event["item_id"] for event in table.top_events[0]] == ["i04", "i03", "i02"]
    assert sum(event["weight"] for event in table.top_events[0]) == pytest.approx(28 / 31, abs=1e-3)


def test_where_keeps_users_and_items(past):
    """Masking events leaves the ids, so that index arrays still point to the same names."""
    part = past.where(past.user_index == 3)
    assert (part.user_ids, part.item_ids) == (past.user_ids, past.item_ids)
    assert len(part.weight) == 5
    assert set(part.user_index) == {3}


def test_vectors_before_events_of_nobody_is_empty(basis, make_history, features):
    """No event, no row."""
    assert vectors_before_events(make_history([]), basis, features).shape == (0, 6)
