import numpy as np
import pytest
from scipy.sparse import csr_array

from personalgen.evaluation import EvaluationOptions, Truth, identify, preference_gain
from personalgen.worlds import Attributes, ShapesWorld, known_attributes

N_USERS, LIKES = 40, 8
OPTIONS = EvaluationOptions(bootstrap=200, permutations=200)


class Numbered:
    """Reads the attributes of the item whose number stands in the first two pixels."""

    def __init__(self, world):
        self.known = known_attributes(world.items(), world.space)

    def read(self, images):
        low, high = images[:, 0, :2, 0].T.astype(int)
        rows = low + 256 * high
        categories = {name: values[rows] for name, values in self.known.categories.items()}
        return Attributes(categories, {name: values[rows] for name, values in self.known.angles.items()})


def numbered(rows):
    """Return pictures that hold nothing but a number."""
    rows = np.asarray(rows)
    images = np.zeros((*rows.shape, 2, 2, 3), dtype=np.uint8)
    images[..., 0, 0, 0], images[..., 0, 1, 0] = rows % 256, rows // 256
    return images


@pytest.fixture(scope="module")
def planted():
    """A truth about 40 people of the world of shapes, and each one's eight best items beside eight likes."""
    world = ShapesWorld()
    users = world.sample_users(N_USERS, seed=3)
    utility = world.true_utility(users)
    best = np.argsort(-utility, axis=1)[:, : 2 * LIKES]
    owner, held_out = np.repeat(np.arange(N_USERS), LIKES), best[:, ::2]
    n_items = utility.shape[1]
    likes = csr_array((np.ones(owner.size), (owner, held_out.ravel())), shape=(N_USERS, n_items))
    truth = Truth.of(world, Numbered(world), users, images=numbered(np.arange(n_items)), likes=likes)
    return truth, best[:, 1::2], utility


def test_scores_are_the_world_s_own_utilities(planted):
    """Picture p of user u is worth to v what the world says of what it shows."""
    truth, best, utility = planted
    cube = truth.picture_scores(numbered(best))
    assert cube.shape == (N_USERS, LIKES, N_USERS)
    assert cube[5, 2] == pytest.approx(utility[:, best[5, 2]], rel=1e-5)


def test_pictures_of_what_people_love_are_as_personal_as_likes(planted):
    """Every second of a person's best items beside the others: NPG 1, and people are named as surely."""
    truth, best, _ = planted
    cube = truth.picture_scores(numbered(best))
    fit = preference_gain(cube.mean(axis=1), truth.real_scores, options=OPTIONS)
    assert fit.npg.value == pytest.approx(1, abs=0.1)
    named = identify(cube, truth.item_scores, truth.likes, options=OPTIONS)
    assert named.of_real_16.value == pytest.approx(1, abs=0.2)


def test_other_people_s_pictures_are_worth_nothing(planted):
    """Shuffled people have no gain, and are not named."""
    truth, best, _ = planted
    cube = truth.picture_scores(numbered(np.roll(best, 1, axis=0)))
    fit = preference_gain(cube.mean(axis=1), truth.real_scores, options=OPTIONS)
    assert abs(fit.npg.value) < 0.15
    assert identify(cube, truth.item_scores, truth.likes, options=OPTIONS).of_real_1.value < 0.3
