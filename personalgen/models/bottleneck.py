"""The published R3GAN nets: inverted bottlenecks with grouped convolutions, few arithmetic operations per image.

R3GAN (arXiv:2501.05441), config E. With `conditioning = "concatenate"` and `group_size = 1` they are the published
ones, function for function; "modulate" adds scale and shift by the condition in every block of the generator and the
head that our other residual nets have, a larger group the map of its spread.
"""

import itertools
import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from personalgen.conditions import ConditionSpec
from personalgen.models.conditioning import LinearEncoder
from personalgen.models.discriminator import Discriminator, GroupSpread, InnerProduct
from personalgen.models.generator import Generator
from personalgen.models.layers import GAIN, conv, leaky, linear, modulated, unit_variance
from personalgen.models.options import BASE_PX, ModelOptions
from personalgen.models.resample import downsample, upsample

_PER_GROUP = 16
"""Channels in a group of the 3x3 convolution; fewer where the width is no multiple of it."""


class Bottleneck(nn.Module):
    """A residual block: 1x1 to `expansion` times the channels, 3x3 in groups, 1x1 back; no normalisation.

    Fixup (arXiv:1901.09321, section 3) keeps the variance of a net of `n_blocks` such blocks: the last convolution
    starts at zero, the other two are scaled by n_blocks^(-1/4).
    """

    def __init__(self, channels: int, *, expansion: int, n_blocks: int, style_dim: int = 0) -> None:
        """Build the block for `channels` maps; with a `style_dim` of 0 it is not modulated."""
        super().__init__()
        wide, gain = expansion * channels, GAIN * n_blocks**-0.25
        self.film = linear(style_dim, 2 * channels) if style_dim else None
        self.expand = conv(channels, wide, 1, gain=gain)
        self.grouped = conv(wide, wide, 3, gain=gain, groups=wide // math.gcd(wide, _PER_GROUP))
        self.project = conv(wide, channels, 1, gain=0.0, bias=False)

    def forward(self, x: Tensor, style: Tensor | None = None) -> Tensor:
        """Return x plus its residual; x is (B, channels, H, W), style (B, style_dim) where the block is modulated."""
        return self._added(x, self.project(self._wide(x, style)))

    def of_doubled(self, x: Tensor, style: Tensor | None = None) -> Tensor:
        """Return what the block makes of `upsample(x)`.

        The first 1x1 convolution commutes with doubling but for its bias, and costs a quarter before it.
        """
        if self.film is not None:
            return cast("Tensor", self(upsample(x), style))
        wide = upsample(F.conv2d(x, self.expand.weight))
        wide = leaky(wide + cast("Tensor", self.expand.bias).to(wide.dtype)[:, None, None])
        return self._added(upsample(x), self.project(leaky(self.grouped(wide))))

    def halved(self, x: Tensor) -> Tensor:
        """Return `downsample` of what the block makes of x; the last 1x1 convolution costs a quarter behind it."""
        return self._added(downsample(x), self.project(downsample(self._wide(x))))

    def _wide(self, x: Tensor, style: Tensor | None = None) -> Tensor:
        """Return the inner channels in front of the last convolution."""
        y = x if self.film is None or style is None else modulated(x, self.film(style))
        return leaky(self.grouped(leaky(self.expand(y))))

    @staticmethod
    def _added(x: Tensor, residual: Tensor) -> Tensor:
        """Return the sum, in the type that convolutions compute in."""
        return x.to(residual.dtype) + residual


class UpStage(nn.Module):
    """Blocks at one resolution, after doubling the resolution of what came before."""

    def __init__(self, c_in: int, c_out: int, options: ModelOptions) -> None:
        """Build the stage; equal widths need no 1x1 convolution."""
        super().__init__()
        self.mix = conv(c_in, c_out, 1, gain=1.0, bias=False) if c_in != c_out else nn.Identity()
        self.blocks = _blocks(c_out, options, style_dim=_style_dim(options))

    def forward(self, x: Tensor, style: Tensor | None) -> Tensor:
        """Return (B, c_out, 2H, 2W)."""
        first, *others = cast("list[Bottleneck]", list(self.blocks))
        x = first.of_doubled(self.mix(x), style)
        for block in others:
            x = block(x, style)
        return x


class DownStage(nn.Module):
    """Blocks at one resolution, then half of it."""

    def __init__(self, c_in: int, c_out: int, options: ModelOptions) -> None:
        """Build the stage; equal widths need no 1x1 convolution."""
        super().__init__()
        self.blocks = _blocks(c_in, options)
        self.mix = conv(c_in, c_out, 1, gain=1.0, bias=False) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, c_out, H/2, W/2)."""
        *others, last = cast("list[Bottleneck]", list(self.blocks))
        for block in others:
            x = block(x)
        return cast("Tensor", self.mix(last.halved(x)))


class BottleneckGenerator(Generator):
    """A learned 4x4 basis, scaled per channel by z and the condition, refined and doubled up to `resolution`.

    Stages are named by their resolution, so that a net can start from one that was trained on smaller pictures.
    """

    def __init__(self, options: ModelOptions, spec: ConditionSpec) -> None:
        """Build the net for `spec`."""
        super().__init__(options, spec)
        if options.conditioning == "concatenate":
            self.encoder = LinearEncoder(spec, options.style_dim)
        widths, style_dim = options.generator_widths, _style_dim(options)
        inputs = options.z_dim + (options.style_dim if spec.fields else 0)
        self.style = _style_net(inputs, style_dim) if style_dim else None
        self.basis = nn.Parameter(torch.randn(1, widths[0], BASE_PX, BASE_PX))
        self.to_basis = linear(style_dim or inputs, widths[0], bias=None)
        self.base = _blocks(widths[0], options, style_dim=style_dim)
        pairs = itertools.pairwise(widths)
        self.stages = nn.ModuleDict({f"px{2 * BASE_PX << k}": UpStage(a, b, options) for k, (a, b) in enumerate(pairs)})
        self.to_rgb = conv(widths[-1], 3, 1, gain=1.0, bias=False)

    def draw(self, z: Tensor, encoded: Tensor) -> Tensor:
        """Return (B, 3, resolution, resolution) images."""
        style = z
        if self.spec.fields:
            style = torch.cat([z, encoded if self.style is None else unit_variance(encoded)], dim=1)
        if self.style is not None:
            style = unit_variance(self.style(style))
        x = self.basis * self.to_basis(style)[:, :, None, None]
        for block in self.base:
            x = block(x, style)
        for stage in self.stages.values():
            x = stage(x, style)
        return cast("Tensor", self.to_rgb(x))


class BottleneckDiscriminator(Discriminator):
    """Blocks and halvings down to 4x4, whose 16 places one learned weight per channel and place adds up."""

    def __init__(self, options: ModelOptions, spec: ConditionSpec) -> None:
        """Build the net; the condition's width comes from `spec`."""
        widths = options.discriminator_widths
        published = options.conditioning == "concatenate"
        n_features = widths[-1] if spec.fields or not published else 1
        super().__init__(options, spec, n_features)
        if published:
            self.encoder = LinearEncoder(spec, n_features, gain=1 / math.sqrt(n_features))
            self.head = InnerProduct(conditional=bool(spec.fields))
        self.from_rgb = conv(3, widths[0], 1, gain=1.0, bias=False)
        pairs = itertools.pairwise(widths)
        self.stages = nn.ModuleDict(
            {f"px{options.resolution >> k}": DownStage(a, b, options) for k, (a, b) in enumerate(pairs)}
        )
        self.last = nn.Sequential(*_blocks(widths[-1], options))
        self.spread = GroupSpread(options.group_size) if options.group_size > 1 else None
        channels = widths[-1] + (self.spread is not None)
        self.basis = nn.Parameter(torch.randn(1, channels, BASE_PX, BASE_PX) / BASE_PX)
        self.flatten = linear(channels, n_features, bias=None)

    def features(self, images: Tensor) -> Tensor:
        """Return (B, n_features) features of (B, 3, R, R) images, consecutive groups of which are for one person."""
        x = self.from_rgb(images)
        for stage in self.stages.values():
            x = stage(x)
        x = self.last(x)
        if self.spread is not None:
            x = self.spread(x)
        return cast("Tensor", self.flatten((x * self.basis).sum((2, 3))))


def _style_dim(options: ModelOptions) -> int:
    """Return the width of the vector that modulates blocks; 0 where the condition is only concatenated."""
    return options.style_dim if options.conditioning == "modulate" else 0


def _style_net(inputs: int, style_dim: int) -> nn.Sequential:
    """Return the net of the style vector."""
    return nn.Sequential(linear(inputs, style_dim), nn.SiLU(), linear(style_dim, style_dim))


def _blocks(channels: int, options: ModelOptions, *, style_dim: int = 0) -> nn.ModuleList:
    """Return the blocks of one resolution of a net that has as many at each."""
    sizes = {"expansion": options.expansion, "n_blocks": options.n_blocks, "style_dim": style_dim}
    return nn.ModuleList([Bottleneck(channels, **sizes) for _ in range(options.blocks)])
