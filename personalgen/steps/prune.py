"""Lets go what nights left longer ago than the settings keep it, and nothing that anybody needs."""

import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq

from personalgen.artifacts import atomic_path, read_json, read_manifest, seal_folder
from personalgen.catalogue import deletions, erasures, read
from personalgen.catalogue.retention import nights_begun_before
from personalgen.catalogue.rows import Night as NightRow
from personalgen.steps.delete_night import delete_night, finish_deletions, tables_of
from personalgen.steps.forget import finish_erasures
from personalgen.steps.forget_files import MARK
from personalgen.steps.models import newest_embedded
from personalgen.steps.prepare import night_folder
from personalgen.steps.state import kept_state
from personalgen.steps.workspace import Workspace
from personalgen.tables.prepared import QUARANTINE

ACTOR = "retention"
"""Who deleted a night, in the ledger, where its age did."""


@dataclass(frozen=True)
class Pruned:
    """What went by its age; with `dry_run` what would go. Folders are relative to home/data."""

    dry_run: bool
    nights: tuple[int, ...] = ()
    """Whole nights."""
    results: tuple[str, ...] = ()
    """Folders of nights whose checkpoints and vectors went."""
    tables: tuple[str, ...] = ()
    """Folders of validated tables."""
    quarantines: tuple[str, ...] = ()
    """Folders of tables whose rows that were set aside went."""
    kept: dict[int, str] = field(default_factory=dict)
    """Nights that are old enough to go and stay, and why."""
    waits_for: str = ""
    """Why nothing was looked at; else empty."""


def prune(workspace: Workspace, *, dry_run: bool = False) -> Pruned:
    """Let go what is older than `retention` says; only while nothing else writes in this home.

    A cut is gone on with by the next call. While somebody's erasure is open, which has files of nights to see to,
    nothing goes.
    """
    options = workspace.settings.retention
    if not options.is_set or not workspace.has_catalogue:
        return Pruned(dry_run)
    if not dry_run:
        finish_erasures(workspace)
        finish_deletions(workspace)
    if erasures.open_erasures(workspace.engine):
        return Pruned(dry_run, waits_for="somebody's erasure is open: `personalgen repair` ends it")
    needed = dict(_needed(workspace))
    kept = {
        one.night_id: why for one in _older(workspace, options.nights_days) if (why := _stays(workspace, one, needed))
    }
    going = [one for one in _older(workspace, options.nights_days) if one.night_id not in kept]
    for one in () if dry_run else going:
        delete_night(workspace, one.night_id, reason=f"older than {options.nights_days} days", actor=ACTOR)
    gone = {one.night_id for one in going}
    results = [path for path in _results(workspace, needed, gone) if _cleared(path, dry_run=dry_run)]
    tables = list(_tables(workspace, needed, going))
    for path in () if dry_run else tables:
        shutil.rmtree(path)
    emptied = [path for path in _quarantines(workspace) if path not in tables and _emptied(path, dry_run=dry_run)]
    found = Pruned(
        dry_run,
        nights=tuple(one.night_id for one in going),
        results=_relative(workspace, results),
        tables=_relative(workspace, tables),
        quarantines=_relative(workspace, emptied),
        kept=kept,
    )
    logging.getLogger(__name__).info("retention: %s", found)
    return found


def _needed(workspace: Workspace) -> Iterator[tuple[str, str]]:
    """Yield (night key, why) of the nights that others go on from."""
    kept, newest = kept_state(workspace), newest_embedded(workspace)
    if newest is not None:
        yield newest.key, "it is the newest: models that are promoted by hand draw what it knows of people"
    if kept is not None:
        yield kept.night, "the next night goes on from it"


def _older(workspace: Workspace, days: int) -> tuple[NightRow, ...]:
    """Return the nights that were begun more than so many days ago; none where they are kept for ever."""
    return nights_begun_before(workspace.engine, workspace.now() - timedelta(days=days)) if days else ()


def _stays(workspace: Workspace, night: NightRow, needed: Mapping[str, str]) -> str:
    """Return why a night cannot go, or nothing."""
    newest = read.newest_as_of(workspace.engine)
    if night.night_key in needed:
        return needed[night.night_key]
    if night.status != "done" and night.kind != "backfill" and (newest is None or night.as_of >= newest):
        return "it may be gone on with"
    return "images of it stand for users" if deletions.stands_for_users(workspace.engine, night.night_id) else ""


def _results(workspace: Workspace, needed: Mapping[str, str], gone: set[int]) -> Iterator[Path]:
    """Yield the folders of nights that ended well, are old, and that nobody goes on from."""
    for one in _older(workspace, workspace.settings.retention.results_days):
        path = night_folder(workspace, one.night_key)
        if one.night_id not in gone and one.status == "done" and one.night_key not in needed and path.is_dir():
            yield path


def _cleared(folder: Path, *, dry_run: bool) -> bool:
    """Remove all of a night's results but those in numbers; return whether there was anything."""
    found = [path for path in folder.iterdir() if path.suffix != ".json"]
    for path in () if dry_run else found:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return bool(found)


def _tables(workspace: Workspace, needed: Mapping[str, str], going: list[NightRow]) -> Iterator[Path]:
    """Yield folders of tables that only old nights are made of, or that no night names and that are old themselves."""
    days = workspace.settings.retention.tables_days
    if not days:
        return
    gone, old = ({one.night_key for one in some} for some in (going, _older(workspace, days)))
    users: dict[Path, set[str]] = {}
    for path in (workspace.data / "nights").glob("*/prepare.json"):
        key = read_json(path)["key"]
        if key not in gone and (tables := tables_of(path.parent)):
            users.setdefault(tables, set()).add(key)
    kept = kept_state(workspace)
    for folder in _sealed(workspace):
        own = users.get(folder, set())
        is_old = own <= old - needed.keys() if own else _sealed_at(folder) < workspace.now() - timedelta(days=days)
        if is_old and (kept is None or folder != Path(kept.prepared)):
            yield folder


def _quarantines(workspace: Workspace) -> Iterator[Path]:
    """Yield folders of tables whose rows that were set aside are old."""
    days = workspace.settings.retention.quarantine_days
    for folder in _sealed(workspace) if days else ():
        if _quarantined_at(folder) < workspace.now() - timedelta(days=days):
            yield folder


def _emptied(folder: Path, *, dry_run: bool) -> bool:
    """Empty a folder's quarantine and seal it again; return whether there was anything, or a cut to mend."""
    path, mark = folder / QUARANTINE, folder / MARK
    if not mark.exists() and not pq.read_metadata(path).num_rows:
        return False
    if not dry_run:
        mark.touch()
        table = pq.read_table(path)
        with atomic_path(path) as temporary:
            pq.write_table(table.slice(0, 0), temporary, compression="zstd")
        seal_folder(folder, read_manifest(folder) or {})
        mark.unlink()
    return True


def _sealed(workspace: Workspace) -> list[Path]:
    return [path.parent for path in sorted((workspace.data / "prepared").glob("*/manifest.json"))]


def _sealed_at(folder: Path) -> datetime:
    return datetime.fromtimestamp((folder / "manifest.json").stat().st_mtime, UTC)


def _quarantined_at(folder: Path) -> datetime:
    return datetime.fromtimestamp((folder / QUARANTINE).stat().st_mtime, UTC)


def _relative(workspace: Workspace, paths: list[Path]) -> tuple[str, ...]:
    return tuple(str(path.relative_to(workspace.data)) for path in paths)
