"""What every measure of two pictures offers: describe each picture once, then compare descriptions row for row."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personalgen.errors import ConfigError, DataError
from personalgen.evaluation.interval import FloatArray

MIN_PX = 16
"""Least height and width of a picture whose structure or texture can be told."""


@dataclass(frozen=True)
class PairMeasure:
    """A similarity, or a distance, of two pictures: called with two equally long sets, it compares row for row."""

    name: str
    """What reports call it, with its unit."""

    higher_is_nearer: bool
    """True for a similarity, False for a distance."""

    describe: Callable[[NDArray[Any]], NDArray[Any]]
    """Returns (n, ...) what is compared of (n, ...) pictures."""

    compare: Callable[[NDArray[Any], NDArray[Any]], FloatArray]
    """Returns (n,) values of two sets of descriptions, row for row; the order of the two does not matter."""

    def __call__(self, pictures: NDArray[Any], others: NDArray[Any]) -> FloatArray:
        """Return (n,) values of the pairs of pictures that stand in the same row."""
        if pictures.shape != others.shape:
            raise DataError(
                f"{self.name} compares pictures row for row, found {pictures.shape} and {others.shape}. Bring both to "
                "one size and number. Nothing was measured."
            )
        return self.compare(self.describe(pictures), self.describe(others))


def require_images(images: NDArray[Any], *, min_px: int = 1) -> None:
    """Refuse what is no set of RGB pictures of at least `min_px` a side.

    Raises:
        DataError: the array is not (n, height, width, 3) uint8, or the pictures are too small.
    """
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise DataError(
            f"Expected (n, height, width, 3) uint8 images, found {images.shape} {images.dtype}. Convert them before "
            "comparing. Nothing was measured."
        )
    if min(images.shape[1:3]) < min_px:
        raise DataError(
            f"Expected images of at least {min_px} x {min_px} px, found {images.shape[1]} x {images.shape[2]}: what "
            "this measure compares does not fit into fewer. Leave it out or enlarge them. Nothing was measured."
        )


def missing_package(error: ImportError) -> ConfigError:
    """Return the error to raise where a measure's package is not installed."""
    return ConfigError(
        f"Measures of similarity need the package {error.name}, which is not installed. Install the extra `demo` "
        "(pip install 'personalgen[demo]'). Nothing was measured."
    )
