"""Training pairs: a picture and the vector of the user who liked it, as known before that like."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from personalgen.artifacts import digest_of, short_digest
from personalgen.errors import DataError


@dataclass(frozen=True)
class TrainingPairs:
    """The whole data set, resident on one device."""

    images: Tensor
    """(n_items, 3, R, R) uint8."""
    image_of_pair: Tensor
    """(n_pairs,) int64 rows of `images`."""
    vectors: Tensor
    """(n_pairs, dim) float32 point-in-time preference vectors."""

    @classmethod
    def of(cls, images: NDArray[np.uint8], image_of_pair: NDArray[np.integer], vectors: NDArray[np.float32]) -> "TrainingPairs":
        """Return the pairs from (n_items, R, R, 3) uint8 pictures and per-pair columns.

        Raises:
            DataError: there is no pair to train on.
        """
        if not len(image_of_pair):
            raise DataError("no training pair: no user liked a training item in the training period. Nothing was trained.")
        pictures = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        return cls(pictures, torch.from_numpy(image_of_pair.astype(np.int64)), torch.from_numpy(np.ascontiguousarray(vectors)))

    def to(self, device: torch.device) -> "TrainingPairs":
        """Return the pairs on another device."""
        return TrainingPairs(self.images.to(device), self.image_of_pair.to(device), self.vectors.to(device))

    def draw(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """Return a random batch: (B, 3, R, R) float32 in [-1, 1] and (B, dim) vectors."""
        chosen = torch.randint(len(self.image_of_pair), (batch_size,)).to(self.images.device)
        return self.images[self.image_of_pair[chosen]].float() / 127.5 - 1, self.vectors[chosen]

    def digest(self) -> str:
        """Return 32 hex digits of the content."""
        parts = (self.images, self.image_of_pair, self.vectors)
        return digest_of([short_digest(part.cpu().numpy().tobytes()) for part in parts])
