"""A number with its interval, and the two ways intervals are made here: percentiles of resamples, normal quantiles."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate and the interval around it, in the same unit."""

    value: float
    """The estimate from all the data."""

    low: float
    """Lower end."""

    high: float
    """Upper end."""

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


def percentile_interval(value: float, resampled: FloatArray, confidence: float) -> Interval:
    """Return the estimate with the percentile bootstrap interval of its resamples."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Interval(value=float(value), low=float(low), high=float(high))


def normal_interval(value: float, variance: float, confidence: float) -> Interval:
    """Return the estimate with the interval of a normal distribution of that variance."""
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * float(np.sqrt(max(variance, 0.0)))
    return Interval(value=float(value), low=float(value - reach), high=float(value + reach))


def mean_interval(values: FloatArray, confidence: float) -> Interval:
    """Return the mean of independent values with its jackknife interval; without an interval for a single value."""
    n = len(values)
    without = (values.sum() - values) / max(n - 1, 1)
    return normal_interval(float(values.mean()), jackknife_variance(without), confidence)


def within_share(interval: Interval) -> Interval:
    """Return the interval of a share, cut to [0, 1]."""
    return Interval(interval.value, max(interval.low, 0.0), min(interval.high, 1.0))


def flat_intervals(named: Mapping[str, Interval | None]) -> dict[str, float]:
    """Return values by name, and their ends under the name with `_low` and `_high`; what is missing has no entry."""
    found = {name: interval for name, interval in named.items() if interval is not None}
    values = {name: interval.value for name, interval in found.items()}
    values |= {f"{name}_low": interval.low for name, interval in found.items()}
    return values | {f"{name}_high": interval.high for name, interval in found.items()}


def resample_counts(n_users: int, n_resamples: int, rng: np.random.Generator) -> FloatArray:
    """Return (n_resamples, n_users) float64: how often each user is drawn; every row sums to n_users."""
    return rng.multinomial(n_users, np.full(n_users, 1 / n_users), size=n_resamples).astype(np.float64)


def jackknife_variance(leave_one_out: FloatArray) -> float:
    """Return the jackknife variance of a statistic from its values with one unit left out each.

    Source: Efron & Stein (1981), The jackknife estimate of variance: on average never below the true variance.
    """
    n = len(leave_one_out)
    return float((n - 1) / n * np.square(leave_one_out - leave_one_out.mean()).sum())
