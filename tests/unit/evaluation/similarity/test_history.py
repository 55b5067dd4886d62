import numpy as np
import pytest
from scipy.sparse import csr_array

from personalgen.errors import DataError
from personalgen.evaluation.similarity import COLOUR, CONTENT, SSIM, PairMeasure, history_similarity

N_USERS, N_LIKES, WIDTH = 40, 6, 8
CLOSENESS = PairMeasure("closeness", True, CONTENT.describe, lambda a, b: -CONTENT.compare(a, b))


def _users(seed=0, n_users=N_USERS, between=2.0):
    """Pictures (n_users, 5, d), items and likes: a centre for each user, everything of the user's near it."""
    rng = np.random.default_rng(seed)
    centres = between * rng.normal(size=(n_users, 1, WIDTH))
    generated, items = (centres + rng.normal(size=(n_users, k, WIDTH)) for k in (5, N_LIKES))
    users = np.repeat(np.arange(n_users), N_LIKES)
    likes = csr_array((np.full(len(users), 3.0), (users, np.arange(len(users)))))
    return generated, (items.reshape(-1, WIDTH), likes)


@pytest.mark.parametrize("measure", [CONTENT, CLOSENESS], ids=lambda m: m.name)
def test_own_histories_are_nearer(measure):
    """Where users differ, pictures are nearer to their own history, by distances and by similarities alike."""
    found = history_similarity(*_users(), measure)
    for form in (found.nearest, found.mean):
        assert form.nearer.low > 1
        assert form.nearer.value == pytest.approx(abs(form.own.value - form.others.value))
        assert np.mean(form.per_user) == pytest.approx(form.nearer.value)


def test_values_are_those_of_the_loop():
    """Own values equal the mean over a user's pictures of the least, and of the mean, distance to the history."""
    generated, (items, likes) = _users()
    found = history_similarity(generated, (items, likes), CONTENT)
    liked = items.reshape(N_USERS, N_LIKES, WIDTH)
    apart = np.linalg.norm(generated[:, :, None] - liked[:, None], axis=3)
    assert found.nearest.own.value == pytest.approx(apart.min(axis=2).mean())
    assert found.mean.own.value == pytest.approx(apart.mean())


def test_pictures_of_other_users_are_not_nearer():
    """With pictures given to other users, at least 52 of 60 intervals of the difference hold 0 (odds 1 in 100)."""
    draws = []
    for seed in range(60):
        generated, history = _users(seed)
        draws.append(history_similarity(np.roll(generated, 1, axis=0), history, CONTENT, seed=seed).nearest.nearer)
    assert sum(draw.low <= 0 <= draw.high for draw in draws) >= 52
    values = np.array([draw.value for draw in draws])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(60)


def test_long_histories_favour_nobody():
    """Users of one taste with 1 or 6 likes are no nearer to their own: controls have histories of the same lengths."""
    draws = []
    for seed in range(40):
        generated, (items, likes) = _users(seed, between=0)
        lengths = np.where(np.arange(N_USERS) % 2, N_LIKES, 1)
        kept = np.arange(N_LIKES) < lengths[:, None]
        likes = csr_array(likes.multiply(np.repeat(kept, 1, axis=0).reshape(1, -1)))
        likes.eliminate_zeros()
        draws.append(history_similarity(generated, (items, likes), CONTENT, seed=seed).nearest.nearer.value)
    assert abs(np.mean(draws)) < 3 * np.std(draws) / np.sqrt(40)


def test_each_history_is_used_equally_often():
    """Against every other user, the control is the mean over all pairs of different users."""
    generated, history = _users(n_users=9)
    found = history_similarity(generated, history, CONTENT, n_others=8)
    liked = history[0].reshape(9, N_LIKES, WIDTH)
    apart = np.array([[np.linalg.norm(a[:, None] - b[None], axis=2).mean() for b in liked] for a in generated])
    assert found.mean.others.value == pytest.approx(apart[~np.eye(9, dtype=bool)].mean())


@pytest.mark.parametrize("measure", [SSIM, COLOUR], ids=lambda m: m.name)
def test_pictures_are_compared_as_pixels(measure, pictures):
    """Copies of what each user liked have the best value at the nearest and are nearer than others' histories."""
    likes = csr_array(np.kron(np.eye(10), np.ones((1, 4))))
    generated = pictures.reshape(10, 4, *pictures.shape[1:])
    found = history_similarity(generated, (pictures, likes), measure)
    assert found.nearest.own.value == pytest.approx(1 if measure is SSIM else 0, abs=1e-4)
    assert found.nearest.nearer.low > 0
    assert found.measure == measure.name


def test_users_without_a_like_are_left_out_and_long_histories_are_cut():
    """Only users with a like count; of longer histories so many likes are drawn, others by another seed."""
    generated, (items, likes) = _users()
    likes = likes.tolil()
    likes[3] = 0
    history = (items, csr_array(likes))
    first, again, other = (history_similarity(generated, history, CONTENT, max_history=2, seed=s) for s in (0, 0, 1))
    assert first.users == tuple(k for k in range(N_USERS) if k != 3)
    assert first == again
    assert first.nearest.own != other.nearest.own
    assert first.nearest.own.value > history_similarity(generated, history, CONTENT).nearest.own.value


def test_what_does_not_fit_is_refused():
    """Too few users, other users' likes and pictures of another kind are named."""
    generated, (items, likes) = _users()
    with pytest.raises(DataError, match="at least 8 users"):
        history_similarity(generated[:7], (items, likes[:7]), CONTENT)
    with pytest.raises(DataError, match="n_users, n_items"):
        history_similarity(generated[:30], (items, likes), CONTENT)
    with pytest.raises(DataError, match="of the same kind"):
        history_similarity(generated[..., :5], (items, likes), CONTENT)
