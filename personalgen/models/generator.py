"""What every generator is, whatever it is made of: z and a condition in, an image out, in one pass."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from personalgen.conditions import ROWS, Condition, ConditionSpec
from personalgen.models.conditioning import ConditionEncoder
from personalgen.models.options import ModelOptions


class Generator(nn.Module):
    """A generator of one family; a subclass draws from z and the encoded condition."""

    def __init__(self, options: ModelOptions, spec: ConditionSpec) -> None:
        """Build the condition's encoder; weights are drawn from torch's global generator."""
        super().__init__()
        self.options, self.spec = options, spec
        self.z_dim, self.resolution = options.z_dim, options.resolution
        self.encoder = ConditionEncoder(spec, options.style_dim)

    def forward(self, z: Tensor, condition: Condition, strengths: Mapping[str, float] | None = None) -> Tensor:
        """Return (B, 3, resolution, resolution) images, about [-1, 1] and not clipped.

        z is (B, z_dim) standard normal; `strengths` are those of `ConditionEncoder`.
        """
        return self.draw(z, self.encoder(condition, strengths))

    def draw(self, z: Tensor, encoded: Tensor) -> Tensor:
        """Return the images of (B, z_dim) latents and (B, style_dim) encoded conditions."""
        raise NotImplementedError


class VectorGenerator(nn.Module):
    """A generator whose inputs are plain tensors, for torch.export: z and one value per field, all of it present."""

    def __init__(self, generator: Generator) -> None:
        """Wrap `generator`."""
        super().__init__()
        self.generator = generator

    def forward(self, z: Tensor, *values: Tensor) -> Tensor:
        """Return images clipped to [-1, 1]; `values` follow the order of the ConditionSpec."""
        values_of = dict(zip(self.generator.spec.names, values, strict=True))
        rows = torch.zeros_like(z[:, 0], dtype=torch.bool)
        return cast("Tensor", self.generator(z, Condition(values_of, {ROWS: rows}))).clamp(-1, 1)
