import numpy as np
import pytest
from scipy.sparse import csr_array

from personalgen.errors import DataError
from personalgen.evaluation import EvaluationOptions, retrieve

OPTIONS = EvaluationOptions(bootstrap=200)


@pytest.fixture
def likes():
    """16 users in 16 directions, each with 3 of 160 items around the own one."""
    rng = np.random.default_rng(0)
    tastes = np.eye(16)
    items = np.repeat(tastes, 10, axis=0) + 0.1 * rng.normal(size=(160, 16))
    owner = np.repeat(np.arange(16), 3)
    liked = csr_array((np.ones(48), (owner, owner * 10 + np.tile(np.arange(3), 16))), shape=(16, 160))
    return tastes, items, liked


def test_pictures_of_the_own_taste_find_later_likes(likes):
    """Pictures at the taste find as much as real likes at the taste; other users' pictures find nothing."""
    tastes, items, liked = likes
    found = retrieve(tastes, tastes, items, liked, options=OPTIONS)
    assert found.recall_at_20.value == 1 == found.real_recall_at_20
    assert found.ndcg_at_10.value == found.real_ndcg_at_10 > 0.2
    assert found.shuffled_ndcg_at_10 < 0.05
    assert found.n_items == 160


@pytest.mark.parametrize("fault", ["one for all", "noise", "shuffled users"])
def test_impersonal_pictures_find_nothing(likes, fault):
    """One picture for all, noise and shuffled users find no more than the control."""
    tastes, items, liked = likes
    pictures = {
        "one for all": np.ones((16, 16)),
        "noise": np.random.default_rng(1).normal(size=(16, 16)),
        "shuffled users": np.roll(tastes, 5, axis=0),
    }[fault]
    found = retrieve(pictures, tastes, items, liked, options=OPTIONS)
    assert found.recall_at_20.value < 0.35 < found.real_recall_at_20


def test_other_widths_are_refused(likes):
    """Pictures, profiles and items live in one space."""
    tastes, items, liked = likes
    with pytest.raises(DataError, match="16 columns"):
        retrieve(tastes[:, :3], tastes, items, liked, options=OPTIONS)
