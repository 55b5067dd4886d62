"""The planted truth as a judge: the true utility of pictures for the very users that other judges look at."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from personalgen.evaluation.attributes import AttributeEstimator
from personalgen.evaluation.interval import FloatArray
from personalgen.evaluation.planted import true_utility_scores
from personalgen.worlds import AttributeWorld, PlantedUsers


@dataclass(frozen=True)
class Truth:
    """A world, some of its people, and how their held-out real likes score; generated pictures are read alike."""

    world: AttributeWorld
    estimator: AttributeEstimator
    users: PlantedUsers
    item_scores: FloatArray
    """(n, n_users): true utility of real pictures for everybody, in nats."""
    likes: csr_array
    """(n_users, n) positive weights of held-out likes of these pictures."""
    real_scores: FloatArray
    """(n_users, n_users): mean true utility of the held-out likes of u (rows) for v (columns), in nats."""

    @classmethod
    def of(
        cls,
        world: AttributeWorld,
        estimator: AttributeEstimator,
        users: PlantedUsers,
        *,
        images: NDArray[np.uint8],
        likes: csr_array,
    ) -> "Truth":
        """Return the truth about `users`, whose held-out `likes` (n_users, n) are of the real pictures `images`."""
        shown = estimator.read(images)
        real = true_utility_scores(world, users, shown, pictures_of_users=likes)
        of_items = np.asarray(world.utility_of_attributes(users, shown).T, dtype=np.float64)
        return cls(world, estimator, users, of_items, likes, real)

    def picture_scores(self, images: NDArray[np.uint8]) -> FloatArray:
        """Return (n_users, k, n_users) true utilities of (n_users, k, R, R, 3) pictures of u (first axis) for v."""
        n_users, k = images.shape[:2]
        shown = self.estimator.read(images.reshape(n_users * k, *images.shape[2:]))
        utility = self.world.utility_of_attributes(self.users, shown)
        return np.asarray(utility.T.reshape(n_users, k, n_users), dtype=np.float64)
