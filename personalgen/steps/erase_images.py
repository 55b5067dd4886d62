"""Takes people's images out of the shards, each shard once, and removes files that nobody names any more."""

from collections.abc import Collection, Sequence
from pathlib import PurePosixPath

from personalgen.catalogue import erasures, read
from personalgen.catalogue.erasures import ShardOfPeople
from personalgen.generation.erasing import erase_members
from personalgen.generation.shards import FOLDER, Entry, read_sidecar, sidecar_of
from personalgen.steps.workspace import Workspace


def erase_images(workspace: Workspace, user_keys: Sequence[int]) -> list[str]:
    """Erase the images of these people, their assets and their rows in sidecars; return tars of unknown content.

    These are the ones that the catalogue does not know and whose rows cannot be read. Every step may be cut; the same
    call goes on.
    """
    unread = _remove_unknown(workspace, user_keys)
    found = erasures.shards_of_people(workspace.engine, user_keys)
    for done, shard in enumerate(found, start=1):
        _erase(workspace, shard)
        workspace.progress("erase", done, len(found))
    remove_asked(workspace)
    return unread


def remove_asked(workspace: Workspace) -> list[str]:
    """Remove the shards that no row names any more, each with its sidecar; return their paths."""
    paths = erasures.asked_removals(workspace.engine)
    for path in paths:
        workspace.shard_root.remove(path)
        workspace.shard_root.remove(sidecar_of(path))
        erasures.removed(workspace.engine, path)
    return list(paths)


def _erase(workspace: Workspace, shard: ShardOfPeople) -> None:
    """Erase one shard's images of these people."""
    entries = [Entry(own.member, own.shard_offset, own.byte_length, crc32=0) for own in shard.owned]
    keys = sorted({own.user_key for own in shard.owned})
    erased = erase_members(workspace.shard_root, shard.path, entries, keys)
    sha256 = erased.sha256 if erased.found else shard.sha256
    erasures.commit_erased_shard(workspace.engine, shard, path=erased.path, sha256=sha256, at=workspace.now())


def _remove_unknown(workspace: Workspace, user_keys: Collection[int]) -> list[str]:
    """Remove what the catalogue does not name and holds a row of these people; return what cannot be looked into."""
    root, unread = workspace.shard_root, []
    known, files = read.shard_digests(workspace.engine), root.files(FOLDER)
    tars = {str(PurePosixPath(path).with_suffix(".tar")) for path in files}
    for path in sorted(tars - known.keys()):
        sidecar = read_sidecar(root, path)
        if sidecar is None:
            unread.append(path)
        elif not set(sidecar.rows["user_key"].to_pylist()).isdisjoint(user_keys):
            root.remove(path)  # a rerun of its night draws the others again
            root.remove(sidecar_of(path))
    return unread
