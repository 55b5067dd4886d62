import itertools

import numpy as np
import pytest
from scipy.sparse import csr_array

from personalgen.errors import DataError
from personalgen.evaluation.diversity import between_difference, diversity, diversity_difference, pair_distances

N_USERS, WIDTH = 60, 10


def _pictures(k, *, between=1.0, within=1.0, n_users=N_USERS, seed=0):
    """Features of users' pictures with known variance between and within users, in each of 10 columns."""
    rng = np.random.default_rng(seed)
    centres = np.sqrt(between) * rng.normal(size=(n_users, 1, WIDTH))
    return 3 + centres + np.sqrt(within) * rng.normal(size=(n_users, k, WIDTH))


def _likes(features):
    """The same pictures as items with a like each."""
    n_users, k = features.shape[:2]
    users = np.repeat(np.arange(n_users), k)
    return features.reshape(n_users * k, -1), csr_array((np.full(n_users * k, 2.0), (users, np.arange(n_users * k))))


def _measured(features, real, **options):
    return diversity(features, *_likes(real), **options)


def test_distances_equal_the_double_loop():
    """Mean distances within and between users equal those taken pair by pair, users having unequally many pictures."""
    rng = np.random.default_rng(0)
    rows, users = rng.normal(size=(12, 5)), np.array([0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3])
    found = pair_distances(rows, csr_array((np.ones(12), (users, np.arange(12)))))
    for u, v in itertools.product(range(4), repeat=2):
        pairs = [(i, j) for i in np.flatnonzero(users == u) for j in np.flatnonzero(users == v) if i != j]
        assert found[u, v] == pytest.approx(np.mean([np.square(rows[i] - rows[j]).sum() for i, j in pairs]))


def test_planted_variances_are_found():
    """Intra is twice the variance within users, inter twice both, the share that of the variance between users."""
    found = _measured(_pictures(6, between=3, n_users=400), _pictures(6, n_users=400, seed=1))
    assert found.generated.intra.value == pytest.approx(2 * WIDTH, rel=0.05)
    assert found.generated.inter.value == pytest.approx(2 * WIDTH * 4, rel=0.05)
    assert found.generated.between_share.value == pytest.approx(0.75, abs=0.03)
    assert found.intra_ratio.value == pytest.approx(1, abs=0.05)
    assert found.inter_ratio.value == pytest.approx(2, rel=0.1)


def test_one_image_for_all_has_no_diversity():
    """One picture for everybody gives zero within and between users, and zero over what is real."""
    one = np.broadcast_to(_pictures(1)[:1], (N_USERS, 4, WIDTH))
    found = _measured(one, _pictures(4, seed=1))
    assert found.generated.intra.value == pytest.approx(0, abs=1e-12)
    assert found.generated.inter.value == pytest.approx(0, abs=1e-12)
    assert found.inter_ratio.high == pytest.approx(0, abs=1e-12)


def test_copies_for_each_user_have_no_diversity_within_users():
    """A picture copied for each user gives zero intra, keeps inter, and all of the difference lies between users."""
    copies = np.repeat(_pictures(1), 4, axis=1)
    found = _measured(copies, _pictures(4, seed=1))
    assert found.intra_ratio.value == pytest.approx(0, abs=1e-12)
    assert found.inter_ratio.value == pytest.approx(1, abs=0.2)
    assert found.generated.between_share.value == pytest.approx(1)


def test_the_number_of_pictures_does_not_matter():
    """Over 40 draws, means with 2, 3 and 12 pictures a user agree within three of their standard errors."""
    draws = [[_measured(_pictures(k, seed=99 * s + k), _pictures(2)).generated for s in range(40)] for k in (2, 3, 12)]
    for name in ("intra", "inter"):
        values = np.array([[getattr(spread, name).value for spread in row] for row in draws])
        error = np.hypot(values[0].std(), values[2].std()) / np.sqrt(40)
        assert np.ptp(values.mean(axis=1)) < 3 * error


def test_pictures_given_to_anybody_are_not_personal():
    """Where the same pictures are dealt out at random, no share of the differences lies between users."""
    features = _pictures(6, between=5)
    dealt = np.random.default_rng(0).permutation(features.reshape(-1, WIDTH)).reshape(features.shape)
    share = _measured(dealt, features).generated.between_share
    assert share.low < 0 < share.high
    assert _measured(features, features).generated.between_share.low > 0.7


def test_intervals_cover_the_truth():
    """At least 52 of 60 intervals of the ratio within users hold 1 where users differ in diversity (odds 1 in 100)."""

    def uneven(seed):
        scale = np.random.default_rng(seed).uniform(0.5, 2, size=(N_USERS, 1, 1))
        return scale * _pictures(3, between=0, seed=seed)

    draws = [_measured(uneven(k), uneven(1000 + k), n_resamples=300).intra_ratio for k in range(60)]
    assert sum(draw.low <= 1 <= draw.high for draw in draws) >= 52


def test_users_with_one_like_are_left_out_of_both_sides():
    """Only users with two likes count, and their positions are told."""
    features, (items, likes) = _pictures(3), _likes(_pictures(2, seed=1))
    likes = likes.tolil()
    likes[5, 10] = 0
    found = diversity(features, items, csr_array(likes))
    assert found.users == tuple(k for k in range(N_USERS) if k != 5)
    assert len(found.generated.per_user) == len(found.real.per_user) == N_USERS - 1
    assert np.mean(found.generated.per_user) == pytest.approx(found.generated.intra.value)


def test_no_real_difference_gives_no_ratio():
    """Where all real likes are one picture there is nothing to divide by."""
    found = _measured(_pictures(2), np.ones((N_USERS, 2, WIDTH)))
    assert found.intra_ratio is None
    assert found.inter_ratio is None


def test_the_same_seed_gives_the_same_result():
    """Figures are a function of the inputs and the seed; another seed moves the intervals only."""
    first, again, other = (_measured(_pictures(3), _pictures(3, seed=1), seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert other.intra_ratio != first.intra_ratio
    assert other.intra_ratio.value == first.intra_ratio.value


@pytest.mark.parametrize(
    ("features", "real", "message"),
    [
        (_pictures(1), _pictures(2), "2 or more pictures a user"),
        (_pictures(2), _pictures(1), "at least 8 users"),
        (_pictures(2), _pictures(2, n_users=59), "likes of these users"),
        (_pictures(2)[..., :9], _pictures(2), "width 9"),
    ],
)
def test_what_cannot_be_measured_is_refused(features, real, message):
    """One picture a user, users without two likes, other users and other widths are named."""
    with pytest.raises(DataError, match=message):
        _measured(features, real)


def test_a_single_picture_has_no_distance_to_itself():
    """With one picture a user the diagonal is zero, and the rest are the distances of the pictures."""
    rows = np.array([[0.0], [3.0]])
    found = pair_distances(rows, csr_array((np.ones(2), ([0, 1], [0, 1]))))
    assert found == pytest.approx(np.array([[0.0, 9.0], [9.0, 0.0]]))


def test_the_difference_between_users_is_the_same_from_one_function():
    """With enough pictures and likes both functions say the same, to the bit."""
    one, other, real = (_pictures(4, between=size, seed=k) for k, size in enumerate((0.3, 0.6, 1.0)))
    assert between_difference(one, other, *_likes(real)) == diversity_difference(one, other, *_likes(real))[1]


def test_a_loss_between_users_is_seen_with_one_picture_each():
    """Half the variance between users is less beyond the interval; the same pictures differ by nothing."""
    real, good = _pictures(1, seed=1), _pictures(1, between=0.9, within=0.1, seed=2)
    bad = 3 + (good - 3) * 0.5
    lost = between_difference(bad, good, *_likes(real))
    assert lost.high < 0
    same = between_difference(good, good, *_likes(real))
    assert (same.value, same.low, same.high) == (0, 0, 0)
