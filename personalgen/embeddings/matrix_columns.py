"""Matrices as columns of Parquet tables: each row is a list, all of one length."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def to_lists(array: NDArray[Any], kind: pa.DataType) -> pa.Array:
    """Return the rows of an array as lists of one length, at least 1."""
    flat = pa.array(np.ascontiguousarray(array).ravel(), type=kind)
    return pa.FixedSizeListArray.from_arrays(flat, math.prod(array.shape[1:]))


def from_lists(column: pa.ChunkedArray, dtype: type[np.generic]) -> NDArray[Any]:
    """Return the (n, width) array that `to_lists` wrote."""
    lists = column.combine_chunks()
    flat = lists.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat.reshape(len(lists), lists.type.list_size).astype(dtype))
