"""The encoder of a variational autoencoder; its decoder is a generator like any other.

Without a condition it is the VAE (arXiv:1312.6114), with one the conditional VAE (Sohn et al., NeurIPS 2015), whose
encoder and decoder both see the condition.
"""

import itertools

import torch
from torch import Tensor, nn

from personalgen.conditions import Condition, ConditionSpec
from personalgen.models.conditioning import ConditionEncoder
from personalgen.models.layers import ResidualBlock, conv, leaky, linear
from personalgen.models.options import BASE_PX, ModelOptions

_WIDEST_LOG_VARIANCE = 6.0


class ImageEncoder(nn.Module):
    """Images and their conditions as Gaussian latents."""

    def __init__(self, options: ModelOptions, spec: ConditionSpec) -> None:
        """Build the net; it is as wide as the discriminator of the same options."""
        super().__init__()
        widths = options.discriminator_widths
        self.encoder = ConditionEncoder(spec, options.style_dim)
        layers: list[nn.Module] = [conv(3, widths[0], 3, gain=1.0)]
        for a, b in itertools.pairwise(widths):
            layers += [ResidualBlock(a), conv(a, b, 1, gain=1.0), nn.AvgPool2d(2)]
        self.body = nn.Sequential(*layers, ResidualBlock(widths[-1]))
        self.hidden = linear(widths[-1] * BASE_PX**2 + options.style_dim, options.style_dim)
        self.out = linear(options.style_dim, 2 * options.z_dim, gain=0.5)

    def forward(self, images: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """Return mean and logarithm of the variance, each (B, z_dim)."""
        seen = leaky(self.body(images)).flatten(1)
        x = leaky(self.hidden(torch.cat([seen, self.encoder(condition)], dim=1)))
        mean, log_variance = self.out(x).chunk(2, dim=1)
        return mean, log_variance.clamp(-_WIDEST_LOG_VARIANCE, _WIDEST_LOG_VARIANCE)
