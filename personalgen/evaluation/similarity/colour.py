"""Colour distance: how far the colours of one picture have to be moved to become those of the other, wherever they are.

Pixels are taken to CIE L*a*b* (scikit-image; sRGB, illuminant D65, 2 degree observer). In each of the three columns the
earth mover's distance between the pixels' values is the mean distance of their quantiles; the three are put together as
a length, sqrt(L² + a² + b²). Of two pictures of one colour each this is their CIE 1976 difference, Delta E*ab, and in
that unit it is read: about 2 is just seen, black to white is 100. Columns are moved one by one, so it never exceeds the
earth mover's distance in three dimensions, and pictures whose columns agree though their colours do not have zero.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from personalgen.evaluation.interval import FloatArray
from personalgen.evaluation.similarity.pair import PairMeasure, missing_package, require_images

N_QUANTILES = 64
_IMAGES = 512
"""Pictures converted in one pass."""


def lab_quantiles(images: NDArray[Any]) -> NDArray[np.float32]:
    """Return (n, 3, 64) float32: the sorted values of L*, a* and b* of (n, height, width, 3) uint8 images.

    Each is the mean of a 64th of the pixels, darkest, greenest and bluest first.
    """
    require_images(images)
    return np.concatenate(
        [np.empty((0, 3, N_QUANTILES), np.float32)]
        + [_quantiles(images[start : start + _IMAGES]) for start in range(0, len(images), _IMAGES)]
    )


def _quantiles(images: NDArray[Any]) -> NDArray[np.float32]:
    try:
        from skimage.color import rgb2lab
    except ImportError as error:
        raise missing_package(error) from error
    columns = np.moveaxis(rgb2lab(images / np.float32(255)), -1, 1).reshape(len(images), 3, -1)
    sums = np.cumsum(np.sort(columns, axis=2), axis=2, dtype=np.float64)
    edges = np.linspace(0, columns.shape[2], N_QUANTILES + 1)
    return np.asarray(np.diff(_at(sums, edges), axis=2) * N_QUANTILES / columns.shape[2], np.float32)


def _at(sums: FloatArray, edges: FloatArray) -> FloatArray:
    """Return the sum of the first `edges` values of each row; a part of a value counts in part."""
    padded = np.concatenate([np.zeros((*sums.shape[:2], 1)), sums], axis=2)
    low = np.minimum(edges.astype(np.int64), sums.shape[2] - 1)
    return np.asarray(padded[..., low] + (edges - low) * (padded[..., low + 1] - padded[..., low]))


def _distance(quantiles: NDArray[Any], others: NDArray[Any]) -> FloatArray:
    moved = np.abs(quantiles.astype(np.float64) - others).mean(axis=2)
    return np.asarray(np.sqrt(np.square(moved).sum(axis=1)))


COLOUR = PairMeasure("Colour distance (Delta E)", higher_is_nearer=False, describe=lab_quantiles, compare=_distance)
