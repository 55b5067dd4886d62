"""Takes people's images out of a sealed shard: their bytes become zeros, their members' names say so, the rest stays.

Every other member keeps its place, so the catalogue's other rows stay true. A folder's shard is changed where it lies,
an object store's is written under a new name. Done again, also after a cut, it ends with the same bytes.
"""

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from personalgen.generation.assets import NATURAL_KEY
from personalgen.generation.roots import ShardRoot
from personalgen.generation.safety import refused_in, with_refused
from personalgen.generation.shards import Entry, Member, Sidecar, pack, put_sidecar, sidecar_of

_REWRITTEN = re.compile(r"(.*)-erased(\d+)")


@dataclass(frozen=True)
class ErasedShard:
    """Where a shard lies now, and what its bytes are."""

    path: str
    sha256: str
    """Empty where there was no tar."""
    found: bool
    """False: there was no tar at all, and so nothing to take out."""


def erase_members(
    root: ShardRoot, path: str, sidecar: Sidecar | None, entries: Sequence[Entry], user_keys: Sequence[int]
) -> ErasedShard:
    """Take the members at these places out of the shard at `path`, and these users' rows out of its `sidecar`.

    In a folder the bytes go first: as long as the sidecar names an image that no asset does, it is found again. In an
    object store the old files stay: the catalogue names the new ones before the old are removed.

    Raises:
        ArtifactError: the root could not be reached; the same call goes on.
    """
    if root.size(path) is None:
        root.remove(sidecar_of(path))
        return ErasedShard(path, "", found=False)
    data = bytearray(root.read(path))
    pieces = [_blank(entry, len(data)) for entry in entries]
    for offset, blank in pieces:
        data[offset : offset + len(blank)] = blank
    sha256, place = hashlib.sha256(data).hexdigest(), path if root.in_place else _renamed(path)
    if root.in_place:
        root.overwrite(path, pieces)
    if sidecar is None:
        root.remove(sidecar_of(path))
    else:
        put_sidecar(root, place, Sidecar(without_users(sidecar.rows, user_keys), sha256, sidecar.facts))
    if not root.in_place:
        root.put(place, bytes(data))
    return ErasedShard(place, sha256, found=True)


def named_in(rows: pa.Table, user_keys: Collection[int]) -> bool:
    """Return whether a sidecar tells of one of these users, be it by an image or by one that a filter refused."""
    place = NATURAL_KEY.index("user_key")
    keys = {*rows["user_key"].to_pylist(), *(each.natural_key[place] for each in refused_in(rows))}
    return not keys.isdisjoint(user_keys)


def entries_of(rows: pa.Table, user_keys: Sequence[int]) -> list[Entry]:
    """Return where a sidecar says that images of these users lie."""
    own = rows.filter(pc.is_in(rows["user_key"], value_set=pa.array(user_keys, pa.int64())))
    places = (own[name].to_pylist() for name in ("member", "shard_offset", "byte_length", "crc32"))
    return [Entry(*place) for place in zip(*places, strict=True)]


def without_users(rows: pa.Table, user_keys: Sequence[int]) -> pa.Table:
    """Return a sidecar's rows without those of these users, and without their images that a filter refused."""
    gone, place = set(user_keys), NATURAL_KEY.index("user_key")
    refused = [each for each in refused_in(rows) if each.natural_key[place] not in gone]
    others = pc.invert(pc.is_in(rows["user_key"], value_set=pa.array(user_keys, pa.int64())))
    return with_refused(rows.filter(others), refused)


def _blank(entry: Entry, n_bytes: int) -> tuple[int, bytes]:
    """Return where a member's header begins, and a header and data that hold nothing; nothing past the tar's end."""
    size = entry.byte_length
    named = Member(f"erased-{entry.offset:012d}", bytes(size))
    packed = pack([named])
    start = entry.offset - packed.entries[0].offset
    return start, packed.data[: max(0, min(packed.entries[0].offset + size, n_bytes - start))]


def _renamed(path: str) -> str:
    """Return the name under which a changed shard is written where nothing can be changed."""
    place = PurePosixPath(path)
    found = _REWRITTEN.fullmatch(place.stem)
    stem, count = (found[1], int(found[2])) if found else (place.stem, 0)
    return str(place.with_name(f"{stem}-erased{count + 1}.tar"))
