"""Ids of users or items in a file of their own."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from personalgen.affinity.events import Ids
from personalgen.artifacts import atomic_path

UserIds = Sequence[str] | Sequence[int] | Ids


@cache
def ids_in(path: Path) -> Ids:
    """Return the ids of a file; its name is never used again for others."""
    ids: Ids = pq.read_table(path)["id"].to_numpy()
    return ids


def save_ids(path: Path, ids: UserIds) -> None:
    """Write ids, atomically."""
    with atomic_path(path) as temporary:
        pq.write_table(pa.table({"id": ids if isinstance(ids, pa.Array) else pa.array(ids)}), temporary)
