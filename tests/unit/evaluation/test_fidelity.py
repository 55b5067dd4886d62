import itertools

import numpy as np
import pytest
import scipy.linalg
import torch

from personalgen.errors import DataError
from personalgen.evaluation import fidelity
from personalgen.evaluation.fidelity import frechet_distance, frechet_with_floor, kid, kid_estimate, kid_floor


def _rows(n, d=6, *, seed, shift=0.0):
    return np.random.default_rng(seed).normal(size=(n, d)) + shift


def _kid_by_loops(real, fake, groups=None):
    """KID as the paper writes it, pair by pair; pairs of one group are left out."""

    def kernel(x, y):
        return (x @ y / len(x) + 1) ** 3

    def within(rows, users):
        pairs = [(i, j) for i, j in itertools.permutations(range(len(rows)), 2) if users[i] != users[j]]
        return np.mean([kernel(rows[i], rows[j]) for i, j in pairs])

    across = np.mean([[kernel(x, y) for y in fake] for x in real])
    users = np.arange(len(fake)) if groups is None else groups
    return within(real, np.arange(len(real))) + within(fake, users) - 2 * across


def test_kid_equals_the_double_loop():
    """Without groups the estimate equals the formula summed pair by pair."""
    real, fake = _rows(9, seed=0), _rows(16, seed=1, shift=0.5)
    assert kid_estimate(real, fake).value == pytest.approx(_kid_by_loops(real, fake), rel=1e-9)


def test_kid_by_user_equals_the_double_loop():
    """With users of unequal size the estimate, and each value with one unit left out, equals the double loop's."""
    real, fake, groups = (
        _rows(9, seed=0),
        _rows(20, seed=1, shift=0.5),
        np.repeat(np.arange(8), [2, 2, 2, 2, 3, 1, 4, 4]),
    )
    estimate = kid_estimate(real, fake, groups=groups)
    assert estimate.value == pytest.approx(_kid_by_loops(real, fake, groups), rel=1e-9)
    for i in range(9):
        assert estimate.without_real[i] == pytest.approx(_kid_by_loops(np.delete(real, i, 0), fake, groups), rel=1e-9)
    for g in range(8):
        kept = groups != g
        assert estimate.without_group[g] == pytest.approx(_kid_by_loops(real, fake[kept], groups[kept]), rel=1e-9)


def test_kid_equals_torchmetrics():
    """On equal sizes the estimate equals torchmetrics' polynomial MMD."""
    from torchmetrics.image.kid import poly_mmd

    real, fake = _rows(50, seed=0), _rows(50, seed=1, shift=0.3)
    theirs = poly_mmd(torch.from_numpy(real), torch.from_numpy(fake))
    assert kid(real, fake).value == pytest.approx(float(theirs), rel=1e-9)


def test_chunks_change_nothing(monkeypatch):
    """Kernel matrices taken in blocks of rows give the same sums."""
    real, fake = _rows(20, seed=0), _rows(30, seed=1)
    groups = np.random.default_rng(2).integers(0, 10, 30)
    whole = kid(real, fake, groups=groups)
    monkeypatch.setattr(fidelity, "_CHUNK_ROWS", 7)
    parts = kid(real, fake, groups=groups)
    assert (parts.value, parts.low, parts.high) == pytest.approx((whole.value, whole.low, whole.high))


def test_kid_of_one_distribution_is_zero_on_average_and_covered():
    """Real against real: unbiased, and the 95 % interval holds zero in at least 92 of 100 draws.

    With true coverage 0.95 or more, a false alarm has odds below 1 in 15 for a random seed; seeds are fixed.
    """
    draws = [kid_floor(_rows(40, seed=2 * k), _rows(40, seed=2 * k + 1)) for k in range(100)]
    values = np.array([draw.value for draw in draws])
    assert abs(values.mean()) < 3 * values.std() / 10
    assert sum(draw.low <= 0 <= draw.high for draw in draws) >= 92


def test_pictures_of_one_user_may_be_alike():
    """Four nearly equal pictures a user from the right crowd: by user KID is zero and covered, by picture it is not.

    By user at least 55 of 60 intervals hold zero (odds of fewer 1 in 10 at coverage 0.95); the seeds are fixed.
    """

    def fakes(seed):
        own = np.repeat(_rows(25, seed=seed), 4, axis=0)
        return own + np.random.default_rng([seed, 1]).normal(scale=1e-3, size=own.shape)

    def draws(groups):
        return [kid(_rows(60, seed=900 + k), fakes(k), groups=groups) for k in range(60)]

    by_user, by_picture = draws(np.repeat(np.arange(25), 4)), draws(None)
    assert sum(draw.low <= 0 <= draw.high for draw in by_user) >= 55
    assert sum(draw.low <= 0 <= draw.high for draw in by_picture) < 50
    values = np.array([draw.value for draw in by_user])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(60)


def test_interval_covers_a_true_difference():
    """Where the crowds differ, at least 53 of 60 intervals by user hold the KID of very many rows."""
    truth = kid(_rows(4000, seed=0), _rows(4000, seed=1, shift=0.5)).value
    groups = np.repeat(np.arange(40), 2)
    draws = [kid(_rows(100, seed=900 + k), _rows(80, seed=k, shift=0.5), groups=groups) for k in range(60)]
    assert sum(draw.low <= truth <= draw.high for draw in draws) >= 53


@pytest.mark.parametrize("fault", ["noise", "one_image", "shifted", "half_the_modes"])
def test_kid_catches_bad_generators(fault):
    """Noise, one image for all, a shifted crowd and lost modes are all far above the real-vs-real floor."""
    rng = np.random.default_rng(0)
    real, other = (rng.normal(size=(200, 8)) + 3 * rng.integers(0, 2, (200, 1)) for _ in range(2))
    fakes = {
        "noise": rng.normal(scale=4.0, size=(200, 8)),
        "one_image": np.repeat(other[:1], 200, axis=0),
        "shifted": other + 1.0,
        "half_the_modes": rng.normal(size=(200, 8)),
    }
    assert kid(real, fakes[fault]).low > kid_floor(real, other).high


@pytest.mark.parametrize(
    ("real", "fake", "groups", "message"),
    [
        (_rows(4, seed=0), _rows(20, seed=1), None, "at least 8 real rows"),
        (_rows(20, seed=0), _rows(20, seed=1), np.zeros(20, int), "8 users"),
        (_rows(20, seed=0), _rows(20, d=5, seed=1), None, "one width"),
        (_rows(20, seed=0), _rows(20, seed=1), np.arange(19), "19 groups for 20"),
    ],
)
def test_kid_refuses_what_it_cannot_measure(real, fake, groups, message):
    """Too few rows or users, other widths and a wrong number of groups are named."""
    with pytest.raises(DataError, match=message):
        kid(real, fake, groups=groups)


def test_frechet_equals_the_matrix_root():
    """The distance equals the formula with the matrix square root of the product of covariances."""
    a, b = _rows(200, seed=0), _rows(150, seed=1, shift=0.4) * np.arange(1, 7)
    root = scipy.linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_frechet_holds_where_rows_are_fewer_than_columns():
    """With singular covariances the distance of a set to itself is zero, and to a shifted copy the shift squared."""
    a = _rows(20, d=50, seed=0)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(a, a + 2.0) == pytest.approx(50 * 4.0)


def test_frechet_floor_has_the_same_size():
    """The floor is taken on as many rows as the distance, so a perfect generator stands at its floor."""
    measured = frechet_with_floor(_rows(300, seed=0), _rows(100, seed=1), _rows(400, seed=2))
    assert measured.n_rows == 100
    assert measured.value == pytest.approx(measured.floor, rel=0.5)
    assert frechet_with_floor(_rows(300, seed=0), _rows(100, seed=1), _rows(400, seed=2, shift=1.0)).value > 5
