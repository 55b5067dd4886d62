"""All events of a source as a state of users takes them, pictures aside: summed by its database, or read one by one."""

import tempfile
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet

from personalgen.errors import PushDownError
from personalgen.tables.columns import ceil_seconds
from personalgen.tables.events import Known, Window, stage_events
from personalgen.tables.forgotten import NOBODY
from personalgen.tables.identity import PLAIN, Identity
from personalgen.tables.ids import canonical_ids
from personalgen.tables.interactions import write_interactions
from personalgen.tables.options import LimitsOptions, SourceOptions
from personalgen.tables.prepared import INTERACTIONS, QUARANTINE
from personalgen.tables.quarantine import QuarantineWriter
from personalgen.tables.reading import Progress, Reading
from personalgen.tables.source import Layout, open_source, read_layout
from personalgen.tables.users import read_users

if TYPE_CHECKING:
    from personalgen.tables.aggregate import Aggregates

_WAITING = ".events-"


@dataclass(frozen=True)
class AllEvents:
    """An open source whose users and items are known."""

    reading: Reading
    layout: Layout
    window: Window
    known: Known
    folder: Path
    """Where rows wait; gone when the source is closed."""

    @property
    def item_ids(self) -> list[str]:
        """All items, ascending."""
        return self.known.usable_items()

    def aggregated(self, *, half_life_days: float, n_recent: int, only_if_less: bool = False) -> "Aggregates":
        """Return what the database makes of the events; see `aggregate`.

        Raises:
            PushDownError: it cannot make what a reading of every row gives.
        """
        from personalgen.tables.aggregate import aggregate

        if self.reading.identity.hashes:
            raise PushDownError(
                "ids are hashed while rows are read (privacy.hash_ids), and the database has plain ones"
            )
        return aggregate(
            self.reading.source,
            self.layout.interactions,
            window=self.window,
            known=self.known,
            limits=self.reading.limits,
            half_life_days=half_life_days,
            n_recent=n_recent,
            only_if_less=only_if_less,
        )

    def one_by_one(self) -> Iterator[pa.RecordBatch]:
        """Yield user_id, item_id, timestamp and weight of every usable event, by the rules of `prepare_tables`.

        Raises:
            DataError: too many rows cannot be used.
        """
        layout, path = self.layout.interactions, self.folder / "staged.parquet"
        staged = stage_events(self.reading, layout, path, window=self.window, known=self.known)
        rated, written = layout.one("rating") is not None, self.folder / INTERACTIONS
        write_interactions(staged, written, item_ids=self.item_ids, rated=rated, reading=self.reading)
        path.unlink()
        limits, quarantine = self.reading.limits, self.reading.quarantine
        quarantine.check_share("interactions", n_rows=staged.n_considered, limit=limits.max_quarantine_share)
        with pa.parquet.ParquetFile(written, pre_buffer=False) as file:
            yield from file.iter_batches(columns=["user_id", "item_id", "timestamp", "weight"])


@contextmanager
def open_all_events(
    source: SourceOptions,
    *,
    limits: LimitsOptions,
    as_of: datetime,
    now: datetime,
    forgotten: Container[str] = NOBODY,
    identity: Identity = PLAIN,
    folder: Path,
    progress: Progress,
) -> Iterator[AllEvents]:
    """Yield the events before `as_of` of users who are neither silent nor `forgotten`; rows wait below `folder`.

    Items count by their id: whether their pictures can be used is not looked at.

    Raises:
        ConfigError, SourceError, DataError: as `prepare_tables`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open_source(source) as opened, tempfile.TemporaryDirectory(prefix=_WAITING, dir=folder) as name:
        layout, place = read_layout(opened, source), Path(name)
        with QuarantineWriter(place / QUARANTINE) as quarantine:
            reading = Reading(opened, limits, quarantine, progress, identity)
            users = None if layout.users is None else read_users(reading, layout.users, forgotten=forgotten)
            known = Known.listed(_item_places(reading, layout), users, forgotten=forgotten)
            window = Window(ceil_seconds(as_of), ceil_seconds(now) + limits.future_tolerance_sec)
            yield AllEvents(reading, layout, window, known, place)


def _item_places(reading: Reading, layout: Layout) -> dict[str, int]:
    """Return the place of each item of the items table in the order of ids."""
    found: set[str] = set()
    name = layout.items.need("item_id")
    for batch in reading.source.batches(layout.items.table, [name], chunk_rows=reading.limits.chunk_rows):
        ids = canonical_ids(batch.columns[name], max_bytes=reading.limits.max_id_bytes, typed=batch.typed).ids
        found.update(one for one in ids if one is not None)
    return {item_id: place for place, item_id in enumerate(sorted(found))}
