"""Who, or what, is most alike: exact nearest neighbours by the cosine of vectors."""

import numpy as np
from numpy.typing import NDArray

from personalgen.recommenders.base import Matrix

_CHUNK_COSINES = 1 << 25


def nearest(vectors: Matrix, count: int) -> tuple[NDArray[np.int64], Matrix]:
    """Return (n, count) rows with the highest cosine to each row but itself, highest first, and the cosines.

    A row of zeros is alike to nothing: its neighbours, and places where there are not so many, are -1 with a cosine
    of NaN.
    """
    n_rows = len(vectors)
    norm = np.linalg.norm(vectors, axis=1)
    some = norm > 0
    unit = (vectors / np.where(some, norm, 1)[:, None]).astype(np.float32)
    found = np.full((n_rows, count), -1, dtype=np.int64)
    cosines = np.full((n_rows, count), np.nan, dtype=np.float32)
    kept = min(count, n_rows - 1)
    chunk = max(_CHUNK_COSINES // max(n_rows, 1), 1)
    for start in range(0, n_rows if kept > 0 else 0, chunk):
        rows = np.arange(start, min(start + chunk, n_rows))
        product = unit[rows] @ unit.T
        product[:, ~some] = -np.inf
        product[rows - start, rows] = -np.inf
        product[~some[rows]] = -np.inf
        best = highest(product, kept)
        value = np.take_along_axis(product, best, axis=1)
        there = np.isfinite(value)
        found[rows, :kept], cosines[rows, :kept] = np.where(there, best, -1), np.where(there, value, np.nan)
    return found, cosines


def highest(scores: Matrix, count: int) -> NDArray[np.int64]:
    """Return (n, count) columns with the highest scores of each row, highest first, of equal ones the first."""
    best = np.sort(np.argpartition(-scores, count - 1, axis=1)[:, :count], axis=1)
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1)
