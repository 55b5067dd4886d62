from dataclasses import astuple, replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from personalgen.errors import DataError
from personalgen.evaluation import Interval, Pictures, TrainingSide, compare, measure


def test_a_model_against_itself_differs_by_nothing(world, options):
    """Champion against champion: all differences and their intervals are zero."""
    pictures = world.pictures(world.tastes)
    same = compare(pictures, pictures, world.yardstick, options=options)
    assert same.fit == Interval(0, 0, 0)
    assert astuple(same.kid) == pytest.approx((0, 0, 0), abs=1e-12)
    assert same.within == same.between == Interval(0, 0, 0)


def test_a_better_challenger_is_seen(world, options):
    """Right pictures against wrong users' pictures: fit rises, and the interval excludes zero."""
    right, wrong = world.pictures(world.tastes), world.pictures(np.roll(world.tastes, 1, axis=0))
    better, worse = (compare(*pair, world.yardstick, options=options) for pair in ((right, wrong), (wrong, right)))
    assert better.fit.low > 0
    assert (worse.fit.value, worse.kid.value) == pytest.approx((-better.fit.value, -better.kid.value))
    assert worse.fit.high < 0


def test_worse_pictures_are_seen(world, options):
    """Added noise raises KID beyond its interval."""
    clean = world.pictures(world.tastes)
    noisy = clean + np.random.default_rng(1).normal(size=clean.shape)
    assert compare(noisy, clean, world.yardstick, options=options).kid.low > 0


def test_differences_are_those_of_the_single_measurements(world, options):
    """The paired differences equal the differences of both models' own figures."""
    a, b = world.pictures(world.tastes), world.pictures(0.3 * world.tastes, seed=5)
    single = [measure(x, world.yardstick, options=options) for x in (a, b)]
    paired = compare(a, b, world.yardstick, options=options)
    assert paired.fit.value == pytest.approx(single[0].preference.gain.value - single[1].preference.gain.value)
    assert paired.kid.value == pytest.approx(single[0].kid.value - single[1].kid.value)


def test_pairing_narrows_the_interval(world, options):
    """For two nearly equal models the interval of the difference is far narrower than that of one model."""
    a = world.pictures(world.tastes)
    b = a + 0.05 * np.random.default_rng(1).normal(size=a.shape)
    alone, paired = measure(a, world.yardstick, options=options), compare(a, b, world.yardstick, options=options)
    assert paired.kid.high - paired.kid.low < 0.3 * (alone.kid.high - alone.kid.low)
    assert paired.fit.high - paired.fit.low < 0.3 * (alone.preference.gain.high - alone.preference.gain.low)


def test_both_models_must_have_the_same_users(world, options):
    """Other numbers of users or pictures are refused."""
    a = world.pictures(world.tastes)
    with pytest.raises(DataError, match="same users and z"):
        compare(a, a[:, :2], world.yardstick, options=options)


def test_lost_diversity_is_seen(world, options):
    """One picture for each user, and one for all, lose diversity; more than that of real likes is no gain."""
    right = world.pictures(world.tastes)
    one_each, one_for_all = np.repeat(right[:, :1], 4, axis=1), np.broadcast_to(right[:1, :1], right.shape)
    assert compare(one_each, right, world.yardstick, options=options).within.high < -0.5
    assert compare(one_for_all, right, world.yardstick, options=options).between.high < -0.5
    wild, wilder = (right + k * np.random.default_rng(0).normal(size=right.shape) for k in (2, 4))
    assert compare(wilder, wild, world.yardstick, options=options).within == Interval(0, 0, 0)


def test_copies_of_training_pictures_are_seen(world, options):
    """A challenger that returns training pictures is worse beyond the interval; without them there is no difference."""
    right = world.pictures(world.tastes)
    rows = np.unique(right.reshape(-1, right.shape[-1]), axis=0)
    training = TrainingSide(Pictures(rows), csr_array((len(right), len(rows))))
    fresh = right + 0.3 * np.random.default_rng(2).normal(size=right.shape)
    told = compare(right, fresh, replace(world.yardstick, training=training), options=options)
    assert told.memorised.low > 0.9
    assert compare(right, fresh, world.yardstick, options=options).memorised is None


def test_the_gate_s_names_are_kept(world, options):
    """The promotion rule reads these names; what is missing has none."""
    pictures = world.pictures(world.tastes)
    names = compare(pictures, pictures, world.yardstick, options=options).metrics()
    told = {f"{name}_{end}" for name in ("fit", "kid", "within", "between") for end in ("diff", "low", "high")}
    assert set(names) == told | {"n_users", "n_real"}
