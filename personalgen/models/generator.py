"""The generator: z and a condition in, an image out, in one pass."""

import itertools
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from personalgen.conditions import Condition, ConditionSpec
from personalgen.models.layers import ConditionEncoder, ModulatedBlock, conv, leaky, linear, unit_variance
from personalgen.models.options import ModelOptions

BASE_PX = 4


class Stage(nn.Module):
    """Modulated blocks at one resolution, after doubling the resolution of what came before."""

    def __init__(self, c_in: int, c_out: int, options: ModelOptions) -> None:
        """Build the stage; equal widths need no 1x1 convolution."""
        super().__init__()
        self.mix = conv(c_in, c_out, 1, gain=1.0, bias=False) if c_in != c_out else nn.Identity()
        self.blocks = nn.ModuleList([ModulatedBlock(c_out, options.style_dim) for _ in range(options.blocks)])

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Return (B, c_out, 2H, 2W)."""
        x = F.interpolate(self.mix(x), scale_factor=2, mode="bilinear", align_corners=False)
        for block in self.blocks:
            x = block(x, style)
        return x


class Generator(nn.Module):
    """R3GAN-style residual generator with scale and shift by the condition in every block.

    A learned 4x4 basis, modulated by the style vector, is refined and doubled up to `resolution`. The style vector is a
    two-layer net of z and the encoded condition. Stages are named by their resolution, so that a net can start from
    one that was trained on smaller pictures.
    """

    def __init__(self, options: ModelOptions, spec: ConditionSpec) -> None:
        """Build the net for `spec`; weights are drawn from torch's global generator."""
        super().__init__()
        self.options, self.spec = options, spec
        self.z_dim, self.resolution = options.z_dim, options.resolution
        widths = options.generator_widths
        self.encoder = ConditionEncoder(spec, options.style_dim)
        self.style = nn.Sequential(
            linear(options.z_dim + options.style_dim, options.style_dim),
            nn.SiLU(),
            linear(options.style_dim, options.style_dim),
        )
        self.basis = nn.Parameter(torch.randn(1, widths[0], BASE_PX, BASE_PX))
        self.to_basis = linear(options.style_dim, widths[0])
        self.base = nn.ModuleList([ModulatedBlock(widths[0], options.style_dim) for _ in range(options.blocks)])
        pairs = itertools.pairwise(widths)
        self.stages = nn.ModuleDict({f"px{2 * BASE_PX << k}": Stage(a, b, options) for k, (a, b) in enumerate(pairs)})
        self.to_rgb = conv(widths[-1], 3, 3, gain=0.7)

    def forward(self, z: Tensor, condition: Condition) -> Tensor:
        """Return (B, 3, resolution, resolution) images, about [-1, 1] and not clipped.

        z is (B, z_dim) standard normal.
        """
        style = unit_variance(self.style(torch.cat([z, unit_variance(self.encoder(condition))], dim=1)))
        x = self.basis * self.to_basis(style)[:, :, None, None]
        for block in self.base:
            x = block(x, style)
        for stage in self.stages.values():
            x = stage(x, style)
        return cast("Tensor", self.to_rgb(leaky(x)))


class VectorGenerator(nn.Module):
    """A generator whose inputs are plain tensors, for torch.export: z and one value per field, all present."""

    def __init__(self, generator: Generator) -> None:
        """Wrap `generator`."""
        super().__init__()
        self.generator = generator

    def forward(self, z: Tensor, *values: Tensor) -> Tensor:
        """Return images clipped to [-1, 1]; `values` follow the order of the ConditionSpec."""
        names = [entry.name for entry in self.generator.spec.fields]
        present = torch.ones_like(z[:, 0], dtype=torch.bool)
        condition = Condition(dict(zip(names, values, strict=True)), dict.fromkeys(names, present))
        return cast("Tensor", self.generator(z, condition)).clamp(-1, 1)
