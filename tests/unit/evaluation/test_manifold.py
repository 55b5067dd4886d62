import functools

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from personalgen.errors import DataError
from personalgen.evaluation import manifold as by_direction
from personalgen.evaluation import manifold_with_control as with_control_by_direction
from personalgen.evaluation import nearest
from personalgen.evaluation.manifold import manifold_rows
from personalgen.evaluation.nearest import neighbour_radii

manifold = functools.partial(by_direction, unit=False)
manifold_with_control = functools.partial(with_control_by_direction, unit=False)


def _rows(n, d=6, *, seed, shift=0.0, scale=1.0):
    return scale * np.random.default_rng(seed).normal(size=(n, d)) + shift


def _values(measured):
    return tuple(getattr(measured, name).value for name in ("precision", "recall", "density", "coverage"))


def _by_loops(real, fake, k):
    """The four figures as the papers write them, ball by ball, with another library's radii."""

    def radii(rows):
        return NearestNeighbors(n_neighbors=k + 1).fit(rows).kneighbors(rows)[0][:, -1]

    def inside(point, centres, reach):
        return [np.linalg.norm(point - centre) <= r for centre, r in zip(centres, reach, strict=True)]

    real_reach, fake_reach = radii(real), radii(fake)
    in_real = np.array([inside(point, real, real_reach) for point in fake])
    in_fake = np.array([inside(point, fake, fake_reach) for point in real])
    return in_real.any(1).mean(), in_fake.any(1).mean(), in_real.sum() / (k * len(fake)), in_real.any(0).mean()


@pytest.mark.parametrize("k", [1, 3, 5])
def test_figures_equal_the_double_loop(k):
    """Precision, recall, density and coverage equal the formulas taken ball by ball."""
    real, fake = _rows(60, seed=0), _rows(45, seed=1, shift=0.4)
    assert _values(manifold(real, fake, k=k)) == pytest.approx(_by_loops(real, fake, k))


def test_tiles_change_nothing(monkeypatch):
    """Distances taken in tiles of 7 rows give the same figures and intervals."""
    real, fake, groups = _rows(40, seed=0), _rows(30, seed=1), np.repeat(np.arange(10), 3)
    whole = manifold(real, fake, groups=groups)
    monkeypatch.setattr(nearest, "_TILE_ROWS", 7)
    assert manifold(real, fake, groups=groups) == whole


def test_a_set_covers_itself():
    """Of a set against itself all shares are 1, and density is (k + 1) / k: each ball holds k and its centre."""
    rows = _rows(80, seed=0)
    assert _values(manifold(rows, rows.copy(), k=5)) == pytest.approx((1, 1, 6 / 5, 1))


def test_far_sets_share_nothing():
    """Of two sets that lie far apart every figure is zero."""
    assert _values(manifold(_rows(40, seed=0), _rows(40, seed=1, shift=50))) == (0, 0, 0, 0)


def test_one_picture_for_all_loses_recall_and_coverage():
    """One real-looking picture given to everybody is precise, and shows next to nothing of what is real."""
    real = _rows(200, seed=0)
    precision, recall, _, coverage = _values(manifold(real, np.repeat(real[:1] * 0.1, 100, axis=0)))
    assert precision == 1
    assert recall == 0
    assert coverage < 0.3


def test_noise_loses_precision():
    """Rows that are spread far wider than real ones lie in nobody's ball, while their own balls hold what is real."""
    precision, recall, density, coverage = _values(manifold(_rows(200, seed=0), _rows(200, seed=1, scale=6)))
    assert precision < 0.05
    assert density < 0.05
    assert coverage < 0.05
    assert recall > 0.5


def test_short_rows_that_point_elsewhere_are_not_precise():
    """Noise whose features are short is near to everything by distance, and by direction, the default, to nothing."""
    real, other = _rows(300, d=20, seed=0, shift=1), _rows(200, d=20, seed=1, shift=1)
    noise = 0.1 * _rows(200, d=20, seed=2)
    assert manifold(real, noise).precision.value > 0.9
    assert by_direction(real, noise).precision.value < 0.1
    measured = with_control_by_direction(real, other, noise)
    assert measured.generated.precision.value < 0.1
    assert measured.real.precision.value > 0.8


def test_copies_within_a_user_do_not_shrink_the_user_s_balls():
    """Six nearly equal pictures a user have next to no recall by picture, and that of one picture a user by user."""
    real, centres, users = _rows(300, seed=0), _rows(100, seed=1), np.repeat(np.arange(100), 6)
    fake = np.repeat(centres, 6, axis=0) + _rows(600, seed=2, scale=1e-4)
    assert manifold(real, fake).recall.value < 0.02
    by_user = manifold(real, fake, groups=users, k=6)
    assert by_user.recall.value == pytest.approx(manifold(real, centres, k=1).recall.value, abs=0.02)


def test_users_have_their_own_precision():
    """A user with noise has precision 0 beside users with 1, and the mean over equal users is the figure."""
    real, fake = _rows(200, seed=0), 0.1 * _rows(40, seed=1)
    fake[:4] = 100.0
    measured = manifold(real, fake, groups=np.repeat(np.arange(10), 4))
    assert measured.user_precision == (0.0, *[1.0] * 9)
    assert np.mean(measured.user_density) == pytest.approx(measured.density.value)


def test_leaving_a_user_out_takes_what_nobody_else_reaches():
    """Recall and coverage without a user, as the jackknife takes them, are those of the others with the same balls."""
    real, fake, users = _rows(60, seed=0), _rows(27, seed=1, shift=0.3), np.repeat(np.arange(9), 3)
    radii = neighbour_radii(real, k=5)
    rows = manifold_rows(real, radii, fake, groups=users)
    for user in range(9):
        kept = manifold_rows(real, radii, fake[users != user], groups=users[users != user])
        assert kept.covers.any(axis=0).mean() == np.delete(rows.covers, user, axis=0).any(axis=0).mean()
        assert (kept.balls == rows.balls[users != user]).all()


def test_intervals_cover_what_other_users_would_give():
    """Of 60 draws of 100 users with 3 pictures each, at least 52 intervals of each figure hold the mean of them all.

    With coverage 0.95 fewer have odds of 1 in 100; the seeds are fixed.
    """
    real, draws = _rows(300, seed=0), []
    for seed in range(60):
        centres = _rows(100, seed=100 + seed, shift=0.5)
        fake = np.repeat(centres, 3, axis=0) + _rows(300, seed=500 + seed, scale=0.3)
        draws.append(manifold(real, fake, groups=np.repeat(np.arange(100), 3)))
    for name in ("precision", "recall", "density", "coverage"):
        intervals = [getattr(draw, name) for draw in draws]
        truth = np.mean([interval.value for interval in intervals])
        assert sum(interval.low <= truth <= interval.high for interval in intervals) >= 52, name


def test_the_control_has_as_many_rows_and_a_perfect_generator_is_at_it():
    """Real rows in the generated ones' place are counted on equally many; pictures of that crowd come out alike."""
    real, other, fake = _rows(300, seed=0), _rows(120, seed=1), _rows(400, seed=2)
    measured = manifold_with_control(real, other, fake, groups=np.repeat(np.arange(100), 4))
    assert measured.generated.n_rows == measured.real.n_rows == 120
    assert _values(measured.generated) == pytest.approx(_values(measured.real), abs=0.12)
    assert len(measured.generated.user_precision) == 100


def test_the_same_seed_gives_the_same_result():
    """Figures are a function of the rows and the seed; another seed draws other rows for recall."""
    sets = _rows(200, seed=0), _rows(60, seed=1), _rows(150, seed=2)
    first, again, other = (manifold_with_control(*sets, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert other.generated.precision == first.generated.precision
    assert other.generated.recall != first.generated.recall


def test_too_few_users_and_wrong_groups_are_refused():
    """Fewer than 8 users, and groups that do not fit the rows, are named."""
    with pytest.raises(DataError, match="at least 8 users"):
        manifold(_rows(40, seed=0), _rows(40, seed=1), groups=np.arange(40) % 7)
    with pytest.raises(DataError, match="one user for each of 40"):
        manifold(_rows(40, seed=0), _rows(40, seed=1), groups=np.arange(39))
