"""What a generator may be conditioned on: named tensors with masks, and the specification a model declares of them.

The meeting point of `embeddings`, which makes conditions, and `models`, which read them and know nothing of users. A
`ConditionSpec` is stored in the model's card and checked whenever a `Condition` meets a
model, so that a vector of another width or meaning is refused instead of being drawn from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from personalgen.errors import ConditionError

Kind = Literal["vector", "label", "set", "sequence"]


@dataclass(frozen=True)
class FieldSpec:
    """One named input of a generator."""

    name: str
    """The key under which a `Condition` carries the tensor."""
    kind: Kind
    """What the tensor is; the encoder of this version reads `vector`."""
    width: int
    """Number of columns."""
    longest: int = 1
    """Longest sequence or set; 1 for a vector."""
    null: str = "learned"
    """What stands for an absent value: a learned row."""


@dataclass(frozen=True)
class ConditionSpec:
    """All inputs of a generator, in order."""

    fields: tuple[FieldSpec, ...]

    @classmethod
    def vector(cls, name: str, width: int) -> "ConditionSpec":
        """Return the specification of a single vector."""
        return cls((FieldSpec(name=name, kind="vector", width=width),))

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "ConditionSpec":
        """Return the specification written by `to_dict`.

        Raises:
            ConditionError: a field is of an unknown kind.
        """
        fields = tuple(FieldSpec(**entry) for entry in value["fields"])
        for entry in fields:
            if entry.kind not in get_args(Kind):
                raise ConditionError(f"field {entry.name!r} has kind {entry.kind!r}; expected one of {get_args(Kind)}.")
        return cls(fields)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form that a model card stores."""
        return {"fields": [vars(entry).copy() for entry in self.fields]}

    def check(self, condition: "Condition") -> None:
        """Do nothing where `condition` fits.

        Raises:
            ConditionError: a field is missing, unknown or of another width.
        """
        expected, found = {entry.name: entry.width for entry in self.fields}, condition.widths
        if expected != found:
            raise ConditionError(
                f"the model was trained on {expected} (field: columns), the condition has {found}. "
                "Embed again with the basis of this model, or pick another model. Nothing was generated."
            )

    def null_condition(self, batch_size: int, *, device: torch.device | str = "cpu") -> "Condition":
        """Return a condition in which every field is absent: it asks for the unconditional distribution."""
        values = {entry.name: torch.zeros(batch_size, entry.width, device=device) for entry in self.fields}
        absent = torch.zeros(batch_size, dtype=torch.bool, device=device)
        return Condition(values, {entry.name: absent for entry in self.fields})


@dataclass(frozen=True)
class Condition:
    """A batch of conditions: per field a (B, width) float32 tensor and a (B,) bool mask, True where present."""

    values: Mapping[str, Tensor]
    masks: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Complete missing masks (all present) and refuse ragged batches."""
        first, *others = self.values.values()
        if any(
            other.shape[0] != first.shape[0] for other in others
        ):  # no len(), no set: torch.export would fix the size
            raise ConditionError(
                f"a condition needs fields of one batch size, found {[len(v) for v in self.values.values()]}."
            )
        full = {name: self.masks.get(name, _present(value)) for name, value in self.values.items()}
        object.__setattr__(self, "masks", full)

    @classmethod
    def vector(cls, name: str, value: Tensor, mask: Tensor | None = None) -> "Condition":
        """Return a condition of one vector field, (B, width) float32."""
        return cls({name: value}, {} if mask is None else {name: mask})

    @property
    def batch_size(self) -> int:
        """Number of rows."""
        return len(next(iter(self.values.values())))

    @property
    def widths(self) -> dict[str, int]:
        """Columns per field."""
        return {name: int(value.shape[-1]) for name, value in self.values.items()}

    def take(self, index: Tensor | slice | Sequence[int]) -> "Condition":
        """Return the chosen rows."""
        picked = index if isinstance(index, (Tensor, slice)) else torch.tensor(index, dtype=torch.int64)
        return Condition({k: v[picked] for k, v in self.values.items()}, {k: m[picked] for k, m in self.masks.items()})

    def to(self, device: torch.device | str) -> "Condition":
        """Return the condition on another device."""
        return Condition(
            {k: v.to(device) for k, v in self.values.items()}, {k: m.to(device) for k, m in self.masks.items()}
        )

    def drop(self, dropped: Tensor) -> "Condition":
        """Return the condition with every field absent in the rows where `dropped` (B,) is True."""
        return Condition(self.values, {name: mask & ~dropped for name, mask in self.masks.items()})

    def jitter(self, scale: float) -> "Condition":
        """Return the condition with Gaussian noise of standard deviation `scale` on every value."""
        return Condition({k: v + scale * torch.randn_like(v) for k, v in self.values.items()}, self.masks)


def _present(value: Tensor) -> Tensor:
    """Return a mask that is True for every row of `value`."""
    return torch.ones_like(value[:, 0], dtype=torch.bool)
