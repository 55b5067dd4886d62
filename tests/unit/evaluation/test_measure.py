from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from personalgen.errors import DataError
from personalgen.evaluation import Pictures, build_yardstick, measure


def test_a_perfect_generator_is_at_the_ceiling(world, options):
    """Pictures drawn by the users' own tastes reach the NPG of real likes."""
    measured = measure(world.pictures(world.tastes), world.yardstick, options=options)
    assert measured.preference.npg.value == pytest.approx(1, abs=0.25)
    assert measured.preference.p_value < 0.01


def test_wrong_users_are_caught(world, options):
    """The same good pictures given to other users keep their KID and lose their fit."""
    good, wrong = world.pictures(world.tastes), world.pictures(np.roll(world.tastes, 1, axis=0))
    first, second = (measure(x, world.yardstick, options=options) for x in (good, wrong))
    assert second.preference.npg.value < 0.2
    assert second.preference.p_value > 0.01
    assert second.kid.value == pytest.approx(first.kid.value, abs=first.kid.high - first.kid.low)


@pytest.mark.parametrize("fault", ["one_image", "noise"])
def test_bad_pictures_are_caught(world, options, fault):
    """One picture for all and noise have no personal fit and a KID above the floor's interval."""
    shape = (world.yardstick.n_users, 4, world.features.shape[1])
    rng = np.random.default_rng(0)
    pictures = {"one_image": np.broadcast_to(world.features[0], shape), "noise": 3 * rng.normal(size=shape)}[fault]
    measured = measure(pictures, world.yardstick, options=options)
    assert measured.preference.p_value > 0.01
    assert abs(measured.preference.npg.value) < 0.2
    assert measured.kid.low > measured.kid_floor.high
    assert measured.frechet.value > measured.frechet.floor


def test_the_profile_and_the_ceiling_never_share_an_item(world, options):
    """Likes of test items in the profile are refused: the ceiling would contain itself."""
    selection = world.selection
    leaked = replace(selection, profile_likes=csr_array(selection.profile_likes + selection.held_out_likes))
    with pytest.raises(DataError, match="wrong split"):
        build_yardstick(leaked, world.yardstick.items, options=options)


def test_features_must_be_those_of_the_selection(world, options):
    """Features of other rows, or pictures of another number of users, are refused."""
    with pytest.raises(DataError, match="exactly these rows"):
        build_yardstick(world.selection, Pictures(world.features), options=options)
    with pytest.raises(DataError, match="exactly these users"):
        measure(world.pictures(world.tastes)[:-1], world.yardstick, options=options)


def test_another_judge_takes_judge_a_s_place(world, options):
    """Any object with a name, fit and score judges; it is handed pixels when they are given."""
    seen = []

    class PixelJudge:
        name = "B (mean brightness)"

        def fit(self, items, user_items):
            return self

        def score(self, pictures, items, user_items):
            seen.append(pictures.images)
            return np.zeros((len(pictures), user_items.shape[0]))

    yardstick = build_yardstick(world.selection, world.yardstick.items, options=options, judge=PixelJudge())
    images = np.zeros((yardstick.n_users, 4, 8, 8, 3), np.uint8)
    measured = measure(world.pictures(world.tastes), yardstick, options=options, images=images)
    assert measured.judge == "B (mean brightness)"
    assert seen[-1].shape == (yardstick.n_users * 4, 8, 8, 3)
    assert measured.preference.npg is None


def test_metrics_are_flat_numbers(world, options):
    """The metric logger gets finite floats; a missing NPG has no entry."""
    measured = measure(world.pictures(world.tastes), world.yardstick, options=options)
    metrics = measured.metrics()
    assert all(isinstance(value, float) and np.isfinite(value) for value in metrics.values())
    assert metrics["kid_low"] < metrics["kid"] < metrics["kid_high"]
    without = replace(measured, preference=replace(measured.preference, npg=None, npg_missing="why"))
    assert "npg" not in without.metrics()


def test_the_same_inputs_give_the_same_measurement(world, options):
    """Measuring twice gives equal results to the last bit."""
    pictures = world.pictures(world.tastes)
    assert measure(pictures, world.yardstick, options=options) == measure(pictures, world.yardstick, options=options)
