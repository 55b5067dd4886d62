"""The discriminators: one on pixels, one on frozen features; both judge an image together with its condition."""

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from personalgen.conditions import Condition, ConditionSpec
from personalgen.models.layers import LEAK, ConditionEncoder, ResidualBlock, conv, leaky, linear
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
    """R3GAN-style residual discriminator on pixels with projection of the condition; stages are named by their resolution."""

    def __init__(self, options: ModelOptions, spec: ConditionSpec) -> None:
        """Build the net; the condition's width comes from `spec`."""
        super().__init__()
        widths = options.discriminator_widths
        self.encoder = ConditionEncoder(spec, options.style_dim)
        self.from_rgb = conv(3, widths[0], 3, gain=1.0)
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.stages = nn.ModuleDict({
            f"px{options.resolution >> k}": nn.Sequential(
                *(ResidualBlock(c) for _ in range(options.blocks)), conv(c, c_next, 1, gain=1.0), nn.AvgPool2d(2)
            )
            for k, (c, c_next) in enumerate(pairs)
        })
        self.last = ResidualBlock(widths[-1])
        self.flatten = linear(widths[-1] * 16, widths[-1])
        self.head = Projection(widths[-1], options.style_dim)

    def features(self, images: Tensor) -> Tensor:
        """Return (B, width) features of (B, 3, R, R) images."""
        x = self.from_rgb(images)
        for stage in self.stages.values():
            x = stage(x)
        return leaky(self.flatten(leaky(self.last(x)).flatten(1)))

    def score(self, features: Tensor, condition: Condition) -> Tensor:
        """Return (B,) logits of `features`."""
        return cast("Tensor", self.head(features, self.encoder(condition)))

    def forward(self, images: Tensor, condition: Condition) -> Tensor:
        """Return (B,) logits."""
        return self.score(self.features(images), condition)


class FeatureDiscriminator(nn.Module):
    """Small discriminators on several depths of a frozen feature net (Projected GANs, arXiv:2111.01007).

    `channels` are the widths of the frozen maps from shallow to deep. Each map is mixed across channels by a fixed random
    1x1 projection and across scales by adding the next deeper mix; one small head per scale follows. We differ from the
    paper in two ways: each head judges the condition too, and the heads are kept in check by R1 and R2 on their inputs
    instead of by spectral normalisation and a hinge, under which a small generator collapsed to one picture.
    """

    def __init__(self, channels: Sequence[int], spec: ConditionSpec, *, style_dim: int, width: int = 64) -> None:
        """Build one head per frozen map."""
        super().__init__()
        self.encoder = ConditionEncoder(spec, style_dim)
        self.mixes = nn.ModuleList([conv(c, width, 1, gain=1.0, bias=False) for c in channels])
        self.mixes.requires_grad_(False)
        self.heads = nn.ModuleList([
            nn.Sequential(conv(width, width, 3), nn.LeakyReLU(LEAK), conv(width, width, 3), nn.LeakyReLU(LEAK)) for _ in channels
        ])
        self.logits = nn.ModuleList([Projection(width, style_dim) for _ in channels])

    def mixed(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return one (B, width, H, W) mix of about unit variance per frozen map, shallow to deep; nothing here learns."""
        out: list[Tensor] = []
        for mix, frozen in zip(reversed(self.mixes), reversed(maps), strict=True):
            x = mix(frozen)
            if out:
                x = (x + F.interpolate(out[-1], size=x.shape[-2:], mode="bilinear", align_corners=False)) * math.sqrt(0.5)
            out.append(x)
        return tuple(reversed(out))

    def pooled(self, mixed: Sequence[Tensor]) -> list[Tensor]:
        """Return one (B, width) row per mix."""
        return [head(x).mean((2, 3)) for head, x in zip(self.heads, mixed, strict=True)]

    def score(self, pooled: Sequence[Tensor], condition: Condition) -> Tensor:
        """Return (n_scales, B) logits."""
        encoded = self.encoder(condition)
        return torch.stack([logit(row, encoded) for logit, row in zip(self.logits, pooled, strict=True)])

    def forward(self, mixed: Sequence[Tensor], condition: Condition) -> Tensor:
        """Return (n_scales, B) logits of mixed maps; each depends on its own mix alone."""
        return self.score(self.pooled(mixed), condition)
