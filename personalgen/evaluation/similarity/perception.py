"""Content and style distance: what the judge's net sees in two pictures, late and early.

Both compare rows that `content_and_style` gives. Content is the Euclidean distance of the 1,280 features in which all
crowds are compared here. Style is that of an early map's channel means and standard deviations (Huang & Belongie 2017,
Arbitrary style transfer in real-time, eq. 13; Li et al. 2017, Demystifying neural style transfer, section 4.2: matching
these serves as matching Gram matrices does), which forget where in the picture anything is.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from personalgen.errors import DataError
from personalgen.evaluation.interval import FloatArray
from personalgen.evaluation.similarity.pair import PairMeasure


def _rows(features: NDArray[Any]) -> NDArray[Any]:
    if features.ndim != 2:
        raise DataError(
            f"Expected (n, d) features from content_and_style, found {features.shape}. Compute them first; pictures "
            "themselves are not compared here. Nothing was measured."
        )
    return features


def _euclidean(features: NDArray[Any], others: NDArray[Any]) -> FloatArray:
    return np.asarray(np.linalg.norm(features.astype(np.float64) - others, axis=1))


CONTENT = PairMeasure("Content distance", higher_is_nearer=False, describe=_rows, compare=_euclidean)
STYLE = PairMeasure("Style distance", higher_is_nearer=False, describe=_rows, compare=_euclidean)
