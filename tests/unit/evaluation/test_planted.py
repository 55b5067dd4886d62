import numpy as np
import pytest
from scipy.sparse import csr_array

from personalgen.errors import DataError
from personalgen.evaluation import EvaluationOptions
from personalgen.evaluation.attributes import AttributeEstimator, EstimatorError
from personalgen.evaluation.planted import PlantedYardstick, select_planted, true_utility_scores
from personalgen.worlds import Attributes, ShapesWorld, known_attributes

OPTIONS = EvaluationOptions(bootstrap=200, permutations=200)
WORLD = ShapesWorld(256)
KNOWN = known_attributes(WORLD.items(), WORLD.space)


class Perfect(AttributeEstimator):
    """Reads pictures that are positions of items, without error."""

    def __init__(self):
        self.space, self.error = WORLD.space, EstimatorError({}, {})

    def read(self, images):
        return Attributes(
            {name: value[images] for name, value in KNOWN.categories.items()},
            {name: value[images] for name, value in KNOWN.angles.items()},
        )


def best_items(users, k):
    """Return (n_users * k,) positions of the items that each user likes most."""
    return np.argsort(-WORLD.true_utility(users), axis=1)[:, :k].ravel()


@pytest.fixture(scope="module")
def yardstick():
    """Forty warm and ten cold people; the real likes are the two best items of each warm one."""
    warm, cold = WORLD.sample_users(40, seed=1), WORLD.sample_users(10, seed=2)
    real = true_utility_scores(WORLD, warm, Perfect().read(best_items(warm, 2)))
    return PlantedYardstick(WORLD, Perfect(), warm=warm, cold=cold, real_scores=real)


def test_scores_are_mean_true_utilities_of_users_pictures():
    """Row u, column v is the mean over u's pictures of what v thinks of them, for equal shares and for likes alike."""
    users = WORLD.sample_users(3, seed=0)
    utility = WORLD.true_utility(users)
    all_items = true_utility_scores(WORLD, users, Perfect().read(np.arange(6)))
    np.testing.assert_allclose(all_items, utility[:, :6].reshape(3, 3, 2).mean(axis=2).T, rtol=1e-6)
    likes = np.zeros((3, 256))
    likes[0, [4, 9, 11]], likes[1, 7], likes[2, [0, 255]] = 1, 1, 1
    of_likes = true_utility_scores(WORLD, users, KNOWN, pictures_of_users=csr_array(likes))
    np.testing.assert_allclose(of_likes[0], utility[:, [4, 9, 11]].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(of_likes[1], utility[:, 7], rtol=1e-6)


def test_pictures_that_do_not_divide_among_users_are_refused():
    """Five pictures of three users have no owners."""
    with pytest.raises(DataError, match="equally many pictures of each of 3 users, found 5"):
        true_utility_scores(WORLD, WORLD.sample_users(3, seed=0), Perfect().read(np.arange(5)))


def test_pictures_as_good_as_real_likes_reach_the_ceiling(yardstick):
    """With each person's own best items as pictures, NPG is 1, and that of cold people near it."""
    fit = yardstick.measure(best_items(yardstick.warm, 2), best_items(yardstick.cold, 2), options=OPTIONS)
    assert fit.warm.npg.value == pytest.approx(1)
    assert fit.cold.value == pytest.approx(1, abs=0.2)
    assert fit.sure == {"category": 1.0, "pattern": 1.0}
    assert (fit.warm.n_users, fit.n_cold) == (40, 10)


def test_one_good_picture_for_everybody_gains_nothing(yardstick):
    """The same items for all give a gain of exactly 0, warm and cold."""
    fit = yardstick.measure(np.tile([3, 5], 40), np.tile([3, 5], 10), options=OPTIONS)
    assert fit.warm.gain.value == pytest.approx(0, abs=1e-9)
    assert fit.cold.value == pytest.approx(0, abs=1e-9)


def test_too_few_cold_people_are_no_figure(yardstick):
    """With fewer than 8 there is no interval to give, and no entry among the metrics."""
    few = PlantedYardstick(
        WORLD,
        Perfect(),
        warm=yardstick.warm,
        cold=yardstick.cold.take(yardstick.cold.user_ids[:7]),
        real_scores=yardstick.real_scores,
    )
    fit = few.measure(best_items(few.warm, 2), best_items(few.cold, 2), options=OPTIONS)
    assert fit.cold is None
    assert "warm_gain_over_real_gain" in fit.metrics()
    assert "cold_gain_over_real_gain" not in fit.metrics()


def test_metrics_are_flat_numbers_with_their_interval(yardstick):
    """Each interval has a low and a high end around its value."""
    metrics = yardstick.measure(best_items(yardstick.warm, 2), best_items(yardstick.cold, 2), options=OPTIONS).metrics()
    for name in ("gain_nats", "real_gain_nats", "warm_gain_over_real_gain", "cold_gain_over_real_gain"):
        assert metrics[f"{name}_low"] <= metrics[name] <= metrics[f"{name}_high"]
    assert all(type(value) is float for value in metrics.values())


def test_warm_and_cold_people_are_told_by_their_events():
    """Warm: more than 4 events and at least 2 held-out likes; cold: 1 to 4; only people who may be judged."""
    n_events = np.array([9, 9, 9, 0, 1, 4, 5, 4])
    judged = np.array([True] * 7 + [False])
    likes = (np.array([0, 0, 1, 2, 2, 2, 5, 5, 6, 6]), np.array([0, 1, 0, 0, 1, 2, 3, 4, 0, 4]))
    selection = select_planted(judged_users=judged, n_events=n_events, held_out_likes=likes, n_items=5, most_users=100)
    assert selection.warm.tolist() == [0, 2, 6]
    assert selection.cold.tolist() == [4, 5]
    assert selection.held_out_likes.toarray().tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 0, 0, 0, 1]]
    fewer = select_planted(judged_users=judged, n_events=n_events, held_out_likes=likes, n_items=5, most_users=1)
    assert (fewer.warm.tolist(), fewer.cold.tolist()) == ([0], [4])
