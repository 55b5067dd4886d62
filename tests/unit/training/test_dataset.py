import numpy as np
import pytest
import torch

from personalgen.errors import ConfigError, DataError
from personalgen.training import TrainingPairs

USERS = np.array([0, 0, 0, 3, 7, 7])


@pytest.fixture
def pairs():
    """Return six pairs of three users; picture k is all k, the vector of pair k is (user, k)."""
    images = np.repeat(np.arange(6, dtype=np.uint8), 4 * 4 * 3).reshape(6, 4, 4, 3)
    vectors = np.stack([USERS, np.arange(6)], axis=1).astype(np.float32)
    return TrainingPairs.of(images, np.arange(6)[::-1].copy(), vectors, USERS)


def drawn(pairs, batch_size, group_size):
    """Return the users, the pairs and the pictures of a batch."""
    images, vectors = pairs.draw(batch_size, group_size)
    return vectors[:, 0].long(), vectors[:, 1].long(), ((images + 1) * 127.5).round().long()


def test_groups_are_one_users(pairs):
    """Every group of four holds pictures of one user, and users differ between groups."""
    users, _, _ = drawn(pairs, 4000, 4)
    groups = users.reshape(-1, 4)
    assert (groups == groups[:, :1]).all()
    assert set(groups[:, 0].tolist()) == {0, 3, 7}


def test_a_vector_comes_with_the_picture_of_its_own_pair(pairs):
    """Pair k shows picture 5 - k, all pixels of it, scaled from bytes to [-1, 1]."""
    _, index, images = drawn(pairs, 600, 3)
    assert (images == (5 - index)[:, None, None, None]).all()
    assert set(index.tolist()) == set(range(6))
    extremes = TrainingPairs.of(
        np.array([0, 255], dtype=np.uint8).repeat(48).reshape(2, 4, 4, 3), np.arange(2), np.zeros((2, 1)), np.arange(2)
    )
    assert {float(x) for x in extremes.draw(50, 1)[0].unique()} == {-1, 1}


def test_every_pair_is_as_likely_as_another(pairs):
    """Of 30,000 draws each pair has a sixth, within five standard errors for groups of two."""
    _, index, _ = drawn(pairs, 30_000, 2)
    shares = index.bincount(minlength=6) / 30_000
    assert shares.tolist() == pytest.approx([1 / 6] * 6, abs=5 * (2 * 5 / 36 / 30_000) ** 0.5)


def test_a_draw_is_decided_by_the_random_state(pairs):
    """The same state draws the same batch, on the CPU whatever the device."""
    torch.manual_seed(5)
    one = pairs.draw(12, 2)
    torch.manual_seed(5)
    assert all(torch.equal(a, b) for a, b in zip(one, pairs.draw(12, 2), strict=True))


def test_a_batch_that_groups_do_not_divide_is_refused(pairs):
    """Half a group would be judged as one group of everybody."""
    with pytest.raises(ConfigError, match=r"train: batch_size .*model\.group_size.* 4, found 10"):
        pairs.draw(10, 4)


def test_nothing_to_train_on_is_refused():
    """No pair is a DataError that says why."""
    nothing = np.zeros(0, dtype=np.int64)
    with pytest.raises(DataError, match="no user liked a training item"):
        TrainingPairs.of(np.zeros((1, 4, 4, 3), np.uint8), nothing, np.zeros((0, 2), np.float32), nothing)


def test_users_must_be_in_order():
    """Pairs of a user that are not consecutive would mix people within a group."""
    with pytest.raises(DataError, match="sorted by user"):
        TrainingPairs.of(
            np.zeros((1, 4, 4, 3), np.uint8), np.zeros(3, np.int64), np.zeros((3, 2), np.float32), np.array([0, 1, 0])
        )


def test_the_digest_names_the_content(pairs):
    """The same pairs have the same digest; another picture, vector or user has another."""
    images = pairs.images.permute(0, 2, 3, 1).numpy()
    columns = pairs.image_of_pair.numpy(), pairs.vectors.numpy(), USERS
    assert TrainingPairs.of(images, *columns).digest() == pairs.digest()
    others = [
        TrainingPairs.of(images[::-1].copy(), *columns),
        TrainingPairs.of(images, columns[0], columns[1] + 1, USERS),
        TrainingPairs.of(images, columns[0][::-1].copy(), columns[1], USERS),
        TrainingPairs.of(images, columns[0], columns[1], np.array([0, 0, 3, 3, 7, 7])),
    ]
    assert len({pairs.digest(), *(other.digest() for other in others)}) == 5
