"""Takes people's images out of the shards, each shard once, and removes files that nobody names any more."""

from collections.abc import Collection, Sequence
from pathlib import PurePosixPath

from personalgen.catalogue import erasures, read
from personalgen.catalogue.erasures import ShardOfPeople
from personalgen.generation.erasing import entries_of, erase_members, named_in
from personalgen.generation.shards import FOLDER, Entry, read_sidecar, sidecar_of, sweep_temporaries
from personalgen.steps.workspace import Workspace


def erase_images(workspace: Workspace, user_keys: Sequence[int]) -> list[str]:
    """Erase the images of these people, their assets and their rows in sidecars; return tars of unknown content.

    These are the ones that the catalogue does not know and whose rows cannot be read. Every step may be cut; the same
    call goes on.
    """
    sweep_temporaries(workspace.shard_root)
    unread = _remove_unknown(workspace, user_keys)
    found = {one.path: one for one in erasures.shards_of_people(workspace.engine, user_keys)}
    found |= {path: one for path, one in _duplicates(workspace, user_keys).items() if path not in found}
    for done, path in enumerate(sorted(found), start=1):
        _erase(workspace, found[path], user_keys)
        workspace.progress("erase", done, len(found))
    remove_asked(workspace)
    return unread


def _duplicates(workspace: Workspace, user_keys: Sequence[int]) -> dict[str, ShardOfPeople]:
    """Return the catalogued shards whose sidecar tells of these people, by path.

    An image that was there already is drawn again beside a new one of the same person, and refused ones are told: no
    asset names them here.
    """
    found = {}
    for shard in erasures.shards(workspace.engine):
        sidecar = read_sidecar(workspace.shard_root, shard.path)
        if sidecar is not None and named_in(sidecar.rows, user_keys):
            found[shard.path] = shard
    return found


def remove_asked(workspace: Workspace) -> list[str]:
    """Remove the shards that no row names any more, each with its sidecar; return their paths."""
    paths = erasures.asked_removals(workspace.engine)
    for path in paths:
        workspace.shard_root.remove(path)
        workspace.shard_root.remove(sidecar_of(path))
        erasures.removed(workspace.engine, path)
    return list(paths)


def _erase(workspace: Workspace, shard: ShardOfPeople, user_keys: Sequence[int]) -> None:
    """Erase one shard's images of these people, those that no asset names too."""
    entries = {own.shard_offset: Entry(own.member, own.shard_offset, own.byte_length, crc32=0) for own in shard.owned}
    sidecar = read_sidecar(workspace.shard_root, shard.path)
    if sidecar is not None:
        entries |= {entry.offset: entry for entry in entries_of(sidecar.rows, user_keys)}
    erased = erase_members(workspace.shard_root, shard.path, sidecar, list(entries.values()), user_keys)
    sha256 = erased.sha256 if erased.found else shard.sha256
    erasures.commit_erased_shard(
        workspace.engine,
        shard,
        path=erased.path,
        sha256=sha256,
        at=workspace.now(),
        n_duplicates=len(entries) - len(shard.owned),
    )


def _remove_unknown(workspace: Workspace, user_keys: Collection[int]) -> list[str]:
    """Remove what the catalogue does not name and holds a row of these people; return what cannot be looked into."""
    root, unread = workspace.shard_root, []
    known, files = read.shard_digests(workspace.engine), root.files(FOLDER)
    tars = {str(PurePosixPath(path).with_suffix(".tar")) for path in files}
    for path in sorted(tars - known.keys()):
        sidecar = read_sidecar(root, path)
        if sidecar is None:
            unread.append(path)
        elif named_in(sidecar.rows, user_keys):
            root.remove(path)  # a rerun of its night draws the others again
            root.remove(sidecar_of(path))
    return unread
