"""Texture distance: do the same small patterns come equally often, whatever the colours and wherever they are?

Patterns are uniform local binary patterns of 8 neighbours at radius 1 (Ojala, Pietikäinen & Mäenpää 2002,
Multiresolution gray-scale and rotation invariant texture classification, eq. 9-10; scikit-image): which of a pixel's
neighbours are at least as bright as it is, up to rotation, ten kinds in all. They follow brightness alone, and only its
order. The distance between two histograms is the chi-square one, half the sum of (p - q)² / (p + q): 0 for equal ones,
1 for pictures that share no pattern.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from personalgen.evaluation.interval import FloatArray
from personalgen.evaluation.similarity.pair import MIN_PX, PairMeasure, missing_package, require_images

N_NEIGHBOURS, N_PATTERNS = 8, 10
GREY_STEP = 8
"""Brightness of 0..255 is cut to steps of this size: one level of noise on a plain surface is no texture."""
_LUMA = np.array([0.2126, 0.7152, 0.0722])


def pattern_histograms(images: NDArray[Any]) -> FloatArray:
    """Return (n, 10) shares of the patterns in (n, height, width, 3) uint8 images; rows sum to 1."""
    require_images(images, min_px=MIN_PX)
    try:
        from skimage.feature import local_binary_pattern
    except ImportError as error:
        raise missing_package(error) from error
    rows = np.zeros((len(images), N_PATTERNS))
    for row, grey in zip(rows, _brightness(images), strict=True):
        patterns = local_binary_pattern(grey, N_NEIGHBOURS, 1, method="uniform")[1:-1, 1:-1]
        row[:] = np.bincount(patterns.astype(np.int64).ravel(), minlength=N_PATTERNS) / patterns.size
    return rows


def _brightness(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Return (n, height, width) brightness in whole steps (Rec. 709 luma)."""
    return np.asarray((images @ _LUMA + 0.5) // GREY_STEP, np.uint8)


def _chi_square(histograms: NDArray[Any], others: NDArray[Any]) -> FloatArray:
    total = histograms + others
    parts = np.square(histograms - others) / np.where(total > 0, total, 1.0)
    return np.asarray(parts.sum(axis=1) / 2)


TEXTURE = PairMeasure(
    "Texture distance (chi-square)", higher_is_nearer=False, describe=pattern_histograms, compare=_chi_square
)
