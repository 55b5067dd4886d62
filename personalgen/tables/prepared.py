"""A prepared folder: what `prepare_tables` reports of it, and its arrays, loaded when asked for."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from numpy.typing import NDArray

from personalgen.artifacts import read_manifest
from personalgen.errors import ArtifactError
from personalgen.tables.quarantine import QuarantineCount

INTERACTIONS, ITEMS, USERS = "interactions.parquet", "items.parquet", "users.parquet"
IMAGES, QUARANTINE = "images.npy", "quarantine.parquet"


@dataclass(frozen=True)
class PreparedTables:
    """A sealed folder of validated tables, by reference."""

    folder: str
    """Where it is."""
    as_of: datetime
    """UTC instant before which all its events lie."""
    source_digest: str
    """Hex digest of the content and of how many rows were refused, whichever way and in whichever order it was read."""
    n_interactions: int
    """Usable events."""
    n_users: int
    """Rows of users.parquet, those who opted out included."""
    n_items: int
    """Items whose picture decoded."""
    n_quarantined: int
    """Refused rows of all tables."""
    n_after_as_of: int
    """Events at or after `as_of`, not read."""
    quarantine: tuple[QuarantineCount, ...]
    """Refused rows by table and reason."""
    n_opted_out_events: int = 0
    """Events of users who opted out or are forgotten, not read."""
    n_unlisted_events: int = 0
    """Events of users whom the users table does not list, not read."""

    def facts(self) -> dict[str, Any]:
        """Return everything but the place as JSON-like values."""
        facts = asdict(self) | {"as_of": self.as_of.isoformat()}
        return {name: value for name, value in facts.items() if name != "folder"}

    @classmethod
    def from_facts(cls, folder: Path, facts: Mapping[str, Any]) -> "PreparedTables":
        """Return what `facts` tells of a folder."""
        own = {field.name: facts[field.name] for field in fields(cls) if field.name in facts}
        counts = tuple(QuarantineCount(**count) for count in facts["quarantine"])
        return cls(
            **own | {"folder": str(folder), "as_of": datetime.fromisoformat(facts["as_of"]), "quarantine": counts}
        )


@dataclass(frozen=True)
class Interactions:
    """Events as codes, sorted by user, time and item."""

    user_ids: list[str]
    """Users with events, sorted; `user_index` counts here."""
    item_ids: list[str]
    """All items in the order of images.npy; `item_index` counts here."""
    user_index: NDArray[np.int32]
    item_index: NDArray[np.int32]
    timestamp: NDArray[np.int64]
    """UTC seconds."""
    weight: NDArray[np.float32]
    """Signed, never 0; negative is a dislike."""

    def __len__(self) -> int:
        return len(self.weight)


@dataclass(frozen=True)
class Prepared:
    """A sealed folder; each table is read when it is first asked for."""

    folder: Path
    tables: PreparedTables

    @cached_property
    def images(self) -> NDArray[np.uint8]:
        """(n_items, px, px, 3) uint8, mapped from the file and read-only."""
        images: NDArray[np.uint8] = np.load(self.folder / IMAGES, mmap_mode="r", allow_pickle=False)
        return images

    @cached_property
    def items(self) -> pd.DataFrame:
        """The items in the order of the images."""
        return _frame(self.folder / ITEMS)

    @cached_property
    def users(self) -> pd.DataFrame:
        """The users who may get images, by id; see `opted_out`."""
        return _frame(self.folder / USERS)

    @cached_property
    def quarantine(self) -> pd.DataFrame:
        """The refused rows."""
        return _frame(self.folder / QUARANTINE)

    @cached_property
    def item_ids(self) -> list[str]:
        """The items' ids in the order of the images."""
        item_ids: list[str] = pa.parquet.read_table(self.folder / ITEMS, columns=["item_id"])["item_id"].to_pylist()
        return item_ids

    def interactions(self) -> Interactions:
        """Return the events as codes: 20 bytes an event."""
        columns = ["user_id", "item_id", "timestamp", "weight"]
        table = pa.parquet.read_table(self.folder / INTERACTIONS, columns=columns, read_dictionary=columns[:2])
        user_ids, user = _codes(table["user_id"])
        found, item = _codes(table["item_id"])
        place = {item_id: index for index, item_id in enumerate(self.item_ids)}
        item = np.array([place[item_id] for item_id in found], dtype=np.int32)[item]
        timestamp, weight = table["timestamp"].to_numpy(), table["weight"].to_numpy()
        order = np.lexsort((weight, item, timestamp, user))
        return Interactions(user_ids, self.item_ids, user[order], item[order], timestamp[order], weight[order])

    def history_summary(self) -> pa.Table:
        """Return a row for each user with events, by id: n_events, n_likes, first_event, last_event (UTC seconds).

        Likes are events of positive weight. 24 bytes an event in memory meanwhile.
        """
        columns = ["user_id", "timestamp", "weight"]
        table = pa.parquet.read_table(self.folder / INTERACTIONS, columns=columns, read_dictionary=columns[:1])
        told = table.unify_dictionaries().append_column("liked", pc.cast(pc.greater(table["weight"], 0), pa.int64()))
        sums = [("timestamp", "count"), ("liked", "sum"), ("timestamp", "min"), ("timestamp", "max")]
        found = told.group_by("user_id").aggregate(sums)
        columns = [found["user_id"].cast(pa.string()), *(found[f"{name}_{kind}"] for name, kind in sums)]
        return pa.table(columns, ["user_id", "n_events", "n_likes", "first_event", "last_event"]).sort_by("user_id")


def load_prepared(folder: Path | str, *, verify: bool = False) -> Prepared:
    """Return a sealed folder's tables; with `verify`, after checking every file's digest.

    Raises:
        ArtifactError: the folder was never sealed, or a file is missing or changed.
    """
    path = Path(folder)
    facts = read_manifest(path, verify=verify)
    if facts is None:
        raise ArtifactError(f"{path} is not a finished prepared folder: it has no manifest. Run prepare again.")
    return Prepared(path, PreparedTables.from_facts(path, facts))


def _codes(column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int32]]:
    """Return (sorted distinct values, position of each row's value)."""
    encoded = column.unify_dictionaries().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):  # no rows, or one chunk, depending on Arrow's version
        encoded = encoded.chunk(0)
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return encoded.dictionary.take(pa.array(order)).to_pylist(), rank[encoded.indices.to_numpy()]


def _frame(path: Path) -> pd.DataFrame:
    """Return a Parquet file as a frame."""
    frame: pd.DataFrame = pa.parquet.read_table(path).to_pandas()
    return frame
