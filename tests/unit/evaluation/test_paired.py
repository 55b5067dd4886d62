from dataclasses import fields

import numpy as np
import pytest

from personalgen.errors import DataError
from personalgen.evaluation import compare, measure


def test_a_model_against_itself_differs_by_nothing(world, options):
    """Champion against champion: both differences and their intervals are zero."""
    pictures = world.pictures(world.tastes)
    same = compare(pictures, pictures, world.yardstick, options=options)
    assert (same.fit_diff, same.fit_low, same.fit_high) == (0, 0, 0)
    assert (same.kid_diff, same.kid_low, same.kid_high) == pytest.approx((0, 0, 0), abs=1e-12)


def test_a_better_challenger_is_seen(world, options):
    """Right pictures against wrong users' pictures: fit rises, and the interval excludes zero."""
    right, wrong = world.pictures(world.tastes), world.pictures(np.roll(world.tastes, 1, axis=0))
    better, worse = (compare(*pair, world.yardstick, options=options) for pair in ((right, wrong), (wrong, right)))
    assert better.fit_low > 0
    assert (worse.fit_diff, worse.kid_diff) == pytest.approx((-better.fit_diff, -better.kid_diff))
    assert worse.fit_high < 0


def test_worse_pictures_are_seen(world, options):
    """Added noise raises KID beyond its interval."""
    clean = world.pictures(world.tastes)
    noisy = clean + np.random.default_rng(1).normal(size=clean.shape)
    assert compare(noisy, clean, world.yardstick, options=options).kid_low > 0


def test_differences_are_those_of_the_single_measurements(world, options):
    """The paired differences equal the differences of both models' own figures."""
    a, b = world.pictures(world.tastes), world.pictures(0.3 * world.tastes, seed=5)
    single = [measure(x, world.yardstick, options=options) for x in (a, b)]
    paired = compare(a, b, world.yardstick, options=options)
    assert paired.fit_diff == pytest.approx(single[0].preference.gain.value - single[1].preference.gain.value)
    assert paired.kid_diff == pytest.approx(single[0].kid.value - single[1].kid.value)


def test_pairing_narrows_the_interval(world, options):
    """For two nearly equal models the interval of the difference is far narrower than that of one model."""
    a = world.pictures(world.tastes)
    b = a + 0.05 * np.random.default_rng(1).normal(size=a.shape)
    alone, paired = measure(a, world.yardstick, options=options), compare(a, b, world.yardstick, options=options)
    assert paired.kid_high - paired.kid_low < 0.3 * (alone.kid.high - alone.kid.low)
    assert paired.fit_high - paired.fit_low < 0.3 * (alone.preference.gain.high - alone.preference.gain.low)


def test_both_models_must_have_the_same_users(world, options):
    """Other numbers of users or pictures are refused."""
    a = world.pictures(world.tastes)
    with pytest.raises(DataError, match="same users and z"):
        compare(a, a[:, :2], world.yardstick, options=options)


def test_the_gate_s_names_are_kept(world):
    """The promotion rule reads these names."""
    from personalgen.evaluation import Comparison

    names = [field.name for field in fields(Comparison)]
    assert names[:6] == ["fit_diff", "fit_low", "fit_high", "kid_diff", "kid_low", "kid_high"]
