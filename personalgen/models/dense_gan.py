"""The plain GAN (arXiv:1406.2661): fully connected nets that know nothing of space, the simplest baseline."""

import itertools
from typing import cast

import torch
from torch import Tensor, nn

from personalgen.conditions import ConditionSpec
from personalgen.models.discriminator import Discriminator
from personalgen.models.generator import Generator
from personalgen.models.layers import leaky, linear
from personalgen.models.options import ModelOptions

_LAYERS = 3
_WIDER = 2
"""Hidden layers have `max_width` columns times this."""


class DenseGenerator(Generator):
    """z beside the encoded condition through fully connected layers to all pixels at once."""

    def __init__(self, options: ModelOptions, spec: ConditionSpec) -> None:
        """Build the net for `spec`."""
        super().__init__(options, spec)
        hidden = _WIDER * options.max_width
        self.hidden = _hidden(options.z_dim + options.style_dim, hidden)
        self.to_pixels = linear(hidden, 3 * options.resolution**2)

    def draw(self, z: Tensor, encoded: Tensor) -> Tensor:
        """Return (B, 3, resolution, resolution) images."""
        x = torch.cat([z, encoded], dim=1)
        for layer in self.hidden:
            x = leaky(layer(x))
        return cast("Tensor", self.to_pixels(x).tanh().unflatten(1, (3, self.resolution, self.resolution)))


class DenseDiscriminator(Discriminator):
    """All pixels at once through fully connected layers."""

    def __init__(self, options: ModelOptions, spec: ConditionSpec) -> None:
        """Build the net for `spec`."""
        hidden = _WIDER * options.max_width
        super().__init__(options, spec, hidden)
        self.hidden = _hidden(3 * options.resolution**2, hidden)

    def features(self, images: Tensor) -> Tensor:
        """Return (B, hidden) features of (B, 3, R, R) images."""
        x = images.flatten(1)
        for layer in self.hidden:
            x = leaky(layer(x))
        return x


def _hidden(d_in: int, width: int) -> nn.ModuleList:
    return nn.ModuleList([linear(a, b, gain=1.3) for a, b in itertools.pairwise([d_in, *[width] * _LAYERS])])
