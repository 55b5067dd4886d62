"""What is known of users: ids, preference vectors and other fields, how much stands behind them, and which events."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from personalgen.artifacts import atomic_path, canonical_json
from personalgen.conditions import Condition, ConditionSpec
from personalgen.embeddings.fields import (
    BEHAVIOUR,
    CONFIDENCE,
    EVENT_COLUMNS,
    INTERESTS,
    OF_PICTURE,
    PREFERENCE,
    RECENCY,
    SHARE_COLUMNS,
    FieldRows,
    as_condition,
)
from personalgen.embeddings.matrix_columns import from_lists, to_lists
from personalgen.errors import ArtifactError, ConditionError

FIELD = PREFERENCE
_SHAPES = b"field_shapes"
_BESIDE: dict[str, list[int]] = {
    BEHAVIOUR: [-k for k in range(1, EVENT_COLUMNS + 1)],
    INTERESTS: [-k for k in range(1, SHARE_COLUMNS + 1)],
    CONFIDENCE: [RECENCY],
}
"""Columns of a field that change while a preference stays."""

events_to_json = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode
"""Returns the events behind one vector as text: equal events give equal text."""
NO_EVENTS = events_to_json([])


@dataclass(frozen=True)
class PreferenceTable:
    """One preference vector per user, ids travelling with the matrix; rows sorted by user_id."""

    user_ids: tuple[str, ...]
    vectors: NDArray[np.float32]
    """(n_users, dim), standardised over the population of the basis."""
    n_events: NDArray[np.int32]
    """Events behind each vector; 0 means the population mean, or the segment's."""
    events_json: tuple[str, ...]
    """`top_events` of each user as JSON text, as it is stored and passed on: nobody reads a million of them."""
    basis_version: str
    fields: Mapping[str, FieldRows] = field(default_factory=dict)
    """What else tonight's models are told of users, by name: behaviour, dislikes."""

    @property
    def top_events(self) -> tuple[tuple[dict[str, Any], ...], ...]:
        """Per user the events that weighed most: item_id, weight (share of the user's total), timestamp."""
        return tuple(tuple(json.loads(text)) for text in self.events_json)

    def rows(self, index: NDArray[np.int64]) -> "PreferenceTable":
        """Return the chosen users."""
        return PreferenceTable(
            tuple(self.user_ids[k] for k in index),
            self.vectors[index],
            self.n_events[index],
            tuple(self.events_json[k] for k in index),
            self.basis_version,
            {name: found.rows(index) for name, found in self.fields.items()},
        )

    @classmethod
    def joined(cls, tables: Sequence["PreferenceTable"]) -> "PreferenceTable":
        """Return the users of all tables, which are of one basis and hold the same fields, sorted by id."""
        whole = cls._one_below_the_other(tables)
        return whole.rows(np.array(sorted(range(len(whole.user_ids)), key=whole.user_ids.__getitem__), dtype=np.int64))

    @classmethod
    def side_by_side(cls, tables: Sequence["PreferenceTable"]) -> "PreferenceTable":
        """Return the k tables of the same users, of one basis and the same fields, user by user: k rows of each."""
        users = np.arange(len(tables[0].user_ids))
        index = users[:, None] + len(users) * np.arange(len(tables))
        return cls._one_below_the_other(tables).rows(index.ravel())

    @classmethod
    def _one_below_the_other(cls, tables: Sequence["PreferenceTable"]) -> "PreferenceTable":
        first = tables[0]
        return cls(
            tuple(user_id for table in tables for user_id in table.user_ids),
            np.concatenate([table.vectors for table in tables]),
            np.concatenate([table.n_events for table in tables]),
            tuple(text for table in tables for text in table.events_json),
            first.basis_version,
            {name: FieldRows.joined([table.fields[name] for table in tables]) for name in first.fields},
        )

    def to_condition(self, spec: ConditionSpec, of_picture: Condition | None = None) -> Condition:
        """Return the condition that `spec` asks for: the only bridge from users to models.

        `of_picture` says what the pictures shall show, in one row for each user or one for all; a picture's field that
        it does not have is absent.

        Raises:
            ConditionError: the spec has other fields or widths than users and `of_picture`.
        """
        condition = spec.null_condition(len(self.user_ids))
        if known := self._asked(spec):
            condition = condition.joined(as_condition(known))
        if of_picture is not None:
            condition = condition.joined(_for_each(of_picture, spec, len(self.user_ids)))
        spec.check(condition)
        return condition

    def condition_rows(self, spec: ConditionSpec) -> NDArray[np.float32]:
        """Return (n_users, k): what `spec` is told of each user as one row, which is stored, digested and compared.

        A preference is its vector; any other field its values, zero where absent, and then its masks. Where a model is
        told nothing of users the row is one zero.
        """
        n_users, parts = len(self.user_ids), []
        for name, found in self._asked(spec).items():
            arrays = [found.values] if name == PREFERENCE else [found.values, found.mask]
            parts += [array.reshape(n_users, math.prod(array.shape[1:])) for array in arrays]
        return np.concatenate(parts, axis=1, dtype=np.float32) if parts else np.zeros((n_users, 1), dtype=np.float32)

    def _asked(self, spec: ConditionSpec) -> dict[str, FieldRows]:
        """Return the fields of users that `spec` asks for, in its order."""
        present = np.ones(len(self.user_ids), dtype=np.bool_)
        known = {PREFERENCE: FieldRows(self.vectors, present), **self.fields}
        asked = [entry for entry in spec.fields if entry.name not in OF_PICTURE]
        if any(entry.name not in known for entry in asked):
            spec.check(as_condition(known))  # raises, and says what each of them has
        return {
            entry.name: known[entry.name].newest(entry.longest) if entry.has_elements else known[entry.name]
            for entry in asked
        }


def compared_columns(spec: ConditionSpec) -> tuple[NDArray[np.int64], ...]:
    """Return the columns of `condition_rows`, field by field, in which a user may have changed.

    Weights and ages of events, shares of interests, and the days since the newest event are no change by themselves.
    """
    parts, start = [], 0
    for entry in (entry for entry in spec.fields if entry.name not in OF_PICTURE):
        columns = np.arange(start, start + math.prod(entry.shape), dtype=np.int64)
        parts.append(np.delete(columns.reshape(entry.shape), _BESIDE.get(entry.name, []), axis=-1).ravel())
        start += len(columns) + (0 if entry.name == PREFERENCE else entry.longest)
    return tuple(parts)


def save_preferences(path: Path, table: PreferenceTable) -> Path:
    """Write the table as Parquet, atomically."""
    columns = {
        "user_id": pa.array(table.user_ids, type=pa.string()),
        "vector": to_lists(table.vectors, pa.float32()),
        "n_events": pa.array(table.n_events, type=pa.int32()),
        "top_events": pa.array(table.events_json, type=pa.string()),
    }
    meta: dict[str | bytes, str] = {"basis_version": table.basis_version}
    for name, found in table.fields.items():
        columns |= {name: to_lists(found.values, pa.float32()), f"{name}_mask": to_lists(found.mask, pa.bool_())}
    if table.fields:
        meta[_SHAPES] = canonical_json({name: found.values.shape[1:] for name, found in table.fields.items()})
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns).replace_schema_metadata(meta), temporary)
    return path


def load_preferences(path: Path) -> PreferenceTable:
    """Return the table in `path`.

    Raises:
        ArtifactError: the file is missing, damaged, or not a preference table.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ArtifactError(f"{path} cannot be read as Parquet ({error}). Rerun embed.") from error
    meta = table.schema.metadata or {}
    if b"basis_version" not in meta:
        raise ArtifactError(f"{path} is not a preference table: it names no basis. Rerun embed.")
    return PreferenceTable(
        user_ids=tuple(table["user_id"].to_pylist()),
        vectors=from_lists(table["vector"], np.float32),
        n_events=table["n_events"].to_numpy(),
        events_json=tuple(table["top_events"].to_pylist()),
        basis_version=meta[b"basis_version"].decode(),
        fields={name: _field(table, name, shape) for name, shape in _shapes(meta).items()},
    )


def fields_in(path: Path) -> dict[str, int]:
    """Return the fields of a written table, besides the preference, and the most rows of each."""
    meta = pq.read_schema(path).metadata or {}
    return {name: shape[0] if len(shape) > 1 else 1 for name, shape in _shapes(meta).items()}


def _for_each(of_picture: Condition, spec: ConditionSpec, n_users: int) -> Condition:
    """Return what is asked of the pictures, a row for each user."""
    unknown = [name for name in of_picture.values if name not in OF_PICTURE or name not in spec.names]
    if unknown:
        raise ConditionError(
            f"{unknown} cannot be asked of a picture: the model knows {[n for n in spec.names if n in OF_PICTURE]}. "
            "Nothing was generated."
        )
    return of_picture.take([0] * n_users) if of_picture.batch_size == 1 else of_picture


def _shapes(meta: Mapping[bytes, bytes]) -> dict[str, list[int]]:
    """Return the shape of a value of each field."""
    shapes: dict[str, list[int]] = json.loads(meta.get(_SHAPES, b"{}"))
    return shapes


def _field(table: pa.Table, name: str, shape: list[int]) -> FieldRows:
    values, mask = from_lists(table[name], np.float32), from_lists(table[f"{name}_mask"], np.bool_)
    is_vector = len(shape) == 1
    return FieldRows(values.reshape(len(values), *shape), mask[:, 0] if is_vector else mask)
