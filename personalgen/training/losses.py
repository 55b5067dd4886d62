"""The adversarial objective: relativistic pairing, R1 and R2, and telling a user's picture from another's.

R3GAN (arXiv:2501.05441), eq. 2 with f(t) = -log(1 + exp(-t)) and eq. 4: penalties at every step. They go through
torch.func.vjp because autograd.grad(create_graph=True) cannot be compiled.
"""

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

_NO_ANSWER = -1e4
"""Similarity of an image with a condition that must not be chosen; finite, so that a batch without any has a loss."""


def relativistic_d_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return softplus(-(D(x) - D(G(z)))), averaged."""
    return F.softplus(fake_logits - real_logits).mean()


def relativistic_g_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return softplus(-(D(G(z)) - D(x))), averaged."""
    return F.softplus(real_logits - fake_logits).mean()


def nonsaturating_d_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return softplus(-D(x)) + softplus(D(G(z))), averaged (arXiv:1406.2661, section 3)."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def nonsaturating_g_loss(_real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return softplus(-D(G(z))), averaged."""
    return F.softplus(-fake_logits).mean()


class Adversary(NamedTuple):
    """Both players' losses, and how strongly the generator is pulled along the gradient of each fake's logit."""

    d_loss: Callable[[Tensor, Tensor], Tensor]
    g_loss: Callable[[Tensor, Tensor], Tensor]
    pull: Callable[[Tensor, Tensor], Tensor]
    """(B,) less the derivative of the generator's summed loss with respect to the fakes' logits."""


ADVERSARIES = {
    "relativistic": Adversary(
        relativistic_d_loss,
        relativistic_g_loss,
        lambda real_logits, fake_logits: torch.sigmoid(real_logits - fake_logits),
    ),
    "nonsaturating": Adversary(
        nonsaturating_d_loss, nonsaturating_g_loss, lambda _real_logits, fake_logits: torch.sigmoid(-fake_logits)
    ),
}


class Judged(NamedTuple):
    """What a discriminator says of a batch, all differentiable with respect to its weights."""

    logits: Tensor
    """(B,)."""
    features: Tensor
    """(B, width): the features that the logits were read from."""
    pull: Callable[[Tensor], Tensor]
    """Takes (B,) weights to the (B, 3, H, W) gradient of the weighted sum of logits with respect to the images."""

    def gradient(self) -> Tensor:
        """Return the gradient of the sum of logits."""
        return self.pull(torch.ones_like(self.logits))


def judge(discriminate: Callable[[Tensor], tuple[Tensor, Tensor]], images: Tensor) -> Judged:
    """Return what `discriminate`, which gives (logits, features), says of images."""
    logits, pull, features = torch.func.vjp(discriminate, images, has_aux=True)  # type: ignore[misc] # three with has_aux
    return Judged(logits, features, lambda weights: cast("Tensor", pull(weights)[0]))


def squared_norms(gradient: Tensor) -> Tensor:
    """Return (B,) squared norms, in float32 at least, of (B, 3, H, W) gradients: R1 on real images, R2 on fakes."""
    wide = gradient if gradient.dtype == torch.float64 else gradient.float()
    return wide.square().sum((1, 2, 3))


def judge_features(
    discriminate: Callable[..., tuple[Tensor, Tensor]], mixed: tuple[Tensor, ...], *, pixel_dims: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (n_scales, B) logits on feature maps, (n_scales, B, width) pooled features and the (B,) penalty.

    The penalty is on the gradients of the maps, in the units of pixels. A map with k times as many numbers as the image
    counts k times: distances between maps grow with their size, and with this factor one gamma serves both
    discriminators.
    """
    logits, pull, features = torch.func.vjp(discriminate, *mixed, has_aux=True)  # type: ignore[misc] # as above
    gradients = pull(torch.ones_like(logits))
    norms = [g[0].numel() / pixel_dims * squared_norms(g) for g in gradients]
    return logits, features, torch.stack(norms).sum(0)


def mismatch_loss(own_logits: Tensor, other_logits: Tensor) -> Tensor:
    """Return softplus(-(D(x, c) - D(x, c'))): a real picture belongs to its own user rather than to another.

    Matching-aware discrimination (arXiv:1605.05396, section 4.2) in relativistic form.
    """
    return F.softplus(other_logits - own_logits).mean()


def contrastive_loss(
    images: Tensor, conditions: Tensor, person: Tensor, temperature: Tensor, *, whose: Tensor | None = None
) -> Tensor:
    """Return how badly the (B, d) images are recognised as their person's among the (M, d) conditions of the batch.

    InfoNCE (arXiv:1807.03748, eq. 4) on unit vectors, from images to conditions. Rows of one person, whose (B,) numbers
    are equal, are all right answers; `whose` (M,) are the conditions' numbers, by default those of the images. Rows
    with a negative number are nobody's: such an image is not asked about, and such a condition is no answer. The mean
    counts each image as its share of all M that are asked about, so that means of equal parts average to that of all.
    """
    whose = person if whose is None else whose
    known = whose >= 0
    similarity = F.normalize(images, dim=1) @ F.normalize(conditions, dim=1).T * temperature.exp()
    similarity = similarity.masked_fill(~known, _NO_ANSWER)
    right = ((person[:, None] == whose) & known).to(similarity.dtype)
    losses = -(similarity.log_softmax(1) * right).sum(1) / right.sum(1).clamp(min=1)
    return losses.sum() * len(whose) / len(images) / known.sum().clamp(min=1)


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, variance) || N(0, 1)), summed over latents, averaged over rows (arXiv:1312.6114, eq. 10)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
