"""DCGAN (arXiv:1511.06434): strided convolutions with batch normalisation, the baseline that everybody knows."""

import itertools
from typing import cast

import torch
from torch import Tensor, nn

from personalgen.conditions import ConditionSpec
from personalgen.models.discriminator import Discriminator
from personalgen.models.generator import Generator
from personalgen.models.layers import LEAK, linear
from personalgen.models.options import BASE_PX, ModelOptions

_STD = 0.02
"""Standard deviation of the first weights (section 3)."""


class DCGANGenerator(Generator):
    """z beside the encoded condition, projected to 4x4 and doubled by transposed convolutions; tanh at the end."""

    def __init__(self, options: ModelOptions, spec: ConditionSpec) -> None:
        """Build the net for `spec`."""
        super().__init__(options, spec)
        widths = options.generator_widths
        self.project = nn.Linear(options.z_dim + options.style_dim, widths[0] * BASE_PX**2, bias=False)
        self.first = nn.Sequential(nn.BatchNorm2d(widths[0]), nn.ReLU())
        ups = [
            nn.Sequential(nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in itertools.pairwise(widths)
        ]
        self.stages = nn.Sequential(*ups)
        self.to_rgb = nn.Sequential(nn.Conv2d(widths[-1], 3, 3, padding=1), nn.Tanh())
        self.apply(_start)

    def draw(self, z: Tensor, encoded: Tensor) -> Tensor:
        """Return (B, 3, resolution, resolution) images."""
        x = self.project(torch.cat([z, encoded], dim=1)).unflatten(1, (-1, BASE_PX, BASE_PX))
        return cast("Tensor", self.to_rgb(self.stages(self.first(x))))


class DCGANDiscriminator(Discriminator):
    """Strided convolutions with batch normalisation; statistics are those of the batch, since it only ever trains."""

    mixes_rows = True

    def __init__(self, options: ModelOptions, spec: ConditionSpec) -> None:
        """Build the net for `spec`."""
        widths = options.discriminator_widths
        super().__init__(options, spec, widths[-1])
        layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 3, padding=1), nn.LeakyReLU(LEAK)]
        for a, b in itertools.pairwise(widths):
            norm = nn.BatchNorm2d(b, track_running_stats=False)
            layers += [nn.Conv2d(a, b, 4, 2, 1, bias=False), norm, nn.LeakyReLU(LEAK)]
        self.body = nn.Sequential(*layers)
        self.flatten = linear(widths[-1] * BASE_PX**2, widths[-1])
        self.body.apply(_start)

    def features(self, images: Tensor) -> Tensor:
        """Return (B, width) features of (B, 3, R, R) images."""
        return cast("Tensor", self.flatten(self.body(images).flatten(1)))


def _start(module: nn.Module) -> None:
    """Draw convolutions from N(0, 0.02), batch normalisation's scale from N(1, 0.02)."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, std=_STD)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, mean=1.0, std=_STD)
