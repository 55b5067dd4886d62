"""Latents that answer to real pictures: each picture of a person claims the nearest of several made for that person.

Conditional implicit maximum likelihood (arXiv:1809.09087; conditional: arXiv:2004.03590): because no real picture is
left without a made one near it, the generator cannot keep to a few pictures, which the adversarial loss alone allows.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

_COMPARED_PX = 8
_POOLED = (1, 2, 4)


def nearest_latents(make: Callable[[Tensor], Tensor], images: Tensor, candidates: Tensor, *, group_size: int) -> Tensor:
    """Return (B, z_dim) latents, the candidate for each image whose picture comes nearest to it.

    `candidates` is (M, z_dim) with M a multiple of B; a group of images (consecutive, one person's) shares the
    consecutive M * group_size / B candidates of its own, and no two of its images get the same one: the closest pair
    goes first. `make` turns all candidates into (M, 3, H, W) pictures. Distances are of colours pooled to 8 x 8.
    """
    n_groups, dims = len(images) // group_size, candidates.shape[1]
    real = pooled_colours(images).reshape(n_groups, group_size, -1)
    made = pooled_colours(make(candidates)).reshape(n_groups, len(candidates) // n_groups, -1)
    distance = torch.cdist(real, made)
    choices, groups = candidates.view(n_groups, -1, dims), torch.arange(n_groups, device=images.device)
    chosen = candidates.new_empty(n_groups, group_size, dims)
    for _ in range(group_size):
        closest = distance.flatten(1).argmin(1)
        row, column = closest // distance.shape[2], closest % distance.shape[2]
        chosen[groups, row] = choices[groups, column]
        distance[groups, row, :] = torch.inf
        distance[groups, :, column] = torch.inf
    return chosen.view(-1, dims)


def match_loss(made: Tensor, images: Tensor) -> Tensor:
    """Return the mean squared difference of colours, averaged over the full size, a half and a quarter of it."""
    errors = [F.mse_loss(F.avg_pool2d(made, k), F.avg_pool2d(images, k)) for k in _POOLED]
    return torch.stack(errors).mean()


def pooled_colours(images: Tensor) -> Tensor:
    """Return (B, 3, 8, 8) float32 mean colours of (B, 3, H, W) images."""
    return F.adaptive_avg_pool2d(images.float(), _COMPARED_PX)
