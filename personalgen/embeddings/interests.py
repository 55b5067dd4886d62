"""Several tastes of one person: centroids of what was liked lately, as many as the likes themselves call for.

A mean of boats and cats is neither. The decayed likes are split into up to four clusters by k-means; another cluster is
taken only where it explains more of the spread than it would of likes without any order.
"""

import numpy as np
from numpy.typing import NDArray

from personalgen.embeddings.basis import Basis, Matrix
from personalgen.embeddings.fields import FieldRows
from personalgen.histories import DAY_SEC, History

MOST_LIKES = 32
"""Newest likes that are looked at."""
_ROUNDS, _CHUNK = 4, 4096


def interests_known(
    history: History, basis: Basis, items: Matrix, start: NDArray[np.int64], stop: NDArray[np.int64], count: int
) -> FieldRows:
    """Return the interests of the events [start, stop) of one user each, (n, count, dim + 1), heaviest first.

    The columns are the centroid, standardised as preferences are, and its share of the weight. Absent without a like.
    """
    liked = history.weight > 0
    likes, before = history.where(liked), np.append(0, np.cumsum(liked))
    start, stop = before[start], before[stop]
    values = np.zeros((len(start), count, items.shape[1] + 1), dtype=np.float32)
    for first in range(0, len(start), _CHUNK):
        rows = slice(first, first + _CHUNK)
        vectors, weights = _newest_likes(likes, basis, items, start[rows], stop[rows])
        centroids, shares = _split(vectors, weights, count)
        present = shares > 0
        values[rows, :, :-1][present] = basis.standardise(centroids[present])
        values[rows, :, -1] = shares
    return FieldRows(values, values[:, :, -1] > 0)


def _newest_likes(
    likes: History, basis: Basis, items: Matrix, start: NDArray[np.int64], stop: NDArray[np.int64]
) -> tuple[Matrix, Matrix]:
    """Return (n, MOST_LIKES, dim) vectors, newest first, and (n, MOST_LIKES) decayed weights; zero where none is."""
    place = stop[:, None] - 1 - np.arange(MOST_LIKES)
    there = place >= start[:, None]
    place = np.where(there, place, 0)
    if not len(likes.item_index):
        return np.zeros((*place.shape, items.shape[1]), dtype=np.float32), np.zeros(place.shape, dtype=np.float32)
    age_days = (likes.timestamp[place[:, :1]] - likes.timestamp[place]) / DAY_SEC
    weight = likes.weight[place] * 2.0 ** (-age_days / basis.options.half_life_days)
    vectors = items[likes.item_index[place]] * there[..., None]
    return vectors.astype(np.float32), np.where(there, weight, 0).astype(np.float32)


def _split(vectors: Matrix, weights: Matrix, count: int) -> tuple[Matrix, Matrix]:
    """Return (n, count, dim) centroids and (n, count) shares of the weight, heaviest first, zero where none is."""
    total = weights.sum(1)
    shares = weights / np.maximum(total, 1e-12)[:, None]
    effective = 1 / np.maximum((shares**2).sum(1), 1e-12)  # as many equal likes would weigh as much
    centroids = np.einsum("np,npd->nd", shares, vectors)[:, None]
    assigned = np.zeros(weights.shape, dtype=np.int64)
    spread = _spread(vectors, shares, centroids, assigned)
    grows = total > 0
    for _ in range(1, count):
        farthest = (shares * _distances(vectors, centroids).min(2)).argmax(1)
        tried = np.concatenate([centroids, vectors[np.arange(len(vectors)), farthest][:, None]], axis=1)
        tried, own = _lloyd(vectors, shares, tried)
        tried_spread = _spread(vectors, shares, tried, own)
        grows = grows & (tried_spread < (1 - 0.1 - 2 / effective) * spread)
        kept = np.concatenate([centroids, np.full_like(centroids[:, :1], np.inf)], axis=1)
        centroids = np.where(grows[:, None, None], tried, kept)
        assigned, spread = np.where(grows[:, None], own, assigned), np.where(grows, tried_spread, spread)
    sizes = np.stack([(shares * (assigned == k)).sum(1) for k in range(count)], axis=1)
    order = np.argsort(-sizes, axis=1, kind="stable")
    sizes = np.take_along_axis(sizes, order, 1)
    centroids = np.where(np.isfinite(centroids), centroids, 0)
    return np.take_along_axis(centroids, order[..., None], 1).astype(np.float32), sizes.astype(np.float32)


def _lloyd(vectors: Matrix, shares: Matrix, centroids: Matrix) -> tuple[Matrix, NDArray[np.int64]]:
    """Return centroids after some rounds of k-means, and which of them each like belongs to."""
    own = _distances(vectors, centroids).argmin(2)
    for _ in range(_ROUNDS):
        member = (own[:, :, None] == np.arange(centroids.shape[1])) * shares[..., None]
        sizes = member.sum(1)
        moved = np.einsum("npk,npd->nkd", member, vectors) / np.maximum(sizes, 1e-12)[..., None]
        centroids = np.where(sizes[..., None] > 0, moved, centroids)
        own = _distances(vectors, centroids).argmin(2)
    return centroids, own


def _distances(vectors: Matrix, centroids: Matrix) -> Matrix:
    """Return (n, likes, k) squared distances; to a centroid that is not taken infinite."""
    taken = np.isfinite(centroids[:, :, 0])
    finite = np.where(taken[..., None], centroids, 0)
    products = np.einsum("npd,nkd->npk", vectors, finite)
    squares = (vectors**2).sum(2)[..., None] - 2 * products + (finite**2).sum(2)[:, None]
    found: Matrix = np.where(taken[:, None], np.maximum(squares, 0), np.inf)
    return found


def _spread(vectors: Matrix, shares: Matrix, centroids: Matrix, own: NDArray[np.int64]) -> Matrix:
    """Return (n,) weighted mean squared distances to the own centroid."""
    found: Matrix = (shares * np.take_along_axis(_distances(vectors, centroids), own[..., None], 2)[..., 0]).sum(1)
    return found
