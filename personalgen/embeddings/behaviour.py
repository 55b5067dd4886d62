"""What people did, event by event, and what they disliked, tonight and as it was known before each event."""

import numpy as np
from numpy.typing import NDArray

from personalgen.embeddings.basis import Basis, Matrix
from personalgen.embeddings.fields import EVENT_COLUMNS, FieldRows
from personalgen.histories import DAY_SEC, History


def newest_events(history: History, items: Matrix, count: int) -> FieldRows:
    """Return each user's newest events, newest first: (n_users, count, dim + 2) item vectors, weights and ages.

    The age is log(1 + days before the user's newest event). `training.Behaviour` cuts the same rows out for the
    events that were known before a pair.
    """
    start, stop = history.bounds[:-1], history.bounds[1:]
    place = stop[:, None] - 1 - np.arange(count)
    mask = place >= start[:, None]
    values = np.zeros((*mask.shape, items.shape[1] + EVENT_COLUMNS), dtype=np.float32)
    event, newest = place[mask], np.repeat(stop - 1, mask.sum(axis=1))
    age_days = (history.timestamp[newest] - history.timestamp[event]) / DAY_SEC
    values[mask] = np.column_stack([items[history.item_index[event]], history.weight[event], np.log1p(age_days)])
    return FieldRows(values, mask)


def dislikes_known(
    history: History, basis: Basis, items: Matrix, start: NDArray[np.int64], stop: NDArray[np.int64]
) -> FieldRows:
    """Return what was disliked among the events [start, stop) of one user each, (n, dim), absent where nothing was.

    The decayed mean of the disliked items' vectors, standardised as preferences are: a person's dislikes and another's
    likes lie in one space.
    """
    disliked = history.weight < 0
    means = _running_means(history.where(disliked), items, basis.options.half_life_days)
    count = np.concatenate([[0], np.cumsum(disliked)])
    mask = count[stop] > count[start]
    values = np.zeros((len(start), items.shape[1]), dtype=np.float32)
    values[mask] = basis.standardise(means[count[stop[mask]] - 1])
    return FieldRows(values, mask)


def _running_means(history: History, items: Matrix, half_life_days: float) -> Matrix:
    """Return (n_events, dim): up to each event the mean of its user's items, an older one halved per half-life."""
    means = np.empty((len(history.weight), items.shape[1]), dtype=np.float32)
    kept = history.faded(half_life_days)
    mean, total = np.zeros(items.shape[1]), 0.0
    for k, weight in enumerate(np.abs(history.weight).tolist()):
        total = total * kept[k] + weight
        mean = mean + weight / total * (items[history.item_index[k]] - mean)
        means[k] = mean
    return means
