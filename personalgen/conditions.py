"""What a generator may be conditioned on: named tensors with masks, and the specification a model declares of them.

The meeting point of `embeddings`, which makes conditions, and `models`, which read them and know nothing of users. A
`ConditionSpec` is stored in the model's card and checked whenever a `Condition` meets a
model, so that a vector of another width or meaning is refused instead of being drawn from.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from personalgen.errors import ConditionError

Kind = Literal["vector", "label", "set", "sequence"]
ROWS = ""
"""Key of the mask that counts the rows of a condition without fields."""


@dataclass(frozen=True)
class FieldSpec:
    """One named input of a generator."""

    name: str
    """The key under which a `Condition` carries the tensor."""
    kind: Kind
    """What the tensor is.

    A `vector` is a row of numbers, a `label` a row with 1 for each class that applies (one or many), a `set` up to
    `longest` rows in no order, a `sequence` up to `longest` rows, newest first.
    """
    width: int
    """Number of columns."""
    longest: int = 1
    """Most rows of a sequence or set; 1 for a vector or label."""
    null: str = "learned"
    """What stands for an absent value: a learned row."""
    values: tuple[str, ...] = ()
    """What each column of a label stands for, where that is known."""

    @property
    def has_elements(self) -> bool:
        """Whether a value is several rows, each present or absent by itself."""
        return self.kind in {"set", "sequence"}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one value."""
        return (self.longest, self.width) if self.has_elements else (self.width,)


@dataclass(frozen=True)
class ConditionSpec:
    """All inputs of a generator, in order; without any, it is unconditional."""

    fields: tuple[FieldSpec, ...]

    def __post_init__(self) -> None:
        """Refuse names that are no identifiers or taken, unknown kinds, and values that are not one a column."""
        inputs = ["z", *self.names, *(f"{name}_present" for name in self.names)]  # of the exported form
        taken = nn.ModuleDict()  # a net's parts by field, which may not be called what a net has already
        known = all(name.isidentifier() and not hasattr(taken, name) for name in self.names)
        if len(set(inputs)) < len(inputs) or not known:
            raise ConditionError(
                "fields of a condition need names of their own that are identifiers, not z, not what torch calls a "
                f"part of every net (type, items), and not another one's with _present at its end; found "
                f"{list(self.names)}."
            )
        for entry in self.fields:
            if entry.kind not in get_args(Kind) or entry.longest < 1:
                raise ConditionError(
                    f"field {entry.name!r} needs a kind of {', '.join(get_args(Kind))}, and longest of at least 1; "
                    f"found {entry.kind} and {entry.longest}."
                )
            if entry.values and len(entry.values) != entry.width:
                raise ConditionError(
                    f"field {entry.name!r} has {entry.width} columns and values for {len(entry.values)} of them."
                )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fields, in order."""
        return tuple(entry.name for entry in self.fields)

    def find(self, name: str) -> FieldSpec | None:
        """Return the field of this name, or None."""
        return next((entry for entry in self.fields if entry.name == name), None)

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
        return cls(tuple(FieldSpec(**{**entry, "values": tuple(entry.get("values", ()))}) for entry in value["fields"]))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form that a model card stores; values that are not known are left out."""
        entries = ({**vars(entry), "values": list(entry.values)} for entry in self.fields)
        return {"fields": [{key: value for key, value in e.items() if key != "values" or value} for e in entries]}

    def check(self, condition: "Condition") -> None:
        """Do nothing where `condition` fits.

        Raises:
            ConditionError: a field is missing, unknown, of another width or of another kind.
        """
        expected, found = {entry.name: entry.width for entry in self.fields}, condition.widths
        if expected != found:
            raise ConditionError(
                f"the model was trained on {expected} (field: columns), the condition has {found}. "
                "Embed again with the basis of this model, or pick another model. Nothing was generated."
            )
        for entry in self.fields:
            shape = tuple(condition.values[entry.name].shape[1:])
            if len(shape) != len(entry.shape) or (entry.has_elements and shape[0] > entry.longest):
                raise ConditionError(
                    f"field {entry.name!r} is a {entry.kind} of shape {entry.shape}, the condition has {shape}. "
                    "Nothing was generated."
                )
            mask, value = condition.masks[entry.name], condition.values[entry.name]
            if mask.dtype != torch.bool or mask.shape != value.shape[: 2 if entry.has_elements else 1]:
                raise ConditionError(
                    f"field {entry.name!r} needs a bool mask of shape {tuple(value.shape[:-1])}, the condition has "
                    f"{mask.dtype} of shape {tuple(mask.shape)}. Nothing was generated."
                )

    def null_condition(self, batch_size: int, *, device: torch.device | str = "cpu") -> "Condition":
        """Return a condition in which every field is absent: it asks for the unconditional distribution."""
        values = {entry.name: torch.zeros(batch_size, *entry.shape, device=device) for entry in self.fields}
        absent = torch.zeros(batch_size, dtype=torch.bool, device=device)
        masks = {entry.name: _element_mask(absent, values[entry.name]) for entry in self.fields}
        return Condition(values, masks | {ROWS: absent})


@dataclass(frozen=True)
class Condition:
    """A batch of conditions: a float32 tensor and a bool mask per field, True where present.

    Values are (B, width) with masks (B,) for vectors and labels, (B, n, width) with (B, n) for sets and sequences.
    """

    values: Mapping[str, Tensor]
    masks: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Complete missing masks (all present) and refuse ragged batches."""
        full = dict(self.masks) | {name: self.masks.get(name, _present(value)) for name, value in self.values.items()}
        if not full:
            raise ConditionError("a condition without fields must say its rows: Condition.none(batch_size).")
        first, *others = full.values()
        if any(
            other.shape[0] != first.shape[0] for other in (*others, *self.values.values())
        ):  # no len(), no set: torch.export would fix the size
            raise ConditionError(
                "a condition needs values and masks of one batch size, found "
                f"{[len(v) for v in self.values.values()]} and {[len(m) for m in full.values()]}."
            )
        object.__setattr__(self, "masks", full)

    @classmethod
    def none(cls, batch_size: int, *, device: torch.device | str = "cpu") -> "Condition":
        """Return the condition of a model without fields."""
        return cls({}, {ROWS: torch.zeros(batch_size, dtype=torch.bool, device=device)})

    @classmethod
    def vector(cls, name: str, value: Tensor, mask: Tensor | None = None) -> "Condition":
        """Return a condition of one vector field, (B, width) float32."""
        return cls({name: value}, {} if mask is None else {name: mask})

    @property
    def batch_size(self) -> int:
        """Number of rows."""
        return len(next(iter(self.masks.values())))

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

    def joined(self, other: "Condition") -> "Condition":
        """Return one condition with the fields of both, which have the same rows."""
        return Condition({**self.values, **other.values}, {**self.masks, **other.masks})

    def drop(self, dropped: Tensor, names: Collection[str] | None = None) -> "Condition":
        """Return the condition with every field, or each of `names`, absent where `dropped` (B,) is True."""
        chosen = self.masks.keys() if names is None else names
        kept = {
            name: mask & ~_element_mask(dropped, self.values.get(name)) if name in chosen else mask
            for name, mask in self.masks.items()
        }
        return Condition(self.values, kept)


def _present(value: Tensor) -> Tensor:
    """Return a mask that is True for every row of `value`, or for every element of every row."""
    return torch.ones_like(value[..., 0], dtype=torch.bool)


def _element_mask(rows: Tensor, value: Tensor | None) -> Tensor:
    """Return (B,) row flags in the shape of the mask of `value`."""
    return rows if value is None or value.ndim == 2 else rows[:, None].expand(value.shape[:2])
