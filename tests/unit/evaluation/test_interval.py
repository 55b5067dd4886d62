import numpy as np
import pytest

from personalgen.evaluation.interval import (
    Interval,
    jackknife_variance,
    mean_interval,
    normal_interval,
    percentile_interval,
    resample_counts,
)


def test_normal_interval_is_196_errors_wide():
    """At 95 % the ends lie 1.96 standard errors from the value."""
    interval = normal_interval(2.0, 0.25, 0.95)
    assert interval.high - interval.value == pytest.approx(1.959964 * 0.5)
    assert interval.value - interval.low == pytest.approx(1.959964 * 0.5)


def test_percentile_interval_cuts_both_tails():
    """Of 0..100, 90 % confidence keeps 5..95."""
    assert percentile_interval(50.0, np.arange(101.0), 0.9) == Interval(50.0, pytest.approx(5.0), pytest.approx(95.0))


def test_jackknife_of_a_mean_is_the_textbook_variance():
    """For the mean, the jackknife variance equals s² / n."""
    x = np.random.default_rng(0).normal(size=30)
    without = (x.sum() - x) / (len(x) - 1)
    assert jackknife_variance(without) == pytest.approx(x.var(ddof=1) / len(x))


def test_resample_counts_draw_as_many_users_as_there_are():
    """Each resample counts n users, and users are drawn about once on average."""
    counts = resample_counts(40, 500, np.random.default_rng(0))
    assert (counts.sum(axis=1) == 40).all()
    assert np.abs(counts.mean(axis=0) - 1).max() < 0.25


def test_interval_of_a_mean_is_196_errors_wide():
    """The mean's interval reaches 1.96 textbook errors to both sides; a single value has no width."""
    x = np.random.default_rng(0).normal(size=30)
    interval = mean_interval(x, 0.95)
    assert interval.value == pytest.approx(x.mean())
    assert interval.high - interval.value == pytest.approx(1.959964 * x.std(ddof=1) / np.sqrt(30))
    assert mean_interval(np.array([2.0]), 0.95) == Interval(2.0, 2.0, 2.0)
