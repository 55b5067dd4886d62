"""The adversarial objective: relativistic pairing, R1 and R2, and telling a user's picture from another's.

R3GAN (arXiv:2501.05441), eq. 2 with f(t) = -log(1 + exp(-t)) and eq. 4: penalties at every step. They go through
torch.func.vjp because autograd.grad(create_graph=True) cannot be compiled.
"""

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor


def relativistic_d_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return softplus(-(D(x) - D(G(z)))), averaged."""
    return F.softplus(fake_logits - real_logits).mean()


def relativistic_g_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return softplus(-(D(G(z)) - D(x))), averaged."""
    return F.softplus(real_logits - fake_logits).mean()


def logits_and_gradient(discriminate: Callable[[Tensor], Tensor], images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (B,) logits, (B,) squared norms of their gradient with respect to the images, and that gradient.

    All are differentiable with respect to the discriminator's weights: the squared norm is the R1 (real) or R2 (fake)
    penalty, the gradient itself is what a generator's loss passes back.
    """
    logits, pull = torch.func.vjp(discriminate, images)
    (gradient,) = pull(torch.ones_like(logits))
    return cast("Tensor", logits), gradient.float().square().sum((1, 2, 3)), gradient


def mismatch_loss(own_logits: Tensor, other_logits: Tensor) -> Tensor:
    """Return softplus(-(D(x, c) - D(x, c'))): a real picture belongs to its own user rather than to another.

    Matching-aware discrimination (arXiv:1605.05396, section 4.2) in relativistic form.
    """
    return F.softplus(other_logits - own_logits).mean()
