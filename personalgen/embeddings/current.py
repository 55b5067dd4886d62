"""What a person likes now: the mean of all that was liked or of what was liked lately, whichever foretold more.

One half-life for everybody is too long for who has just moved to another taste, and too short for who has not. Here two
means, the whole one and a lately one, foretell each like from those before it. The person's own errors weigh them:
exponential weights, a part of which is shared again at each step, so that what was wrong long ago may be right now.
Source: fixed share (Herbster & Warmuth 1998, Tracking the best expert, section 4).
"""

import numpy as np
from numpy.typing import NDArray

from personalgen.embeddings.basis import Basis, Matrix
from personalgen.embeddings.fields import FieldRows
from personalgen.histories import DAY_SEC, History

MOST_LIKES = 64
"""Newest likes that are looked at."""
_LATELY_LIKES, _LATELY_DAYS = 4.0, 10.0
"""Likes, and days, each of which halve a like's weight in the lately mean."""
_RATE, _SHARED, _PSEUDO = 3.0, 0.03, 1.0
"""What an error of 1 costs in nats; the share of weight that is dealt out anew; likes of the population's mean."""
_CHUNK = 4096


def current_known(
    history: History, basis: Basis, items: Matrix, start: NDArray[np.int64], stop: NDArray[np.int64]
) -> FieldRows:
    """Return what is liked now after the events [start, stop) of one user each, (n, dim), absent without a like.

    In the space of preferences, from the newest 64 likes; what was disliked does not count.
    """
    liked = history.weight > 0
    likes, before = history.where(liked), np.append(0, np.cumsum(liked))
    first, last = before[start], before[stop]
    mask = last > first
    values = np.zeros((len(start), items.shape[1]), dtype=np.float32)
    some = np.flatnonzero(mask)
    for rows in np.split(some, np.arange(_CHUNK, len(some), _CHUNK)):
        values[rows] = _weighed(likes, items, basis.center, np.maximum(first, last - MOST_LIKES)[rows], last[rows])
    values[mask] = basis.standardise(values[mask])
    return FieldRows(values, mask)


def _weighed(
    likes: History, items: Matrix, center: Matrix, first: NDArray[np.int64], last: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the weighed means, (n, dim), of the likes [first, last) of one user each, one at least."""
    counts = last - first
    order = np.argsort(-counts, kind="stable")
    first, counts = first[order], counts[order]
    sums = np.zeros((len(order), 2, items.shape[1]))
    totals, weights = np.zeros((len(order), 2)), np.full((len(order), 2), 0.5)
    for step in range(int(counts.max(initial=0))):
        n_left = int(np.searchsorted(-counts, -step, side="left"))  # those with a like at this step
        place = first[:n_left] + step
        vectors, own = items[likes.item_index[place]].astype(np.float64), likes.weight[place].astype(np.float64)
        if step:
            days = (likes.timestamp[place] - likes.timestamp[place - 1]) / DAY_SEC
            lately = 2.0 ** (-1 / _LATELY_LIKES - days / _LATELY_DAYS)
            sums[:n_left, 1] *= lately[:, None]
            totals[:n_left, 1] *= lately
            errors = ((vectors[:, None] - _means(sums[:n_left], totals[:n_left], center)) ** 2).sum(2)
            scaled = weights[:n_left] * np.exp(-_RATE * (errors - errors.min(1, keepdims=True)))
            weights[:n_left] = (1 - _SHARED) * scaled / scaled.sum(1, keepdims=True) + _SHARED / 2
        sums[:n_left] += (own[:, None] * vectors)[:, None]
        totals[:n_left] += own[:, None]
    found = np.empty((len(order), items.shape[1]))
    found[order] = np.einsum("nk,nkd->nd", weights, _means(sums, totals, center))
    return found


def _means(sums: NDArray[np.float64], totals: NDArray[np.float64], center: Matrix) -> NDArray[np.float64]:
    """Return (n, 2, dim) means, shrunk to the population's."""
    found: NDArray[np.float64] = (sums + _PSEUDO * center) / (totals + _PSEUDO)[..., None]
    return found
