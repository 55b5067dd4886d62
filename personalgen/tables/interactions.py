"""The interactions table, last passes over the staged rows: duplicates out, ratings into weights, digest, file."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from personalgen.tables.digest import RowSum, Words, mixed, text_words
from personalgen.tables.events import Staged
from personalgen.tables.quarantine import Fault
from personalgen.tables.reading import Reading

SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("timestamp", pa.int64()),
        ("weight", pa.float32()),
        ("event", pa.string()),
    ]
)
_KEYS_AT_A_TIME = 1 << 20
_LEAST_STD = 0.5


@dataclass(frozen=True)
class RatingStats:
    """Mean and spread of each user's ratings, by user code."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    @classmethod
    def of(cls, count: NDArray[np.int64], total: NDArray[np.float64], squares: NDArray[np.float64]) -> "RatingStats":
        """Return the statistics of sums.

        Sums of float32 ratings in float64 are exact for any real history: whoever always gives 3.3 has exactly that
        mean, so dislikes nothing, and the order of the rows does not show.
        """
        mean = total / count
        return cls(mean, np.sqrt(np.maximum(squares / count - mean**2, 0)))

    def weights(self, user: NDArray[np.int64], rating: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return signed weights in [-1, -0.5] and [0.5, 1]: a rating below the user's own mean is a dislike.

        The size grows with the distance from the mean in standard deviations, taken as at least 0.5.
        """
        mean = self.mean[user]
        z = (rating - mean) / np.maximum(self.std[user], _LEAST_STD)
        size = 0.5 + 0.5 * np.minimum(1, np.abs(z))
        return np.where(rating < mean, -size, size).astype(np.float32)


def first_occurrences(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return the mask of the rows of (n, 2) keys that no earlier row equals, sorting a part of the keys at a time."""
    first = np.ones(len(keys), dtype=bool)
    n_parts = len(keys) // _KEYS_AT_A_TIME + 1
    part = (keys[:, 0] >> np.uint64(32)) % np.uint64(n_parts)
    for one in range(n_parts):
        rows = np.flatnonzero(part == one)
        order = rows[np.lexsort((keys[rows, 1], keys[rows, 0]))]  # stable: equal keys stay in the order of their rows
        same = (keys[order[1:]] == keys[order[:-1]]).all(axis=1)
        first[order[1:][same]] = False
    return first


def write_interactions(staged: Staged, path: Path, *, item_ids: list[str], rated: bool, reading: Reading) -> RowSum:
    """Write interactions.parquet batch by batch, quarantine the duplicates, and return the sum of the rows' hashes.

    The hashes take the rating as it was given, not the weight made of it.
    """
    chunk_rows = reading.limits.chunk_rows
    user_ids = list(staged.user_code)
    first = first_occurrences(np.concatenate([np.empty((0, 2), np.uint64), *staged.keys]))
    staged.keys.clear()
    stats = _rating_stats(staged, first, chunk_rows) if rated else None
    names = _Names(user_ids, item_ids, list(staged.event_code))
    total = RowSum()
    with pa.parquet.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for rows, kept in _batches(staged, first, chunk_rows):
            reading.quarantine.add("interactions", names.duplicates(rows[~kept]))
            good = rows[kept]
            value = good["value"].astype(np.float32)
            total.add(names.words(good, value, rated=rated))
            writer.write_batch(names.named(good, value if stats is None else stats.weights(good["user"], value)))
    return total


_Rows = NDArray[np.void]
_ROW = np.dtype([
    ("row", np.int64), ("user", np.int64), ("item", np.int64), ("timestamp", np.int64), ("event", np.int64),
    ("value", np.float32),
])  # fmt: skip


class _Names:
    """What the staged codes stand for."""

    def __init__(self, user_ids: list[str], item_ids: list[str], events: list[str | None]) -> None:
        self._user_ids, self._item_ids, self._events = user_ids, item_ids, events
        self._texts = {
            "user": pa.array(user_ids, pa.string()), "item": pa.array(item_ids, pa.string()),
            "event": pa.array(events, pa.string()),
        }  # fmt: skip
        self._words = {"user": text_words(user_ids), "item": text_words(item_ids), "event": text_words(events)}

    def named(self, rows: _Rows, weight: NDArray[np.float32]) -> pa.RecordBatch:
        """Return rows of interactions.parquet."""
        user, item, event = (self._texts[name].take(pa.array(rows[name])) for name in ("user", "item", "event"))
        return pa.record_batch([user, item, pa.array(rows["timestamp"]), pa.array(weight), event], schema=SCHEMA)

    def words(self, rows: _Rows, value: NDArray[np.float32], *, rated: bool) -> Words:
        """Return the hash of each row; ratings and weights of the same value differ."""
        lanes = [self._words[name][rows[name], lane] for name in ("user", "item", "event") for lane in (0, 1)]
        bits = (value + np.float32(0)).view(np.uint32).astype(np.uint64) | np.uint64(int(rated) << 32)
        return mixed([*lanes, rows["timestamp"].astype(np.uint64), bits])

    def duplicates(self, rows: _Rows) -> Iterator[Fault]:
        """Yield the faults of rows that came before."""
        for row in rows:
            event = self._events[row["event"]]
            detail = (
                f"the same user, item, time {row['timestamp']} and event {event!r} came before; the first row is kept"
            )
            yield Fault(int(row["row"]), "duplicate", detail, self._user_ids[row["user"]], self._item_ids[row["item"]])


def _rating_stats(staged: Staged, first: NDArray[np.bool_], chunk_rows: int) -> RatingStats:
    """Return each user's rating statistics by a pass over the staged rows."""
    n_users = len(staged.user_code)
    count = np.zeros(n_users, np.int64)
    total, squares = np.zeros(n_users), np.zeros(n_users)
    for rows, kept in _batches(staged, first, chunk_rows):
        user, value = rows["user"][kept], rows["value"][kept].astype(np.float64)
        np.add.at(count, user, 1)
        np.add.at(total, user, value)
        np.add.at(squares, user, value**2)
    return RatingStats.of(count, total, squares)


def _batches(staged: Staged, first: NDArray[np.bool_], chunk_rows: int) -> Iterator[tuple[_Rows, NDArray[np.bool_]]]:
    """Yield staged rows, and which of them are no duplicates."""
    start = 0
    with pa.parquet.ParquetFile(staged.path, pre_buffer=False) as file:
        for batch in file.iter_batches(batch_size=chunk_rows):
            rows = np.empty(batch.num_rows, dtype=_ROW)
            for name in _ROW.names or ():
                rows[name] = batch.column(name).to_numpy()
            yield rows, first[start : start + batch.num_rows]
            start += batch.num_rows
