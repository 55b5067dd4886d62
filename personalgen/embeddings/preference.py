"""Preference vectors: the ids, the vectors, how much stands behind them, and which events formed them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from personalgen.artifacts import atomic_path, canonical_json
from personalgen.conditions import Condition, ConditionSpec
from personalgen.errors import ArtifactError

FIELD = "preference"


@dataclass(frozen=True)
class PreferenceTable:
    """One preference vector per user, ids travelling with the matrix; rows sorted by user_id."""

    user_ids: tuple[str, ...]
    vectors: NDArray[np.float32]
    """(n_users, dim), standardised over the population of the basis."""
    n_events: NDArray[np.int32]
    """Events behind each vector; 0 means the population mean."""
    top_events: tuple[tuple[dict[str, Any], ...], ...]
    """Per user the events that weighed most: item_id, weight (share of the user's total), timestamp."""
    basis_version: str

    def rows(self, index: NDArray[np.int64]) -> "PreferenceTable":
        """Return the chosen users."""
        return PreferenceTable(
            tuple(self.user_ids[k] for k in index),
            self.vectors[index],
            self.n_events[index],
            tuple(self.top_events[k] for k in index),
            self.basis_version,
        )

    def to_condition(self, spec: ConditionSpec) -> Condition:
        """Return the vectors as the condition that `spec` asks for: the only bridge from users to models.

        Raises:
            ConditionError: the spec has other fields or widths.
        """
        condition = Condition.vector(FIELD, torch.from_numpy(np.ascontiguousarray(self.vectors)))
        spec.check(condition)
        return condition


def preference_spec(dim: int) -> ConditionSpec:
    """Return the specification of a generator that is conditioned on preference vectors of `dim` columns."""
    return ConditionSpec.vector(FIELD, dim)


def save_preferences(path: Path, table: PreferenceTable) -> Path:
    """Write the table as Parquet, atomically."""
    width = table.vectors.shape[1]
    flat = pa.array(np.ascontiguousarray(table.vectors).ravel(), type=pa.float32())
    columns = {
        "user_id": pa.array(table.user_ids, type=pa.string()),
        "vector": pa.FixedSizeListArray.from_arrays(flat, width),
        "n_events": pa.array(table.n_events, type=pa.int32()),
        "top_events": pa.array([canonical_json(list(events)) for events in table.top_events], type=pa.string()),
    }
    meta = {"basis_version": table.basis_version}
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
    vectors = table["vector"].combine_chunks()
    matrix = vectors.flatten().to_numpy().reshape(len(table), vectors.type.list_size).astype(np.float32)
    return PreferenceTable(
        user_ids=tuple(table["user_id"].to_pylist()),
        vectors=matrix,
        n_events=table["n_events"].to_numpy(),
        top_events=tuple(tuple(json.loads(text)) for text in table["top_events"].to_pylist()),
        basis_version=meta[b"basis_version"].decode(),
    )
