import dataclasses

import numpy as np
import pytest

from personalgen.embeddings import embed_users, fit_basis, variants_before_events, vectors_before_events
from personalgen.embeddings.history import raw_user_vectors
from personalgen.embeddings.priors import Groups, with_segments

ALL = np.ones(12, dtype=bool)
COLUMNS = slice(0, 8)


def groups_of(values, weights):
    """Return groups of (n_groups, n, dim) values with (n_groups, n) weights."""
    totals = weights.sum(1)
    means = (weights[..., None] * values).sum(1) / totals[:, None]
    squares = (weights[..., None] * values**2).sum(1)
    return Groups(means.astype(np.float32), squares, totals, totals**2 / (weights**2).sum(1))


def drawn(between, within, *, n_groups=3000, seed=0):
    """Return groups of 2 to 20 decayed observations whose true ratio of variances is within / between."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(2, 21, n_groups)
    weights = np.where(np.arange(20) < counts[:, None], 2.0 ** (-np.arange(20) / 6), 0)
    taste = 5 + np.sqrt(between) * rng.normal(size=(n_groups, 1, 8))
    return groups_of(taste + np.sqrt(within) * rng.normal(size=(n_groups, 20, 8)), weights)


@pytest.mark.parametrize(("between", "within"), [(1.0, 0.5), (1.0, 4.0), (0.1, 3.0)])
def test_the_ratio_of_variances_is_found(between, within):
    """Of planted tastes and decayed events to 10 %: over 24,000 numbers its standard error is below 3 %."""
    assert drawn(between, within).pseudo_count(COLUMNS) == pytest.approx(within / between, rel=0.1)


def test_the_estimated_number_is_the_best_one():
    """No other number of pseudo-events brings means of equal weights nearer to the planted tastes."""
    rng = np.random.default_rng(0)
    taste = rng.normal(size=(4000, 1, 4))
    values = taste + 2 * rng.normal(size=(4000, 3, 4))
    groups = groups_of(values, np.ones((4000, 3)))
    found = groups.pseudo_count(slice(0, 4))
    error = {k: np.mean((3 * groups.means / (3 + k) - taste[:, 0]) ** 2) for k in (found / 2, found, 2 * found)}
    assert min(error, key=error.get) == found


def test_people_who_do_not_differ_are_the_population():
    """Pure scatter, a group alone, and groups of one observation: ten thousand pseudo-events."""
    same = groups_of(
        np.tile(np.array([[[1.0]], [[-1.0]]]), (1, 4, 8)) * np.array([1, -1, 1, -1])[:, None], np.ones((2, 4))
    )
    alone = groups_of(np.random.default_rng(0).normal(size=(1, 5, 8)), np.ones((1, 5)))
    single = groups_of(np.random.default_rng(0).normal(size=(50, 1, 8)), np.ones((50, 1)))
    assert [groups.pseudo_count(COLUMNS) for groups in (same, alone, single)] == [1e4] * 3


def test_people_are_summed_by_segment():
    """Means, squares and counts by hand."""
    groups = Groups.of_people(np.array([[1.0], [3.0], [5.0]], dtype=np.float32), np.array([1, 0, 1]))
    assert groups.means.tolist() == [[3], [3]]
    assert groups.squares.tolist() == [[9], [26]]
    assert groups.totals.tolist() == groups.effective.tolist() == [1, 2]


def test_a_small_segment_stays_near_the_population(basis):
    """With one person in it its mean moves less of the way than with a hundred."""
    rng = np.random.default_rng(0)
    names = ["large"] * 100 + ["small"] + [f"s{k}" for k in range(20) for _ in range(10)] + [None] * 5
    of_segment = {name: rng.normal(size=6) for name in names}
    vectors = np.stack([of_segment[name] + rng.normal(size=6) for name in names]).astype(np.float32)
    fitted = with_segments(basis, vectors, names)
    assert fitted.segments == ("large", *sorted(f"s{k}" for k in range(20)), "small")
    place = [fitted.segments.index(name) for name in ("large", "small")]
    moved = np.linalg.norm(fitted.segment_means[place] - basis.center, axis=1)
    own = [np.linalg.norm(vectors[[n == name for n in names]].mean(0) - basis.center) for name in ("large", "small")]
    assert moved[0] / own[0] > 0.95
    assert moved[1] / own[1] < 0.75


def test_nobody_of_a_segment_is_no_segment(basis):
    """The basis stays as it is."""
    assert with_segments(basis, np.ones((2, 6), dtype=np.float32), [None, ""]) is basis


@pytest.fixture(scope="module")
def segmented(past):
    """Return the past with a segment for each camp, but for six people."""
    return dataclasses.replace(past, segments=tuple(["even", "odd"][k % 2] if k < 24 else None for k in range(30)))


@pytest.fixture(scope="module")
def fitted(segmented, features, options):
    """Return a basis with both priors."""
    return fit_basis(
        segmented, features, ALL, dataclasses.replace(options, estimate_shrinkage=True, segment_prior=True)
    )


def test_both_priors_are_fitted_with_the_basis(fitted, basis):
    """Camps differ, so that the prior is worth little of an event in factors, which know nothing but the camp."""
    assert fitted.segments == ("even", "odd")
    assert (fitted.pseudo_events > 0).all()
    assert fitted.pseudo_events[1] < 0.2
    assert np.array_equal(fitted.center, basis.center)


def test_someone_new_is_like_the_segment(fitted, segmented, features, make_history):
    """Without an event the vector is nearer to those of the own camp; without a segment it is zero."""
    table = embed_users(segmented, fitted, features)
    nobody = dataclasses.replace(make_history([], 4), segments=("even", "odd", None, "other"))
    found = embed_users(nobody, fitted, features).vectors
    camps = table.vectors[:24].reshape(12, 2, 6).mean(0)
    assert (found[:2] @ camps.T).argmax(1).tolist() == [0, 1]
    assert found[2:] == pytest.approx(np.zeros((2, 6)), abs=1e-5)


def test_settings_that_are_off_change_nothing(segmented, past, features, options, basis):
    """A users table with segments gives the same basis and vectors as one without."""
    again = fit_basis(segmented, features, ALL, options)
    assert again.version == basis.version
    assert np.array_equal(embed_users(segmented, again, features).vectors, embed_users(past, basis, features).vectors)


def test_the_population_is_standardised_around_its_priors(fitted, segmented, features):
    """Each half of the vectors that fitted it spreads by about 1 a column."""
    table = embed_users(segmented, fitted, features)
    for half in (slice(0, 4), slice(4, 6)):
        assert table.vectors[:, half].std(0).mean() == pytest.approx(1, rel=1e-3)
    items = fitted.item_vectors(features, segmented.item_ids)
    raw = raw_user_vectors(segmented, items, fitted.options, prior=fitted.priors_of(segmented))
    assert np.allclose(table.vectors, fitted.standardise(raw), atol=1e-6)


def test_point_in_time_rows_have_tonights_priors(fitted, features, make_history):
    """Row k, of a variant too, is tonight's vector of the history cut before event k, segment by segment."""
    rng = np.random.default_rng(3)
    columns = rng.integers(0, 4, 80), rng.integers(0, 12, 80), rng.integers(0, 15, 80), rng.choice([1.0, 2.0, -1.0], 80)
    history = make_history([*zip(*(column.tolist() for column in columns), strict=True)], 4)
    history = dataclasses.replace(history, segments=("even", "odd", None, "new"))
    counts = np.diff(history.bounds)
    kept = np.concatenate([np.random.default_rng([5, user]).random((n, 2)) for user, n in enumerate(counts)]).T < 0.5
    rows = [
        vectors_before_events(history, fitted, features),
        *variants_before_events(history, fitted, features, count=2, seed=5),
    ]
    for found, mask in zip(rows, [np.ones(80, dtype=bool), *kept], strict=True):
        for k, (user, now) in enumerate(zip(history.user_index, history.timestamp, strict=True)):
            known = history.where(mask & (history.timestamp < now))
            assert found[k] == pytest.approx(embed_users(known, fitted, features).vectors[user], abs=1e-4)
