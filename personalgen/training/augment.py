"""Differentiable augmentation of what the discriminator sees: indexing and arithmetic, so it has a double backward.

Source: DiffAugment (arXiv:2006.10738); each transform is applied with probability p per image, which keeps the
generator from imitating it as long as p < 1 (StyleGAN2-ADA, arXiv:2006.06676, section 2.2).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

_SHIFT, _CUT = 0.125, 0.4


def augment(images: Tensor, probability: float) -> Tensor:
    """Return (B, 3, H, W) images after random translation, cut-out and colour, each with `probability` per image."""
    return augment_alike([images], probability)[0]


def augment_alike(batches: Sequence[Tensor], probability: float) -> list[Tensor]:
    """Return the (B, 3, H, W) batches augmented so that row k of each gets the same transforms."""
    if probability <= 0:
        return list(batches)
    draw = _Draw(len(batches[0]), len(batches), batches[0].device)
    images = torch.cat(list(batches)) if len(batches) > 1 else batches[0]
    images = _cutout(_translate(_colour(images, probability, draw), probability, draw), probability, draw)
    return list(images.chunk(len(batches)))


class _Draw:
    """Random numbers of `rows` images, repeated for each of `copies` batches."""

    def __init__(self, rows: int, copies: int, device: torch.device) -> None:
        self.rows, self.copies, self.device = rows, copies, device

    def chance(self, probability: float) -> Tensor:
        """Return (copies * rows,) booleans."""
        return self._repeated(torch.rand(self.rows, device=self.device) < probability)

    def uniform(self) -> Tensor:
        """Return (copies * rows, 1, 1, 1) numbers in [-0.5, 0.5)."""
        return self._repeated(torch.rand(self.rows, device=self.device) - 0.5)[:, None, None, None]

    def integers(self, low: int, high: int) -> Tensor:
        """Return (copies * rows, 1) integers in [low, high)."""
        return self._repeated(torch.randint(low, high, (self.rows, 1), device=self.device))

    def _repeated(self, draw: Tensor) -> Tensor:
        return torch.cat([draw] * self.copies)


def flip(images: Tensor) -> Tensor:
    """Return the images with a random half of them mirrored."""
    chosen = torch.rand(len(images), device=images.device) < 0.5
    return torch.where(chosen[:, None, None, None], images.flip(3), images)


def _where(on: Tensor, images: Tensor) -> Tensor:
    return on[:, None, None, None].to(images.dtype)


def _colour(images: Tensor, probability: float, draw: _Draw) -> Tensor:
    """Shift brightness, scale saturation and contrast."""
    on = _where(draw.chance(probability), images)
    images = images + on * draw.uniform() * 0.5
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * (1 + on * draw.uniform())
    middle = images.mean((1, 2, 3), keepdim=True)
    return middle + (images - middle) * (1 + on * draw.uniform() * 0.5)


def _translate(images: Tensor, probability: float, draw: _Draw) -> Tensor:
    """Move by up to an eighth of the edge in whole pixels; the border is repeated."""
    batch, _, height, width = images.shape
    reach = int(height * _SHIFT)
    on = draw.chance(probability)[:, None].long()
    rows, columns = (_shifted(draw.integers(-reach, reach + 1) * on, length) for length in (height, width))
    batch_index = torch.arange(batch, device=images.device)[:, None, None]
    picked = images.permute(0, 2, 3, 1)[batch_index, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)


def _shifted(shift: Tensor, length: int) -> Tensor:
    """Return (batch, length) source positions after (batch, 1) shifts, clamped to the image."""
    return (torch.arange(length, device=shift.device)[None] + shift).clamp(0, length - 1)


def _cutout(images: Tensor, probability: float, draw: _Draw) -> Tensor:
    """Grey out one square of up to two fifths of the edge."""
    height, width = images.shape[2:]
    size = int(height * _CUT)
    top, left = draw.integers(-size // 2, height - size // 2), draw.integers(-size // 2, width - size // 2)
    rows = torch.arange(height, device=images.device)[None]
    columns = torch.arange(width, device=images.device)[None]
    inside = ((rows >= top) & (rows < top + size))[:, :, None] & ((columns >= left) & (columns < left + size))[
        :, None, :
    ]
    return images * (1 - _where(draw.chance(probability), images) * inside[:, None].to(images.dtype))
