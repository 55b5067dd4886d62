"""Differentiable augmentation of what the discriminator sees: indexing and arithmetic, so it has a double backward.

Source: DiffAugment (arXiv:2006.10738); each transform is applied with probability p per image, which keeps the
generator from imitating it as long as p < 1 (StyleGAN2-ADA, arXiv:2006.06676, section 2.2). The random numbers come
from outside, so that a step is a function of its inputs and compiles as one graph.
"""

import torch
from torch import Tensor

_SHIFT, _CUT = 0.125, 0.4
N_NUMBERS = 10
"""Random numbers in [0, 1) per image: three switches, then the sizes of what they switch on."""


def augment(images: Tensor, numbers: Tensor, probability: Tensor | float) -> Tensor:
    """Return (B, 3, H, W) images after random colour, translation and cut-out, each with `probability` per image.

    `numbers` is (B, 10) uniform in [0, 1); equal rows give equal transforms. Probability 0 changes nothing.
    """
    on = (numbers[:, :3] < probability).to(images.dtype)
    colour, shift, cut = numbers[:, 3:6], numbers[:, 6:8], numbers[:, 8:10]
    return _cutout(_translate(_colour(images, on[:, 0], colour), on[:, 1], shift), on[:, 2], cut)


def flip(images: Tensor, chosen: Tensor) -> Tensor:
    """Return the images with those mirrored where `chosen` (B,) is True."""
    return torch.where(chosen[:, None, None, None], images.flip(3), images)


def _column(x: Tensor) -> Tensor:
    return x[:, None, None, None]


def _colour(images: Tensor, on: Tensor, numbers: Tensor) -> Tensor:
    """Shift brightness by up to a quarter, scale saturation by 0.5 to 1.5 and contrast by 0.75 to 1.25."""
    brightness, saturation, contrast = ((on * (numbers[:, k] - 0.5)).to(images.dtype) for k in range(3))
    images = images + 0.5 * _column(brightness)
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * (1 + _column(saturation))
    middle = images.mean((1, 2, 3), keepdim=True)
    return middle + (images - middle) * (1 + 0.5 * _column(contrast))


def _translate(images: Tensor, on: Tensor, numbers: Tensor) -> Tensor:
    """Move by up to an eighth of the edge in whole pixels; the border is repeated."""
    batch, _, height, width = images.shape
    reach = int(height * _SHIFT)
    moves = (_integers(numbers, 2 * reach + 1) - reach) * on[:, None].long()
    rows, columns = (_shifted(moves[:, k : k + 1], length) for k, length in ((0, height), (1, width)))
    batch_index = torch.arange(batch, device=images.device)[:, None, None]
    picked = images.permute(0, 2, 3, 1)[batch_index, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)


def _shifted(shift: Tensor, length: int) -> Tensor:
    """Return (batch, length) source positions after (batch, 1) shifts, clamped to the image."""
    return (torch.arange(length, device=shift.device)[None] + shift).clamp(0, length - 1)


def _cutout(images: Tensor, on: Tensor, numbers: Tensor) -> Tensor:
    """Grey out one square of up to two fifths of the edge."""
    height, width = images.shape[2:]
    size = int(height * _CUT)
    start = _integers(numbers, height) - size // 2
    inside = _column(on)
    for k, length in ((0, height), (1, width)):
        place = torch.arange(length, device=images.device)[None]
        first = start[:, k : k + 1]
        within = ((place >= first) & (place < first + size)).to(images.dtype)
        inside = inside * (within[:, None, :, None] if k == 0 else within[:, None, None, :])
    return images * (1 - inside)


def _integers(numbers: Tensor, count: int) -> Tensor:
    """Return integers in [0, count) of numbers in [0, 1)."""
    return (numbers * count).long().clamp(max=count - 1)
