"""Items that nobody could like yet: their scores from those of items that look alike."""

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from personalgen.recommenders.base import Matrix


def with_cold_items(scores: Matrix, features: Matrix, known: NDArray[np.bool_], *, ridge: float = 0.1) -> Matrix:
    """Return (n_users, n_items) scores in which the columns of items that are not `known` follow from their features.

    Such a column is the ridge regression from (n_items, n_features) `features` to the columns of known items. It is
    linear in them, so for the next-item model it is the column of coefficients that the regression would give, and for
    a factor model the item's vector. Where no item is known scores stay. `ridge` is a share of the features' mean
    variance.
    """
    if not known.any():
        return scores.copy()
    centred = features - features[known].mean(0)
    warm, cold = centred[known].astype(np.float64), centred[~known].astype(np.float64)
    gram = warm.T @ warm
    gram[np.diag_indices_from(gram)] += max(ridge * float(np.trace(gram)) / len(gram), 1e-9)
    weights = 1 / max(known.sum(), 1) + scipy.linalg.solve(gram, cold.T, assume_a="pos").T @ warm.T
    found = scores.copy()
    found[:, ~known] = scores[:, known] @ weights.T.astype(np.float32)
    return found
