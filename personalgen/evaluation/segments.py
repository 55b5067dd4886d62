"""Figures by segment: the mean of users' own values in each group of users, with its interval and its size.

A segment with fewer than 8 users says little and might show who they are, so small ones are taken together as "others";
where these are still too few, their number is told and no figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personalgen.errors import DataError
from personalgen.evaluation.interval import FloatArray, Interval, mean_interval
from personalgen.evaluation.options import MIN_USERS

OTHERS = "others"


@dataclass(frozen=True)
class SegmentFigure:
    """One figure of one segment."""

    segment: str
    """Its label; "others" holds all small ones together, and everybody without a label."""

    value: Interval | None
    """Mean over its users; None where they are too few."""

    n_users: int
    """Users with a value."""


def segment_figures(
    values: NDArray[Any], segments: Sequence[str | None], *, confidence: float = 0.95, min_users: int = MIN_USERS
) -> tuple[SegmentFigure, ...]:
    """Return the mean of (n_users,) values in each segment, largest segment first, "others" last.

    `segments` holds each user's label; None or "" is no label. A NaN is a user without a value. Users are the
    independent units: make rows theirs with `user_means` first.

    Raises:
        DataError: values and labels differ in number.
    """
    values, labels = np.asarray(values, np.float64), np.array([label or OTHERS for label in segments], dtype=np.str_)
    _require_aligned(len(values), len(labels))
    known = np.isfinite(values)
    values, labels = values[known], labels[known]
    names, sizes = np.unique(labels, return_counts=True)
    small = names[(sizes < min_users) | (names == OTHERS)]
    labels = np.where(np.isin(labels, small), OTHERS, labels.astype(object))
    kept = sorted(set(labels), key=lambda name: (name == OTHERS, -int((labels == name).sum()), name))
    return tuple(_figure(str(name), values[labels == name], confidence, min_users) for name in kept)


def user_means(values: NDArray[Any], users: NDArray[Any]) -> FloatArray:
    """Return the mean of each user's rows, users in ascending order."""
    codes = np.unique(users, return_inverse=True)[1]
    return np.asarray(np.bincount(codes, np.asarray(values, np.float64)) / np.bincount(codes))


def _figure(segment: str, values: FloatArray, confidence: float, min_users: int) -> SegmentFigure:
    value = mean_interval(values, confidence) if len(values) >= min_users else None
    return SegmentFigure(segment=segment, value=value, n_users=len(values))


def _require_aligned(n_values: int, n_labels: int) -> None:
    if n_values != n_labels:
        raise DataError(
            f"Expected one segment for each of {n_values} users, found {n_labels}. Pass them in the order of the "
            "values, None where a user has none. Nothing was measured."
        )
