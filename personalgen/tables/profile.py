"""Figures of a night's tables, as plain numbers and short histograms; one pass over the events, a batch at a time."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from personalgen.artifacts import short_digest
from personalgen.histories import DAY_SEC
from personalgen.tables.prepared import INTERACTIONS, ITEMS, USERS, PreparedTables

TASTE_BINS = 64
"""Items fall into so many bins by a hash of their id: a shift between bins is a shift, whoever the items are."""
WEIGHT_EDGES = (-5.0, -2.0, -1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 2.0, 5.0)
FIRST_DAYS = 28
"""On a first night, events of so many days before the newest one count as new."""
FEWEST_DAYS = 0.5
"""New events of a shorter time say nothing of those of a day: many a source is filled once a day."""
_UNKNOWN_ITEM = "unknown_item"


@dataclass(frozen=True)
class Figure:
    """One figure of one table."""

    table: str
    name: str
    value: float | None = None
    """None: there is nothing to count, or it is a distribution."""
    counts: tuple[int, ...] = ()
    """A histogram, for a distribution."""

    @property
    def full_name(self) -> str:
        """table.name."""
        return f"{self.table}.{self.name}"


@dataclass(frozen=True)
class Profile:
    """Everything that is judged of a night's tables."""

    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Newcomers:
    """How many of tonight's ids no earlier night knew."""

    users: int
    items: int


def profile_of(tables: PreparedTables, *, since: datetime | None, newcomers: Newcomers | None) -> Profile:
    """Return the figures of prepared tables.

    `since` is the end of the last night: events from there on are new. Without one, those of the last `FIRST_DAYS` days
    are. How many there are a day is said from half a day on. `newcomers` is None where no night knew anybody.
    """
    events = _Events.of(Path(tables.folder), tables.as_of, since)
    days = (tables.as_of - since).total_seconds() / DAY_SEC if since else 0.0
    age = (tables.as_of.timestamp() - events.newest) / 3600 if tables.n_interactions else None
    shares = (
        (None, None)
        if newcomers is None
        else (_share(newcomers.users, tables.n_users), _share(newcomers.items, tables.n_items))
    )
    rows = {"interactions": tables.n_interactions, "items": tables.n_items, "users": tables.n_users}
    return Profile(
        (
            *(Figure(table, "volume", float(n_rows)) for table, n_rows in rows.items()),
            *_quarantined(tables, rows),
            Figure("interactions", "new_events", events.n_new / days if days >= FEWEST_DAYS else None),
            Figure("interactions", "age_hours", age),
            Figure("users", "new", shares[0]),
            Figure("items", "new", shares[1]),
            Figure("interactions", "weights", counts=_ints(events.weights)),
            Figure("interactions", "taste", counts=_ints(events.taste)),
            *_nulls(Path(tables.folder), events),
        )
    )


@dataclass
class _Events:
    """What one pass over the events finds."""

    newest: int
    n_rows: int
    n_new: int
    n_without_kind: int
    weights: NDArray[np.int64]
    taste: NDArray[np.int64]

    @classmethod
    def of(cls, folder: Path, as_of: datetime, since: datetime | None) -> "_Events":
        """Read the events of a prepared folder."""
        found = cls(0, 0, 0, 0, np.zeros(len(WEIGHT_EDGES) + 1, np.int64), np.zeros(TASTE_BINS, np.int64))
        bins: dict[str, int] = {}
        with pa.parquet.ParquetFile(folder / INTERACTIONS, read_dictionary=["item_id"]) as file:
            found.newest = _newest(file)
            start = since.timestamp() if since else found.newest - FIRST_DAYS * DAY_SEC
            for batch in file.iter_batches(columns=["item_id", "timestamp", "weight", "event"]):
                found._add(batch, start, as_of.timestamp(), bins)
        return found

    def _add(self, batch: pa.RecordBatch, start: float, stop: float, bins: dict[str, int]) -> None:
        seconds = batch["timestamp"].to_numpy()
        new = (seconds >= start) & (seconds < stop)
        self.n_rows += len(seconds)
        self.n_new += int(new.sum())
        self.n_without_kind += batch["event"].null_count
        self.weights += np.bincount(
            np.digitize(batch["weight"].to_numpy()[new], WEIGHT_EDGES), minlength=len(self.weights)
        )
        items = batch["item_id"]
        of_item = [_bin(item_id, bins) for item_id in items.dictionary.to_pylist()]
        self.taste += np.bincount(np.array(of_item, np.int64)[items.indices.to_numpy()[new]], minlength=TASTE_BINS)


def _bin(item_id: str, bins: dict[str, int]) -> int:
    """Return the bin of an item, the same in every night."""
    if item_id not in bins:
        bins[item_id] = short_digest(item_id.encode()) % TASTE_BINS
    return bins[item_id]


def _newest(file: pa.parquet.ParquetFile) -> int:
    """Return the newest second, from the file's own statistics."""
    place = file.schema_arrow.get_field_index("timestamp")
    groups = [file.metadata.row_group(k).column(place).statistics for k in range(file.num_row_groups)]
    return max((int(group.max) for group in groups if group is not None and group.has_min_max), default=0)


def _quarantined(tables: PreparedTables, rows: dict[str, int]) -> Iterator[Figure]:
    """Yield the share of each table that was set aside, and that of events on items that are not there."""
    aside: Counter[str] = Counter()
    for count in tables.quarantine:
        aside[count.table] += count.n_rows
    unknown = sum(c.n_rows for c in tables.quarantine if (c.table, c.reason) == ("interactions", _UNKNOWN_ITEM))
    for table, usable in rows.items():
        yield Figure(table, "quarantined", _share(aside[table], usable + aside[table]))
    yield Figure("interactions", "unknown_items", _share(unknown, rows["interactions"] + aside["interactions"]))


def _nulls(folder: Path, events: _Events) -> Iterator[Figure]:
    """Yield the share of each optional column that is null, label by label."""
    yield Figure("interactions", "nulls.event", _share(events.n_without_kind, events.n_rows))
    for table, path, names in (("items", ITEMS, ("title", "text")), ("users", USERS, ("segment", "created_at"))):
        columns = pa.parquet.read_table(folder / path, columns=list(names))
        for name in names:
            yield Figure(table, f"nulls.{name}", _share(columns[name].null_count, columns.num_rows))
    labels = pa.parquet.read_table(folder / ITEMS, columns=["labels"])["labels"].to_pylist()
    for name, n_null in sorted(_null_labels(labels).items()):
        yield Figure("items", f"nulls.{name}", _share(n_null, len(labels)))


def _null_labels(texts: Sequence[str]) -> Counter[str]:
    """Return how many items lack each label."""
    found: Counter[str] = Counter()
    for text in texts:
        found.update({name: int(value is None) for name, value in json.loads(text).items()})
    return found


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _ints(counts: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(counts.tolist())
