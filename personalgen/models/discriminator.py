"""What every discriminator is: features of an image, then a logit of those features and the condition."""

import math
from typing import cast

import torch
from torch import Tensor, nn

from personalgen.conditions import Condition, ConditionSpec
from personalgen.models.conditioning import ConditionEncoder
from personalgen.models.layers import leaky, linear
from personalgen.models.options import ModelOptions

_SMOOTH = 0.05
"""Added to variances under the root: R1 takes its second derivative, which has no bound where equal pictures meet."""


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


class Concatenation(nn.Module):
    """A logit from features and condition laid side by side: the baseline that projection is measured against."""

    def __init__(self, width: int, style_dim: int) -> None:
        """Build a net of two layers for features of `width` columns."""
        super().__init__()
        self.mix, self.plain = linear(width + style_dim, width), linear(width, 1)

    def forward(self, features: Tensor, encoded: Tensor) -> Tensor:
        """Return (B,) logits from (B, width) features and (B, style_dim) encoded conditions."""
        return cast("Tensor", self.plain(leaky(self.mix(torch.cat([features, encoded], dim=1)))).squeeze(1))


def logit_of(width: int, style_dim: int, conditioning: str) -> nn.Module:
    """Return what makes a logit of features of `width` columns and a condition, as `ModelOptions.conditioning` says."""
    return (Projection if conditioning == "modulate" else Concatenation)(width, style_dim)


class InnerProduct(nn.Module):
    """A logit <f, c> from features and a condition embedded as widely; without a condition the only feature."""

    def __init__(self, *, conditional: bool) -> None:
        """Decide whether there is a condition to be heard."""
        super().__init__()
        self.conditional = conditional

    def forward(self, features: Tensor, encoded: Tensor) -> Tensor:
        """Return (B,) logits from (B, width) features and (B, width) encoded conditions."""
        return (features * encoded if self.conditional else features).sum(1)


class GroupSpread(nn.Module):
    """Appends one map: how far the images of a group differ from each other.

    Minibatch standard deviation (Karras et al., arXiv:1710.10196, section 3) over groups of `size` consecutive rows.
    The loop puts one person's pictures into a group: a generator that draws one picture per person is found out.
    """

    def __init__(self, size: int) -> None:
        """Set the group size; batches that it does not divide form one group."""
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C + 1, H, W)."""
        batch, channels, height, width = x.shape
        size = self.size if batch % self.size == 0 else batch
        groups = x.float().reshape(batch // size, size, channels, height, width)
        spread = (groups.var(1, unbiased=False) + _SMOOTH).sqrt().mean((1, 2, 3))
        column = spread.repeat_interleave(size).reshape(batch, 1, 1, 1).expand(batch, 1, height, width)
        return torch.cat([x, column.to(x.dtype)], dim=1)


class Discriminator(nn.Module):
    """A discriminator of one family; a subclass turns images into features of `feature_dim` columns."""

    mixes_rows = False
    """Whether an image's logit depends strongly on the other images of the batch."""

    def __init__(self, options: ModelOptions, spec: ConditionSpec, feature_dim: int) -> None:
        """Build the condition's encoder and the head that reads features beside it."""
        super().__init__()
        self.encoder = ConditionEncoder(spec, options.style_dim)
        self.head = logit_of(feature_dim, options.style_dim, options.conditioning)

    def features(self, images: Tensor) -> Tensor:
        """Return (B, feature_dim) features of (B, 3, R, R) images, consecutive groups of which are for one person."""
        raise NotImplementedError

    def score(self, features: Tensor, condition: Condition) -> Tensor:
        """Return (B,) logits of `features`."""
        return cast("Tensor", self.head(features, self.encoder(condition)))

    def forward(self, images: Tensor, condition: Condition) -> Tensor:
        """Return (B,) logits."""
        return self.score(self.features(images), condition)
