"""CIFAR-10 from a Parquet file with the columns `label` and `image`, the latter JPEG or PNG bytes."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from personalgen.errors import DataError


class Pictures(NamedTuple):
    """Pictures and the classes that they are of."""

    images: NDArray[np.uint8]
    """(n, 32, 32, 3)."""
    classes: NDArray[np.int64]
    """(n,) numbers of the labels in alphabetical order."""
    names: list[str]


def read_cifar(path: Path) -> Pictures:
    """Return the pictures of one file.

    Raises:
        DataError: the file is missing or has other columns.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing: a Parquet file with the columns label and image is needed.")
    table = pq.read_table(path)
    if missing := {"label", "image"} - set(table.column_names):
        raise DataError(f"{path} has no column {', '.join(sorted(missing))}, found {table.column_names}.")
    names, classes = np.unique(np.array(table.column("label").to_pylist()), return_inverse=True)
    images = np.stack([_decoded(data) for data in table.column("image").to_pylist()])
    return Pictures(images, classes.astype(np.int64), [str(name) for name in names])


def _decoded(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
        return np.asarray(image.convert("RGB"))
