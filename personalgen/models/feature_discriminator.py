"""A second discriminator that sees what a frozen feature net sees: shapes and things instead of pixels."""

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from personalgen.conditions import Condition, ConditionSpec
from personalgen.models.conditioning import ConditionEncoder
from personalgen.models.discriminator import GroupSpread, logit_of
from personalgen.models.layers import LEAK, conv


class FeatureDiscriminator(nn.Module):
    """Small discriminators on several depths of a frozen feature net (Projected GANs, arXiv:2111.01007).

    `channels` are the widths of the frozen maps from shallow to deep. Each map is mixed across channels by a fixed
    random 1x1 projection and across scales by adding the next deeper mix; one small head per scale follows. We differ
    from the paper in two ways: each head judges the condition too, and the heads are kept in check by R1 and R2 on
    their inputs instead of by spectral normalisation and a hinge, under which our generator collapsed to one picture.
    """

    def __init__(
        self,
        channels: Sequence[int],
        spec: ConditionSpec,
        *,
        style_dim: int,
        group_size: int,
        conditioning: str = "modulate",
        width: int = 32,
    ) -> None:
        super().__init__()
        self.encoder = ConditionEncoder(spec, style_dim)
        self.mixes = nn.ModuleList([conv(c, width, 1, gain=1.0, bias=False) for c in channels]).requires_grad_(False)
        self.heads = nn.ModuleList([_head(width, group_size) for _ in channels])
        self.logits = nn.ModuleList([logit_of(width, style_dim, conditioning) for _ in channels])

    def mixed(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return one (B, width, H, W) mix of about unit variance per frozen map; nothing here learns."""
        out: list[Tensor] = []
        for mix, frozen in zip(reversed(self.mixes), reversed(maps), strict=True):
            x = mix(frozen)
            if out:
                deeper = F.interpolate(out[-1], size=x.shape[-2:], mode="bilinear", align_corners=False)
                x = (x + deeper) * math.sqrt(0.5)
            out.append(x)
        return tuple(reversed(out))

    def pooled(self, mixed: Sequence[Tensor]) -> Tensor:
        """Return (n_scales, B, width) features of mixed maps; each depends on its own mix alone."""
        return torch.stack([head(x).mean((2, 3)) for head, x in zip(self.heads, mixed, strict=True)])

    def score(self, pooled: Tensor, condition: Condition) -> Tensor:
        """Return (n_scales, B) logits of pooled features."""
        encoded = self.encoder(condition)
        logits = [cast("Tensor", logit(row, encoded)) for logit, row in zip(self.logits, pooled, strict=True)]
        return torch.stack(logits)

    def forward(self, mixed: Sequence[Tensor], condition: Condition) -> Tensor:
        """Return (n_scales, B) logits of mixed maps; each depends on its own mix alone."""
        return self.score(self.pooled(mixed), condition)


def _head(width: int, group_size: int) -> nn.Sequential:
    """Return the two convolutions of one scale; the second also sees how far one person's pictures differ."""
    return nn.Sequential(
        conv(width, width, 3),
        nn.LeakyReLU(LEAK),
        GroupSpread(group_size),
        conv(width + 1, width, 3),
        nn.LeakyReLU(LEAK),
    )
