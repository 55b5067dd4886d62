"""The discriminators: one on pixels, one on frozen features; both judge an image together with its condition."""

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from personalgen.conditions import Condition, ConditionSpec
from personalgen.models.layers import ConditionEncoder, ResidualBlock, conv, leaky, linear
from personalgen.models.options import ModelOptions


class Projection(nn.Module):
    """A logit from features and a condition: w.f + <f, Vc> / sqrt(d) (Miyato and Koyama, arXiv:1802.05637, eq. 3)."""

    def __init__(self, width: int, style_dim: int) -> None:
        """Build the two linear maps for features of `width` columns."""
        super().__init__()
        self.plain = linear(width, 1)
        self.embed = linear(style_dim, width)
        self.scale = 1 / math.sqrt(width)

    def forward(self, features: Tensor, encoded: Tensor) -> Tensor:
        """Return (B,) logits from (B, width) features and (B, style_dim) encoded conditions."""
        return cast("Tensor", self.plain(features).squeeze(1) + (features * self.embed(encoded)).sum(1) * self.scale)


class Discriminator(nn.Module):
    """R3GAN-style residual discriminator on pixels with projection of the condition."""

    def __init__(self, options: ModelOptions, spec: ConditionSpec) -> None:
        """Build the net; the condition's width comes from `spec`."""
        super().__init__()
        widths = options.discriminator_widths
        self.encoder = ConditionEncoder(spec, options.style_dim)
        self.from_rgb = conv(3, widths[0], 3, gain=1.0)
        self.stages = nn.ModuleList([
            nn.Sequential(*(ResidualBlock(c) for _ in range(options.blocks)), conv(c, c_next, 1, gain=1.0), nn.AvgPool2d(2))
            for c, c_next in zip(widths[:-1], widths[1:], strict=True)
        ])
        self.last = ResidualBlock(widths[-1])
        self.flatten = linear(widths[-1] * 16, widths[-1])
        self.head = Projection(widths[-1], options.style_dim)

    def features(self, images: Tensor) -> Tensor:
        """Return (B, width) features of (B, 3, R, R) images."""
        x = self.from_rgb(images)
        for stage in self.stages:
            x = stage(x)
        return leaky(self.flatten(leaky(self.last(x)).flatten(1)))

    def forward(self, images: Tensor, condition: Condition) -> Tensor:
        """Return (B,) logits."""
        return cast("Tensor", self.head(self.features(images), self.encoder(condition)))


class FeatureDiscriminator(nn.Module):
    """Small discriminators on several depths of a frozen feature net (Projected GANs, arXiv:2111.01007).

    `channels` are the widths of the frozen maps from shallow to deep. Each map is mixed across channels by a fixed random
    1x1 projection and across scales by adding the next deeper mix; one spectrally normalised head per scale follows. We add
    projection of the condition to each head; the paper's heads are unconditional.
    """

    def __init__(self, channels: Sequence[int], spec: ConditionSpec, *, style_dim: int, width: int = 64) -> None:
        """Build one head per frozen map."""
        super().__init__()
        self.encoder = ConditionEncoder(spec, style_dim)
        self.mixes = nn.ModuleList([conv(c, width, 1, gain=1.0, bias=False).requires_grad_(requires_grad=False) for c in channels])
        self.heads = nn.ModuleList([_head(width) for _ in channels])
        self.logits = nn.ModuleList([Projection(width, style_dim) for _ in channels])

    def pooled(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return one (B, width) row per frozen map, shallow to deep."""
        mixed: list[Tensor] = []
        for mix, frozen in zip(reversed(self.mixes), reversed(maps), strict=True):
            x = mix(frozen)
            if mixed:
                x = (x + F.interpolate(mixed[-1], size=x.shape[-2:], mode="bilinear", align_corners=False)) * math.sqrt(0.5)
            mixed.append(x)
        pairs = zip(self.heads, reversed(mixed), strict=True)
        return [leaky(head(x)).mean((2, 3)) for head, x in pairs]

    def score(self, pooled: Sequence[Tensor], condition: Condition) -> Tensor:
        """Return (n_scales, B) logits."""
        encoded = self.encoder(condition)
        return torch.stack([logit(row, encoded) for logit, row in zip(self.logits, pooled, strict=True)])

    def forward(self, maps: Sequence[Tensor], condition: Condition) -> Tensor:
        """Return (n_scales, B) logits, one per frozen map."""
        return self.score(self.pooled(maps), condition)


def _head(width: int) -> nn.Sequential:
    """Return the two convolutions of one scale."""
    return nn.Sequential(
        spectral_norm(conv(width, width, 3)), nn.LeakyReLU(0.2), spectral_norm(conv(width, width, 3)),
    )
