"""From a source to a sealed folder of validated tables and decoded pictures; all of it, or nothing.

The work happens in a hidden folder beside the result, which is renamed when everything is there. A source is only read.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path

from personalgen.artifacts import digest_of, fsync_folder, read_manifest, seal_folder
from personalgen.errors import ConfigError, DataError
from personalgen.tables.columns import EPOCH, ceil_seconds
from personalgen.tables.digest import RowSum
from personalgen.tables.events import Known, Staged, Window, newest_event, stage_events
from personalgen.tables.forgotten import NOBODY
from personalgen.tables.identity import PLAIN, Identity
from personalgen.tables.interactions import write_interactions
from personalgen.tables.items import Items, read_items
from personalgen.tables.options import LimitsOptions, SourceOptions
from personalgen.tables.prepared import INTERACTIONS, QUARANTINE, USERS, PreparedTables
from personalgen.tables.quarantine import QuarantineWriter
from personalgen.tables.reading import Progress, Reading
from personalgen.tables.source import Layout, open_source, read_layout
from personalgen.tables.users import User, Users, read_users, write_users

FORMAT = 1
"""Version of what is written; a change of the decoder or of a file's columns makes new folders."""
_WORKSPACE = ".prepare-"


def prepare_tables(
    source: SourceOptions,
    *,
    limits: LimitsOptions,
    image_px: int,
    out_root: Path,
    as_of: datetime | None,
    now: datetime,
    not_before: datetime | None = None,
    forgotten: Container[str] = NOBODY,
    identity: Identity = PLAIN,
    progress: Progress | None = None,
) -> PreparedTables:
    """Read, validate and write the tables of a source into a sealed folder under `out_root`; return what it holds.

    Events before `as_of` are read; without it, all before `now`, and `as_of` is one second after the newest of them, or
    `not_before` where that is later. Events from `now` on, up to the tolerance, wait for a later night. The folder is
    named by its content: one that is there already is left as it stands. Nothing is read of users who are `forgotten`,
    by their canonical ids: their events count as those of users who opted out.

    Raises:
        ConfigError: an option is out of range, or a time has no zone.
        SourceError: the source cannot be opened, or lacks a table or a column.
        DataError: too many rows cannot be used, or none can. Whenever something is raised, nothing is left behind.
    """
    _check(image_px, as_of, now)
    with open_source(source) as opened:
        layout = read_layout(opened, source)
        with _workspace(out_root) as folder:
            with QuarantineWriter(folder / QUARANTINE) as quarantine:
                reading = Reading(opened, limits, quarantine, progress or _silent, identity)
                tables = _Job(reading, layout, folder, image_px, forgotten).run(as_of, now, not_before)
            return _publish(folder, out_root, tables, image_px, limits)


@dataclass(frozen=True)
class _Job:
    """One preparation inside its workspace."""

    reading: Reading
    layout: Layout
    folder: Path
    image_px: int
    forgotten: Container[str]

    def run(self, as_of: datetime | None, now: datetime, not_before: datetime | None) -> PreparedTables:
        """Write every table into the workspace and return what they hold."""
        items, items_sum = self._items()
        users = self._users()
        window = self._window(as_of, now, not_before)
        staged, events_sum = self._events(Known.of(items, users, forgotten=self.forgotten), window)
        rows = users.rows() if users is not None else [User(user_id) for user_id in sorted(staged.user_code)]
        users_sum, quarantine = write_users(self.folder / USERS, rows), self.reading.quarantine
        return PreparedTables(
            folder=str(self.folder),
            as_of=datetime.fromtimestamp(window.as_of, UTC),
            source_digest=digest_of(
                [FORMAT, events_sum.hex(), items_sum.hex(), users_sum.hex(), *map(astuple, quarantine.counts())]
            ),
            n_interactions=events_sum.n_rows,
            n_users=users_sum.n_rows,
            n_items=items_sum.n_rows,
            n_quarantined=quarantine.n_rows(),
            n_after_as_of=staged.n_after_as_of,
            quarantine=quarantine.counts(),
            n_opted_out_events=staged.n_opted_out,
            n_unlisted_events=staged.n_unlisted,
        )

    def _items(self) -> tuple[Items, RowSum]:
        """Read the items and their pictures."""
        items, total = read_items(self.reading, self.layout.items, self.folder, image_px=self.image_px)
        self._check_table("items", items.n_rows, total.n_rows)
        return items, total

    def _users(self) -> Users | None:
        """Read the users table, where the source has one."""
        if self.layout.users is None:
            return None
        users = read_users(self.reading, self.layout.users, forgotten=self.forgotten)
        self._check_table("users", users.n_rows, len(users.by_id))
        return users

    def _window(self, as_of: datetime | None, now: datetime, not_before: datetime | None) -> Window:
        """Return which events are read."""
        limits, present = self.reading.limits, ceil_seconds(now)
        latest = present + limits.future_tolerance_sec
        if as_of is not None:
            return Window(as_of=ceil_seconds(as_of), latest=latest)
        newest = newest_event(
            self.reading.source, self.layout.interactions, latest=present - 1, chunk_rows=limits.chunk_rows
        )
        end = present if newest is None else newest + 1
        return Window(as_of=end if not_before is None else max(end, ceil_seconds(not_before)), latest=latest)

    def _events(self, known: Known, window: Window) -> tuple[Staged, RowSum]:
        """Read the interactions."""
        layout, path = self.layout.interactions, self.folder / "staged.parquet"
        staged = stage_events(self.reading, layout, path, window=window, known=known)
        total = write_interactions(
            staged, self.folder / INTERACTIONS, item_ids=known.usable_items(), rated=layout.one("rating") is not None,
            reading=self.reading,
        )  # fmt: skip
        path.unlink()
        if staged.n_rows and not staged.n_considered:
            raise DataError(
                f"All {staged.n_rows:,} interactions in {self.reading.source.where} lie at or after as_of = "
                f"{datetime.fromtimestamp(window.as_of, UTC).isoformat()} ({staged.n_after_as_of:,}), or belong to "
                f"users who opted out ({staged.n_opted_out:,}) or are not in the users table ({staged.n_unlisted:,}). "
                "Give a later as_of, or check that both tables mean the same ids. Nothing was written."
            )
        self._check_table("interactions", staged.n_considered, total.n_rows)
        return staged, total

    def _check_table(self, table: str, n_rows: int, n_usable: int) -> None:
        """Return if a table has rows, enough of which can be used."""
        quarantine, where = self.reading.quarantine, self.reading.source.where
        if not n_rows:
            raise DataError(
                f"The {table} table in {where} is empty; expected at least one row. Fill it, or name "
                f"another under source.{table}. Nothing was written."
            )
        quarantine.check_share(table, n_rows=n_rows, limit=self.reading.limits.max_quarantine_share)
        if not n_usable:
            raise DataError(
                f"None of the {n_rows:,} rows of {table} in {where} can be used: "
                f"{quarantine.summary(table)}. Nothing was written."
            )


def _check(image_px: int, as_of: datetime | None, now: datetime) -> None:
    """Return if the options can be used."""
    faults = [f"image_px must be at least 1, found {image_px}"] if image_px < 1 else []
    for name, moment in (("as_of", as_of), ("now", now)):
        if moment is not None and moment.tzinfo is None:
            faults.append(f"{name} is {moment.isoformat()} without a zone; write {moment.isoformat()}Z for UTC")
        if moment is not None and moment.tzinfo is not None and moment < EPOCH:
            faults.append(f"{name} is {moment.isoformat()}, before 1970")
    if faults:
        raise ConfigError(f"{'; '.join(faults)}. Nothing was read.")


@contextmanager
def _workspace(out_root: Path) -> Iterator[Path]:
    """Yield an empty, hidden folder under `out_root`; it is gone afterwards, whatever happened."""
    out_root.mkdir(parents=True, exist_ok=True)
    with _locked(out_root):
        _sweep(out_root)
        folder = Path(tempfile.mkdtemp(prefix=_WORKSPACE, dir=out_root))
        handle = _lock(folder)
    try:
        yield folder
    finally:
        os.close(handle)
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(out_root: Path) -> None:
    """Remove the workspaces of runs that were killed: those that no process holds a lock on."""
    for folder in out_root.glob(f"{_WORKSPACE}*"):
        with suppress(OSError):
            os.close(_lock(folder, fcntl.LOCK_NB))
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, for the moments in which runs beside this one must not look."""
    handle = _lock(folder)
    try:
        yield
    finally:
        os.close(handle)


def _lock(folder: Path, flags: int = 0) -> int:
    """Return a handle that holds a folder's lock until it is closed, or the process ends in any way."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | flags)
    except OSError:
        os.close(handle)
        raise
    return handle


def _publish(
    folder: Path, out_root: Path, tables: PreparedTables, image_px: int, limits: LimitsOptions
) -> PreparedTables:
    """Seal the workspace and rename it to the name of its content; return the folder that then stands there."""
    key = [tables.source_digest, tables.as_of.isoformat(), image_px, limits.deciding()]
    target = out_root / digest_of(key)[:16]
    _sync_files(folder)
    seal_folder(folder, tables.facts() | {"format": FORMAT, "image_px": image_px, "limits": limits.deciding()})
    folder.chmod(0o755)
    with _locked(out_root):
        facts = read_manifest(target)
        if facts is None:
            if target.exists():  # never sealed, so no stage has read it
                shutil.rmtree(target)
            folder.rename(target)
            fsync_folder(out_root)
    return PreparedTables.from_facts(target, facts or tables.facts())


def _sync_files(folder: Path) -> None:
    """Make the folder's files survive a power cut before they are listed as finished."""
    for path in folder.iterdir():
        with path.open("rb+") as stream:
            os.fsync(stream.fileno())
    fsync_folder(folder)


def _silent(_stage: str, _n_done: int) -> None:
    """Report nothing."""
