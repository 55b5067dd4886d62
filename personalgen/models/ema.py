"""The exponential moving average of the generator, which is what samples are drawn from."""

import copy
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def ema_copy(module: M) -> M:
    """Return a frozen copy of `module` to be averaged into."""
    return copy.deepcopy(module).eval().requires_grad_(requires_grad=False)


def ema_beta(batch_size: int, *, half_life_img: float, seen_img: float, rampup: float = 0.05) -> float:
    """Return the decay of one step: half-life in images, ramped up as `rampup` of the images seen (StyleGAN2-ADA)."""
    half_life = min(half_life_img, max(seen_img, 1.0) * rampup)
    return float(0.5 ** (batch_size / max(half_life, 1e-8)))


@torch.no_grad()
def ema_update(average: nn.Module, module: nn.Module, beta: float) -> None:
    """Move `average` towards `module` by 1 - beta; buffers are copied."""
    torch._foreach_lerp_(list(average.parameters()), list(module.parameters()), 1 - beta)
    for own, new in zip(average.buffers(), module.buffers(), strict=True):
        own.copy_(new)
