"""Judge B: colour, edges and detail, weighed by what people have in common who are there for judges alone.

Nothing of it was trained on photographs, and its weights come from the likes of judge-only users of judge items. So it
shares no weight, no row and no feature with training, and none with judge A.
"""

from collections.abc import Mapping
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from personalgen.errors import DataError
from personalgen.evaluation.descriptors import DESCRIPTORS, describe
from personalgen.evaluation.interval import FloatArray
from personalgen.evaluation.judge import MIN_JUDGE_ITEMS, Pictures, weighted_rows, whitening
from personalgen.evaluation.nearest import unit_rows

MIN_JUDGE_USERS = 8
_DIMS = 12
"""Most directions of each descriptor."""


class DescriptorJudge:
    """Judge B: cosine between a picture and the mean of a user's likes, direction by direction weighed by reliability.

    Each descriptor is whitened over the judge items. The weight of a direction is the share of its variance that lies
    between people: the mean product of two different likes of one person, over its variance among likes (the one-way
    random-effects estimate; Searle, Casella & McCulloch 1992, Variance components, ch. 3). A direction in which
    people's likes have nothing in common weighs nothing. A user's mean is shrunk by the same figures.
    """

    name = "B (colour, edges and detail; weights from judge-only users)"

    def fit(self, items: Pictures, user_items: csr_array) -> Self:
        """Fit on the items that judge-only users liked, and their likes of them (n_judge_users, n_items).

        Raises:
            DataError: fewer than 16 items or 8 users with two likes, no pixels, or people have nothing in common.
        """
        likes = weighted_rows(user_items[np.diff(user_items.indptr) >= 2]) if user_items.shape[0] else user_items
        liked = np.unique(likes.indices)
        if likes.shape[0] < MIN_JUDGE_USERS or len(liked) < MIN_JUDGE_ITEMS:
            raise DataError(
                f"Judge B needs {MIN_JUDGE_USERS} judge-only users with two likes and {MIN_JUDGE_ITEMS} judge items "
                f"that they like, found {likes.shape[0]} and {len(liked)}. Nothing is judged by it."
            )
        columns = describe(_pixels(items.take(liked)))
        self.mean_ = {name: columns[name].mean(axis=0, dtype=np.float64) for name in DESCRIPTORS}
        self.maps_ = {
            name: whitening(columns[name] - self.mean_[name], min(_DIMS, len(liked) // 4)) for name in columns
        }
        self.reliability_ = _reliability(self._coordinates(columns), likes[:, liked])
        if not self.reliability_.any():
            raise DataError("Judge B sees nothing that likes of one person have in common. Nothing is judged by it.")
        return self

    def score(self, pictures: Pictures, items: Pictures, user_items: csr_array) -> FloatArray:
        """Return (n_pictures, n_users) cosines in [-1, 1]."""
        liked, places = np.unique(user_items.indices, return_inverse=True)
        known = csr_array((user_items.data, places, user_items.indptr), shape=(user_items.shape[0], len(liked)))
        means = weighted_rows(known) @ self._coordinates(describe(_pixels(items.take(liked))))
        n_likes = np.diff(user_items.indptr)[:, None]
        shrunk = means * n_likes / (n_likes + (1 - self.reliability_) / np.maximum(self.reliability_, 1e-12))
        weight = np.sqrt(self.reliability_)
        seen = self._coordinates(describe(_pixels(pictures)))
        return np.asarray(unit_rows(seen * weight) @ unit_rows(shrunk * weight).T)

    def _coordinates(self, columns: Mapping[str, NDArray[np.float32]]) -> FloatArray:
        """Return (n, r) whitened coordinates of all descriptors side by side."""
        parts = [(columns[name] - self.mean_[name]) @ self.maps_[name] for name in DESCRIPTORS]
        return np.concatenate(parts, axis=1)


def _reliability(coordinates: FloatArray, likes: csr_array) -> FloatArray:
    """Return (r,) the share in [0, 1) of each direction's variance that lies between people, each counting alike."""
    means, squares = likes @ coordinates, likes @ np.square(coordinates)
    own_pairs = csr_array(likes.multiply(likes)) @ np.square(coordinates)
    of_weights = np.asarray(likes.multiply(likes).sum(axis=1)).reshape(-1, 1)
    products = (np.square(means) - own_pairs) / np.maximum(1 - of_weights, 1e-12)
    grand = means.mean(axis=0)
    between = products.mean(axis=0) - np.square(grand)
    total = squares.mean(axis=0) - np.square(grand)
    share: FloatArray = np.clip(between / np.maximum(total, 1e-12), 0, 0.99)
    return share


def _pixels(items: Pictures) -> NDArray[np.uint8]:
    if items.images is None:
        raise DataError("Judge B looks at pixels, and was given none. Nothing is judged by it.")
    return items.images
