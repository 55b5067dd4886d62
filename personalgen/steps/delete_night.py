"""Deletes a night: its rows as one, then its files; a run that was cut is gone on with by `repair`."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from personalgen.artifacts import read_json
from personalgen.catalogue import deletions, read
from personalgen.catalogue.rows import Night as NightRow
from personalgen.errors import UserError
from personalgen.steps.erase_images import remove_asked
from personalgen.steps.state import kept_state
from personalgen.steps.workspace import Workspace

BACKFILLED = "backfill.json"
"""Stands in the folder of a backfill that is done."""


@dataclass(frozen=True)
class DeletedNight:
    """What was deleted."""

    night_id: int
    ledger_id: int
    removed: dict[str, int]
    """How many of each kind of row."""
    files: tuple[str, ...]
    """Folders and shards that went."""


def delete_night(workspace: Workspace, night_id: int, *, reason: str, actor: str) -> DeletedNight:
    """Delete a night's images, rows and files; its row stays and says so, and its models stay.

    Only while nothing else writes in this home.

    Raises:
        NotFoundError: there is no such night, or it was deleted before. Nothing was changed.
        UserError: the next night goes on from this one, or images of it stand for users. Nothing was changed.
    """
    kept = kept_state(workspace)
    if kept is not None and kept.night == read.night_by_id(workspace.engine, night_id).night_key:
        raise UserError(
            f"Night {night_id} cannot be deleted: what is known of users is of that night, and the next one goes "
            "on from it. Run a later night first. Nothing was changed."
        )
    line = deletions.delete_night(workspace.engine, night_id, actor=actor, reason=reason, at=workspace.now())
    files = finish_deletions(workspace)
    return DeletedNight(night_id, line.night_deletion_id, dict(line.removed), tuple(files))


def finish_deletions(workspace: Workspace) -> list[str]:
    """Remove the files of nights whose rows are deleted; return what went."""
    went = remove_asked(workspace)
    for line in deletions.night_deletions(workspace.engine, open_only=True):
        for folder in _folders(workspace, read.night_by_id(workspace.engine, line.night_id)):
            shutil.rmtree(folder)
            went.append(str(folder))
        deletions.finish_deletion(workspace.engine, line.night_deletion_id, at=workspace.now())
    return went


def _folders(workspace: Workspace, night: NightRow) -> list[Path]:
    """Return the folders that only this night needs; that of its results last, as it names the tables."""
    own = workspace.data / "nights" / night.night_key[:16]
    tables, needed = tables_of(own), tables_needed(workspace, but=own)
    folders = [
        workspace.data / "votes" / own.name,
        workspace.data / "reports" / f"{night.day}-{night.night_key[:8]}",
        *([tables] if tables and tables not in needed else []),
        own,
    ]
    return [folder for folder in folders if folder.is_dir()]


def tables_needed(workspace: Workspace, *, but: Path) -> set[Path]:
    """Return the prepared folders that nights are made of, all but the one in the folder `but`, and the state.

    A backfill that is done needs none any more.
    """
    kept = kept_state(workspace)
    nights = [path for path in (workspace.data / "nights").glob("*") if path != but]
    named = {tables_of(path) for path in nights if not (path / BACKFILLED).is_file()}
    return {path for path in (*named, Path(kept.prepared) if kept else None) if path}


def tables_of(folder: Path) -> Path | None:
    """Return the prepared folder that the night of a folder is made of, or None where it says nothing of one."""
    path = folder / "prepare.json"
    return Path(read_json(path)["prepared"]) if path.is_file() else None
