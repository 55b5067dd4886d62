"""From a condition to one vector: each field has a net of its own and a learned row for when it is absent."""

import math
from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from personalgen.conditions import Condition, ConditionSpec, FieldSpec
from personalgen.errors import ConfigError
from personalgen.models.layers import linear

HEADS = 4


class ElementsEncoder(nn.Module):
    """A set or a sequence of rows as one vector: a block of self-attention, then attention by a learned query.

    After the Set Transformer (arXiv:1810.00825, sections 3.1 and 3.2) with masks; a sequence also has a learned place
    per position, so that the order (newest first) counts. The learned null row takes part in every sequence: it is
    all there is where no element is present, and no softmax runs over nothing.
    """

    def __init__(self, entry: FieldSpec, width: int) -> None:
        """Build the net for rows of `entry.width` columns.

        Raises:
            ConfigError: the heads do not divide `width`.
        """
        super().__init__()
        if width % HEADS:
            raise ConfigError(
                f"the field {entry.name!r}, a {entry.kind}, is encoded in {width} columns, which must be a multiple of "
                f"{HEADS}: model.style_dim, and model.discriminator_width and max_width of published nets. Nothing was "
                "built."
            )
        self.embed = linear(entry.width, width)
        places = torch.zeros(entry.longest, width) if entry.kind == "sequence" else None
        self.places = None if places is None else nn.Parameter(places)
        self.norm = nn.LayerNorm(width)
        self.qkv, self.mix = linear(width, 3 * width), linear(width, width, gain=0.5)
        self.query = nn.Parameter(torch.randn(1, 1, width))
        self.key_value, self.out = linear(width, 2 * width), linear(width, width)

    def forward(self, value: Tensor, mask: Tensor, null: Tensor) -> Tensor:
        """Return (B, width) of (B, n, columns) rows, (B, n) flags of presence and the (columns,) null row."""
        batch, count = mask.shape
        x = self.embed(torch.where(mask[..., None], value, 0.0))
        if self.places is not None:
            x = x + self.places[:count]
        x = torch.cat([x, self.embed(null).expand(batch, 1, -1)], dim=1)
        seen = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        query, key, values = self.qkv(self.norm(x)).chunk(3, dim=-1)
        x = x + self.mix(_attend(query, key, values, seen))
        key, values = self.key_value(self.norm(x)).chunk(2, dim=-1)
        pooled = _attend(self.query.expand(batch, 1, -1), key, values, seen)
        return cast("Tensor", self.out(F.silu(pooled[:, 0])))


class ConditionEncoder(nn.Module):
    """A condition as one vector: the sum over its fields of a small net; a learned row stands for an absent field."""

    def __init__(self, spec: ConditionSpec, width: int) -> None:
        """Build one small net per field of `spec`."""
        super().__init__()
        self.spec, self.width = spec, width
        self.nets = nn.ModuleDict({entry.name: _field_net(entry, width) for entry in spec.fields})
        self.nulls = nn.ParameterDict({entry.name: nn.Parameter(_null_row(entry)) for entry in spec.fields})

    def forward(self, condition: Condition, strengths: Mapping[str, float] | None = None) -> Tensor:
        """Return (B, width).

        `strengths` moves a field away from its absence (above 1) or towards it (below 1; 0 is absent): what a field
        adds to the sum is null + strength * (value - null). Fields that are not named have strength 1.
        """
        if not self.spec.fields:
            (rows,) = condition.masks.values()
            return torch.zeros_like(rows, dtype=torch.float32)[:, None].expand(-1, self.width)
        return torch.stack([self._field(entry, condition, strengths or {}) for entry in self.spec.fields]).sum(0)

    def _field(self, entry: FieldSpec, condition: Condition, strengths: Mapping[str, float]) -> Tensor:
        value, mask = condition.values[entry.name], condition.masks[entry.name]
        row = self._encoded(entry, value, mask)
        strength = strengths.get(entry.name, 1.0)
        if strength == 1.0:
            return row
        null = self._encoded(entry, value, torch.zeros_like(mask))
        return null + strength * (row - null)

    def _encoded(self, entry: FieldSpec, value: Tensor, mask: Tensor) -> Tensor:
        net, null = self.nets[entry.name], self.nulls[entry.name]
        if entry.has_elements:
            return cast("Tensor", net(value, mask, null))
        return cast("Tensor", net(torch.where(mask[:, None], value, null)))


class LinearEncoder(ConditionEncoder):
    """A condition as one vector by a linear map without bias per vector or label, as published nets embed classes."""

    def __init__(self, spec: ConditionSpec, width: int, *, gain: float = 1.0) -> None:
        """Build the maps, scaled by `gain`; sets and sequences keep their attention."""
        super().__init__(spec, width)
        plain = [entry for entry in spec.fields if not entry.has_elements]
        self.nets.update({entry.name: linear(entry.width, width, gain=gain, bias=None) for entry in plain})


def _field_net(entry: FieldSpec, width: int) -> nn.Module:
    """Return the net of one field."""
    if entry.has_elements:
        return ElementsEncoder(entry, width)
    gain = math.sqrt(entry.width) if entry.kind == "label" else 1.0  # each class a row of unit variance, however many
    return nn.Sequential(linear(entry.width, width, gain=gain), nn.SiLU(), linear(width, width))


def _null_row(entry: FieldSpec) -> Tensor:
    """Return what stands for an absent value at first: as loud as a present one."""
    row = torch.randn(entry.width)
    return row / math.sqrt(entry.width) if entry.kind == "label" else row


def _attend(query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
    """Return (B, n, width) multi-head attention of `query` over the (B, m) `seen` elements."""
    q, k, v = (x.unflatten(-1, (HEADS, -1)).transpose(1, 2) for x in (query, key, value))
    found = F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None, None, :])
    return found.transpose(1, 2).flatten(2)
