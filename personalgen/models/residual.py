"""The default family: residual nets without normalisation after R3GAN, from dense convolutions that suit CPUs."""

import itertools
from typing import cast

import torch
from torch import Tensor, nn

from personalgen.conditions import ConditionSpec
from personalgen.models.discriminator import Discriminator, GroupSpread
from personalgen.models.generator import Generator
from personalgen.models.layers import ModulatedBlock, ResidualBlock, conv, doubled, leaky, linear, unit_variance
from personalgen.models.options import BASE_PX, ModelOptions


class Stage(nn.Module):
    """Modulated blocks at one resolution, after doubling the resolution of what came before."""

    def __init__(self, c_in: int, c_out: int, options: ModelOptions) -> None:
        """Build the stage; equal widths need no 1x1 convolution."""
        super().__init__()
        self.mix = conv(c_in, c_out, 1, gain=1.0, bias=False) if c_in != c_out else nn.Identity()
        self.blocks = _blocks(c_out, options)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Return (B, c_out, 2H, 2W)."""
        x = doubled(self.mix(x))
        for block in self.blocks:
            x = block(x, style)
        return x


class ResidualGenerator(Generator):
    """R3GAN-style residual generator with scale and shift by the condition in every block.

    A learned 4x4 basis, modulated by the style vector, is refined and doubled up to `resolution`. The style vector is a
    two-layer net of z and the encoded condition; with `conditioning = "concatenate"` it modulates the basis alone.
    Stages are named by their resolution, so that a net can start from one that was trained on smaller pictures.
    """

    def __init__(self, options: ModelOptions, spec: ConditionSpec) -> None:
        """Build the net for `spec`."""
        super().__init__(options, spec)
        widths = options.generator_widths
        self.style = nn.Sequential(
            linear(options.z_dim + options.style_dim, options.style_dim),
            nn.SiLU(),
            linear(options.style_dim, options.style_dim),
        )
        self.basis = nn.Parameter(torch.randn(1, widths[0], BASE_PX, BASE_PX))
        self.to_basis = linear(options.style_dim, widths[0])
        self.base = _blocks(widths[0], options)
        pairs = itertools.pairwise(widths)
        self.stages = nn.ModuleDict({f"px{2 * BASE_PX << k}": Stage(a, b, options) for k, (a, b) in enumerate(pairs)})
        self.to_rgb = conv(widths[-1], 3, 3, gain=0.7)

    def draw(self, z: Tensor, encoded: Tensor) -> Tensor:
        """Return (B, 3, resolution, resolution) images."""
        style = unit_variance(self.style(torch.cat([z, unit_variance(encoded)], dim=1)))
        x = self.basis * self.to_basis(style)[:, :, None, None]
        for block in self.base:
            x = block(x, style)
        for stage in self.stages.values():
            x = stage(x, style)
        return cast("Tensor", self.to_rgb(leaky(x)))


class ResidualDiscriminator(Discriminator):
    """R3GAN-style residual discriminator with projection of the condition; stages are named by their resolution."""

    def __init__(self, options: ModelOptions, spec: ConditionSpec) -> None:
        """Build the net; the condition's width comes from `spec`."""
        widths = options.discriminator_widths
        super().__init__(options, spec, widths[-1])
        self.from_rgb = conv(3, widths[0], 3, gain=1.0)
        pairs = itertools.pairwise(widths)
        self.stages = nn.ModuleDict(
            {
                f"px{options.resolution >> k}": nn.Sequential(
                    *(ResidualBlock(c) for _ in range(options.blocks)), conv(c, c_next, 1, gain=1.0), nn.AvgPool2d(2)
                )
                for k, (c, c_next) in enumerate(pairs)
            }
        )
        self.last = ResidualBlock(widths[-1])
        self.spread = GroupSpread(options.group_size)
        self.flatten = linear((widths[-1] + 1) * BASE_PX**2, widths[-1])

    def features(self, images: Tensor) -> Tensor:
        """Return (B, width) features of (B, 3, R, R) images, consecutive groups of which are for one person."""
        x = self.from_rgb(images)
        for stage in self.stages.values():
            x = stage(x)
        return leaky(self.flatten(self.spread(leaky(self.last(x))).flatten(1)))


def _blocks(channels: int, options: ModelOptions) -> nn.ModuleList:
    """Return the blocks of one resolution; where the condition is only concatenated, they do not listen to it."""
    style_dim = options.style_dim if options.conditioning == "modulate" else 0
    return nn.ModuleList([ModulatedBlock(channels, style_dim) for _ in range(options.blocks)])
