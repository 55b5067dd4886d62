"""Training pairs: a picture and the vector of the user who liked it, as known before that like."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from personalgen.artifacts import digest_of, short_digest
from personalgen.errors import ConfigError, DataError
from personalgen.training.options import batch_fault


@dataclass(frozen=True)
class TrainingPairs:
    """The whole data set, resident on one device."""

    images: Tensor
    """(n_items, 3, R, R) uint8."""
    image_of_pair: Tensor
    """(n_pairs,) int64 rows of `images`."""
    vectors: Tensor
    """(n_pairs, dim) float32 point-in-time preference vectors."""
    start_of_pair: Tensor
    """(n_pairs,) int64: first pair of the same user; a user's pairs are consecutive."""
    count_of_pair: Tensor
    """(n_pairs,) int64: how many pairs that user has."""

    @classmethod
    def of(
        cls,
        images: NDArray[np.uint8],
        image_of_pair: NDArray[np.integer],
        vectors: NDArray[np.float32],
        user_of_pair: NDArray[np.integer],
    ) -> "TrainingPairs":
        """Return the pairs from (n_items, R, R, 3) uint8 pictures and per-pair columns sorted by user.

        Raises:
            DataError: there is no pair to train on, or a user's pairs are not consecutive.
        """
        if not len(image_of_pair):
            raise DataError(
                "no training pair: no user liked a training item in the training period. Nothing was trained."
            )
        if (np.diff(user_of_pair) < 0).any():
            raise DataError("training pairs must be sorted by user. Nothing was trained.")
        _, start, inverse, count = np.unique(user_of_pair, return_index=True, return_inverse=True, return_counts=True)
        pictures = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        columns = (image_of_pair, start[inverse], count[inverse])
        image, first, size = (torch.from_numpy(column.astype(np.int64)) for column in columns)
        return cls(pictures, image, torch.from_numpy(np.ascontiguousarray(vectors)), first, size)

    def to(self, device: torch.device) -> "TrainingPairs":
        """Return the pairs on another device."""
        columns = (self.images, self.image_of_pair, self.vectors, self.start_of_pair, self.count_of_pair)
        return TrainingPairs(*(column.to(device) for column in columns))

    def draw(self, batch_size: int, group_size: int) -> tuple[Tensor, Tensor]:
        """Return a random batch: (B, 3, R, R) float32 in [-1, 1] and (B, dim) vectors; each group is one user's.

        Raises:
            ConfigError: groups do not divide the batch.
        """
        if fault := batch_fault(batch_size, group_size):
            raise ConfigError(f"train: {fault}. Nothing was trained.")
        first = torch.randint(len(self.image_of_pair), (batch_size // group_size,)).repeat_interleave(group_size)
        chance = torch.rand(len(first))
        first, chance = first.to(self.images.device), chance.to(self.images.device)
        chosen = self.start_of_pair[first] + (chance * self.count_of_pair[first]).long()
        return self.images[self.image_of_pair[chosen]].float() / 127.5 - 1, self.vectors[chosen]

    def digest(self) -> str:
        """Return 32 hex digits of the content."""
        parts = (self.images, self.image_of_pair, self.vectors, self.start_of_pair)
        return digest_of([short_digest(part.cpu().numpy().tobytes()) for part in parts])
