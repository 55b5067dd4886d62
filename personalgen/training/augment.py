"""Differentiable augmentation of what the discriminator sees: indexing and arithmetic, so it has a double backward.

Source: DiffAugment (arXiv:2006.10738); each transform is applied with probability p per image, which keeps the
generator from imitating it as long as p < 1 (StyleGAN2-ADA, arXiv:2006.06676, section 2.2).
"""

import torch
from torch import Tensor

_SHIFT, _CUT = 0.125, 0.4


def augment(images: Tensor, probability: float) -> Tensor:
    """Return (B, 3, H, W) images after random translation, cut-out and colour, each with `probability` per image."""
    if probability <= 0:
        return images
    return _cutout(_translate(_colour(images, probability), probability), probability)


def flip(images: Tensor) -> Tensor:
    """Return the images with a random half of them mirrored."""
    chosen = torch.rand(len(images), device=images.device) < 0.5
    return torch.where(chosen[:, None, None, None], images.flip(3), images)


def _chance(images: Tensor, probability: float) -> Tensor:
    return (torch.rand(len(images), 1, 1, 1, device=images.device) < probability).to(images.dtype)


def _colour(images: Tensor, probability: float) -> Tensor:
    """Shift brightness, scale saturation and contrast."""
    on = _chance(images, probability)
    draw = torch.rand(3, len(images), 1, 1, 1, device=images.device)
    images = images + on * (draw[0] - 0.5) * 0.5
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * (1 + on * (draw[1] - 0.5))
    middle = images.mean((1, 2, 3), keepdim=True)
    return middle + (images - middle) * (1 + on * (draw[2] - 0.5) * 0.5)


def _translate(images: Tensor, probability: float) -> Tensor:
    """Move by up to an eighth of the edge in whole pixels; the border is repeated."""
    batch, _, height, width = images.shape
    reach = int(height * _SHIFT)
    on = (torch.rand(batch, 1, device=images.device) < probability).long()
    rows = _shifted(batch, height, reach, on, images.device)
    columns = _shifted(batch, width, reach, on, images.device)
    batch_index = torch.arange(batch, device=images.device)[:, None, None]
    picked = images.permute(0, 2, 3, 1)[batch_index, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)


def _shifted(batch: int, length: int, reach: int, on: Tensor, device: torch.device) -> Tensor:
    """Return (batch, length) source positions after a random shift, clamped to the image."""
    shift = torch.randint(-reach, reach + 1, (batch, 1), device=device) * on
    return (torch.arange(length, device=device)[None] + shift).clamp(0, length - 1)


def _cutout(images: Tensor, probability: float) -> Tensor:
    """Grey out one square of up to two fifths of the edge."""
    batch, _, height, width = images.shape
    size = int(height * _CUT)
    top = torch.randint(-size // 2, height - size // 2, (batch, 1), device=images.device)
    left = torch.randint(-size // 2, width - size // 2, (batch, 1), device=images.device)
    rows = torch.arange(height, device=images.device)[None]
    columns = torch.arange(width, device=images.device)[None]
    inside = ((rows >= top) & (rows < top + size))[:, :, None] & ((columns >= left) & (columns < left + size))[
        :, None, :
    ]
    return images * (1 - _chance(images, probability) * inside[:, None].to(images.dtype))
