import numpy as np
import pytest

from personalgen.tables.interactions import RatingStats, first_occurrences


def stats(*ratings):
    """Return the statistics of one user's ratings, as float32 sums."""
    values = np.array(ratings, dtype=np.float32).astype(np.float64)
    return RatingStats.of(np.array([len(values)]), np.array([values.sum()]), np.array([(values**2).sum()]))


def weights(*ratings):
    user = np.zeros(len(ratings), dtype=np.int64)
    return stats(*ratings).weights(user, np.array(ratings, dtype=np.float32)).tolist()


def test_a_rating_below_the_users_own_mean_is_a_dislike():
    """Weights follow 0.5 + 0.5 min(1, |z|), negative below the mean; z is the distance in standard deviations."""
    assert weights(1, 3, 5) == pytest.approx([-1, 0.5, 1])
    z = 0.5 / np.std([3, 4, 4, 3])
    assert weights(3, 4, 4, 3) == pytest.approx([-(0.5 + 0.5 * z), 0.5 + 0.5 * z] * 2, abs=1e-6) or z == 1


def test_a_small_spread_counts_as_half_a_point():
    """Someone whose ratings hardly differ is not read as loving and hating."""
    assert weights(4.0, 4.1) == pytest.approx([-0.55, 0.55], abs=1e-6)


@pytest.mark.parametrize("rating", [3.3, 0.1, 4.7, 1e6 / 3, -2.2])
@pytest.mark.parametrize("count", [1, 3, 7, 1000])
def test_someone_who_always_gives_the_same_dislikes_nothing(rating, count):
    """Rounding of the mean must not push equal ratings below it."""
    assert weights(*[rating] * count) == [0.5] * count


def test_weights_are_never_zero_and_at_most_one():
    """Any ratings give weights with 0.5 <= |w| <= 1."""
    ratings = np.random.default_rng(0).normal(0, 50, 500)
    sizes = np.abs(weights(*ratings))
    assert (sizes.min(), sizes.max()) >= (0.5, 0.5)
    assert sizes.max() <= 1


def test_the_first_of_equal_keys_is_kept():
    """Repeats are found wherever they stand."""
    keys = np.array([[5, 1], [4, 1], [5, 1], [5, 2], [4, 1], [5, 1]], dtype=np.uint64)
    assert first_occurrences(keys).tolist() == [True, True, False, True, False, False]


def test_keys_may_be_sorted_in_parts(monkeypatch):
    """Parts give what one sort gives."""
    rng = np.random.default_rng(0)
    keys = np.stack([rng.integers(0, 40, 3000) << 32 | rng.integers(0, 5, 3000), rng.integers(0, 5, 3000)], axis=1)
    keys = keys.astype(np.uint64)
    expected = np.zeros(3000, dtype=bool)
    expected[np.unique(keys, axis=0, return_index=True)[1]] = True
    assert (first_occurrences(keys) == expected).all()
    monkeypatch.setattr("personalgen.tables.interactions._KEYS_AT_A_TIME", 100)
    assert (first_occurrences(keys) == expected).all()


def test_no_keys_have_no_firsts():
    """An empty table has no duplicates."""
    assert first_occurrences(np.empty((0, 2), np.uint64)).shape == (0,)
