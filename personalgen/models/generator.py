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


class TensorGenerator(nn.Module):
    """A generator whose inputs are plain tensors, for torch.export and ONNX.

    After z come a value per field, in the order of the specification, and then a bool mask per field, True where the
    value is present: (B,) for a vector or label, (B, longest) for a set or sequence. So the exported form serves whom
    the generator serves: people with short histories, people with none, a text alone.
    """

    def __init__(self, generator: Generator) -> None:
        """Wrap `generator`."""
        super().__init__()
        self.generator = generator
        names = generator.spec.names
        self.input_names = ("z", *names, *(f"{name}_present" for name in names))
        """One name per input, in order."""

    def forward(self, z: Tensor, *inputs: Tensor) -> Tensor:
        """Return images clipped to [-1, 1] of (B, z_dim) latents, the fields' values and their masks."""
        names = self.generator.spec.names
        named = dict(zip(self.input_names[1:], inputs, strict=True))
        masks = {name: named[f"{name}_present"] for name in names} | {ROWS: torch.zeros_like(z[:, 0], dtype=torch.bool)}
        return cast("Tensor", self.generator(z, Condition({name: named[name] for name in names}, masks))).clamp(-1, 1)

    def example_inputs(self, batch_size: int = 2, *, seed: int = 0) -> tuple[Tensor, ...]:
        """Return random inputs of the right shapes, some values absent."""
        rng = torch.Generator().manual_seed(seed)
        fields = self.generator.spec.fields
        z = torch.randn(batch_size, self.generator.z_dim, generator=rng)
        values = [torch.randn(batch_size, *entry.shape, generator=rng) for entry in fields]
        masks = [torch.rand(batch_size, *entry.shape[:-1], generator=rng) < 0.5 for entry in fields]
        return (z, *values, *masks)
