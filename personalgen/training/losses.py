"""The adversarial objective: relativistic pairing, R1 and R2, and telling a user's picture from another's.

R3GAN (arXiv:2501.05441), eq. 2 with f(t) = -log(1 + exp(-t)) and eq. 4: penalties at every step. They go through
torch.func.vjp because autograd.grad(create_graph=True) cannot be compiled.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


def relativistic_d_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return softplus(-(D(x) - D(G(z)))), averaged."""
    return F.softplus(fake_logits - real_logits).mean()


def relativistic_g_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return softplus(-(D(G(z)) - D(x))), averaged."""
    return F.softplus(real_logits - fake_logits).mean()


class Judged(NamedTuple):
    """What a discriminator says of a batch, all differentiable with respect to its weights."""

    logits: Tensor
    """(B,)."""
    features: Tensor
    """(B, width): the features that the logits were read from."""
    penalty: Tensor
    """(B,) squared norms of `gradient`: R1 on real images, R2 on fakes."""
    gradient: Tensor
    """(B, 3, H, W) gradient of the logits with respect to the images: also what a generator's loss passes back."""


def judge(discriminate: Callable[[Tensor], tuple[Tensor, Tensor]], images: Tensor) -> Judged:
    """Return what `discriminate`, which gives (logits, features), says of images, with its gradient."""
    logits, pull, features = torch.func.vjp(discriminate, images, has_aux=True)  # type: ignore[misc] # three with has_aux
    (gradient,) = pull(torch.ones_like(logits))
    return Judged(logits, features, gradient.float().square().sum((1, 2, 3)), gradient)


def mismatch_loss(own_logits: Tensor, other_logits: Tensor) -> Tensor:
    """Return softplus(-(D(x, c) - D(x, c'))): a real picture belongs to its own user rather than to another.

    Matching-aware discrimination (arXiv:1605.05396, section 4.2) in relativistic form.
    """
    return F.softplus(other_logits - own_logits).mean()


def judge_features(
    discriminate: Callable[..., Tensor], mixed: tuple[Tensor, ...], *, pixel_dims: int
) -> tuple[Tensor, Tensor]:
    """Return (n_scales, B) logits on feature maps and the (B,) penalty on their gradients, in the units of pixels.

    A map with k times as many numbers as the image counts k times: distances between maps grow with their size, and
    with this factor one gamma serves both discriminators.
    """
    logits, pull = torch.func.vjp(discriminate, *mixed)[:2]
    gradients = pull(torch.ones_like(logits))
    norms = [g[0].numel() / pixel_dims * g.float().square().sum((1, 2, 3)) for g in gradients]
    return logits, torch.stack(norms).sum(0)
