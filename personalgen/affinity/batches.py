"""Batches of events as they come from outside: what each must hold, and which kind of ids all have."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from personalgen.errors import DataError

_COLUMNS = ("user_id", "item_id", "timestamp", "weight")


@dataclass
class EventKinds:
    """Which kinds of ids the batches have had so far."""

    found: tuple[tuple[str, str], ...] = ()
    """Whether user_id and item_id are "numbers" or "texts"; empty before the first event."""

    def checked(self, batches: Iterable[pa.RecordBatch], now: int) -> Iterator[pa.RecordBatch]:
        """Yield the events before `now`; refuse missing values, and ids of another kind than before."""
        for batch in batches:
            self.found = _checked(batch, self.found)
            in_time = pc.less(batch["timestamp"], now)
            yield batch if pc.all(in_time).as_py() else batch.filter(in_time)


def _checked(batch: pa.RecordBatch, kinds: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Return which kinds of ids a batch has, which must be those of the batches before; refuse missing values."""
    missing = [name for name in _COLUMNS if batch[name].null_count]
    if not pc.all(pc.is_finite(batch["weight"].cast(pa.float64()))).as_py() and batch.num_rows and not missing:
        missing = ["weight"]
    if missing:
        raise DataError(f"events lack a value in {', '.join(missing)}. Leave such events out. Nothing was added.")
    found = tuple((name, kind_of(batch[name].type)) for name in _COLUMNS[:2])
    if kinds and found != kinds:
        raise DataError(
            f"ids are {dict(found)} here and were {dict(kinds)} before: one kind is needed. Nothing was added."
        )
    return found


def kind_of(kind: pa.DataType) -> str:
    """Return whether ids are "numbers" or "texts"."""
    return "numbers" if pa.types.is_integer(kind) else "texts"
