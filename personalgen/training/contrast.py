"""A contrastive preference loss: a made picture shall be recognised as its user's among the people of the batch."""

import itertools
from typing import cast

import torch
from torch import Tensor, nn

from personalgen.conditions import Condition, ConditionSpec
from personalgen.models.conditioning import ConditionEncoder
from personalgen.models.layers import conv, leaky, linear

_WIDTH = 32
_DIM = 64
_FIRST_TEMPERATURE = 2.0


class PreferenceContrast(nn.Module):
    """Images and conditions in one space, learned on real pairs only; it never judges an evaluation.

    A small convolutional net of its own: neither the discriminators, whose features the adversarial game moves about,
    nor any net of the evaluation.
    """

    def __init__(self, spec: ConditionSpec, style_dim: int) -> None:
        """Build both encoders; `spec` holds the fields that tell of a person."""
        super().__init__()
        widths = (3, _WIDTH, 2 * _WIDTH, 4 * _WIDTH)
        self.convs = nn.ModuleList([conv(a, b, 3) for a, b in itertools.pairwise(widths)])
        self.image = linear(2 * widths[-1], _DIM)
        self.encoder = ConditionEncoder(spec, style_dim)
        self.condition = linear(style_dim, _DIM)
        self.temperature = nn.Parameter(torch.tensor(_FIRST_TEMPERATURE))

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, 64) of (B, 3, R, R) images."""
        x = images
        for layer in self.convs:
            x = nn.functional.avg_pool2d(leaky(layer(x)), 2)
        return cast("Tensor", self.image(torch.cat([x.mean((2, 3)), x.amax((2, 3))], dim=1)))

    def is_known(self, condition: Condition) -> Tensor:
        """Return (B,) whether anything is known of the person."""
        masks = (condition.masks[entry.name] for entry in self.encoder.spec.fields)
        return torch.stack([mask.any(1) if mask.ndim == 2 else mask for mask in masks]).any(0)

    def condition_vectors(self, condition: Condition) -> Tensor:
        """Return (B, 64) of conditions."""
        return cast("Tensor", self.condition(self.encoder(condition)))
