"""Sealed tar shards: whole and in their root, or absent. Readable by tarfile, plain tar and WebDataset.

The bytes depend on the members alone (no time, no owner). Order: sidecar Parquet, then the tar, each put whole: a
sealed tar always has its sidecar. The sidecar names the tar's sha256, so that one left by a killed run is told apart
from its successor's. The catalogue's transaction comes last (`run.py`).
"""

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from personalgen.errors import ArtifactError, InternalError
from personalgen.generation.roots import ShardRoot

FOLDER = "shards"
"""Below the root."""
SHA256_KEY, FACTS_KEY = b"personalgen.sha256", b"personalgen.shard"
_BLOCK = 512
_END = bytes(2 * _BLOCK)
_NAME_BYTES = 100
_SIZE_LIMIT = 8**11


class Member(NamedTuple):
    """One file of a shard."""

    name: str
    data: bytes


class Entry(NamedTuple):
    """Where a member lies inside its tar: enough to read it without opening the archive."""

    name: str
    offset: int
    """Of the first byte of the data, behind the header."""
    byte_length: int
    crc32: int


@dataclass(frozen=True)
class Entries:
    """Where all members of a shard lie, in order; as columns of the sidecar's names, which need no object for each."""

    member: Sequence[str]
    shard_offset: Sequence[int]
    byte_length: Sequence[int]
    crc32: Sequence[int]

    def __len__(self) -> int:
        return len(self.member)

    def __getitem__(self, place: int) -> Entry:
        return Entry(self.member[place], self.shard_offset[place], self.byte_length[place], self.crc32[place])

    def __iter__(self) -> Iterator[Entry]:
        return map(Entry, self.member, self.shard_offset, self.byte_length, self.crc32)


@dataclass(frozen=True)
class PackedShard:
    """A shard in memory."""

    data: bytes
    entries: Entries


@dataclass(frozen=True)
class SealedShard:
    """A shard that is whole and in its root."""

    path: str
    """Below the root."""
    sha256: str
    byte_length: int
    entries: Entries

    @property
    def sidecar(self) -> str:
        """Path of the Parquet file with the rows of this shard."""
        return sidecar_of(self.path)


@dataclass(frozen=True)
class Sidecar:
    """What lies beside a tar."""

    rows: pa.Table
    sha256: str
    """Of the tar that the rows were written for."""
    facts: Mapping[str, Any]
    """What the catalogue knows of the shard as a whole; empty where none were given."""


def sidecar_of(path: str) -> str:
    """Return where the rows of the tar at `path` lie."""
    return str(PurePosixPath(path).with_suffix(".parquet"))


def pack(members: Iterable[tuple[str, bytes]]) -> PackedShard:
    """Return the whole archive in memory and where its members lie; a `Member` each, or name and data from a zip.

    Raises:
        InternalError: a member's name or size does not fit a tar header, or a name comes twice.
    """
    names: list[str] = []
    files: list[bytes] = []
    for name, data in members:
        names.append(name)
        files.append(data)
    if len(set(names)) != len(names):
        raise InternalError(f"{len(names)} members of one shard share names. Nothing was written.")
    sizes = np.array(list(map(len, files)), dtype=np.int64)
    headers = _headers(names, sizes).tobytes()
    paddings = -sizes % _BLOCK
    ends = np.cumsum(_BLOCK + sizes + paddings)
    offsets = ends - sizes - paddings
    parts: list[bytes] = []
    for k, (data, padding) in enumerate(zip(files, paddings.tolist(), strict=True)):
        parts += (headers[k * _BLOCK : (k + 1) * _BLOCK], data, _END[:padding])
    entries = Entries(names, offsets.tolist(), sizes.tolist(), [zlib.crc32(data) for data in files])
    return PackedShard(data=b"".join([*parts, _END]), entries=entries)


def seal(
    root: ShardRoot,
    path: str,
    packed: PackedShard,
    *,
    sidecar: pa.Table | None = None,
    facts: Mapping[str, Any] | None = None,
) -> SealedShard:
    """Write `sidecar`, with `facts` about the shard, and then the tar at `path`; return the sealed shard.

    Raises:
        ArtifactError: the root refused a write; nothing was sealed.
        InternalError: a shard of this name exists.
    """
    if root.size(path) is not None:
        raise InternalError(f"{path} is sealed and may be catalogued; it is never overwritten. Nothing was changed.")
    sha256 = hashlib.sha256(packed.data).hexdigest()
    try:
        if sidecar is not None:
            put_sidecar(root, path, Sidecar(sidecar, sha256, facts or {}))
        root.put(path, packed.data)
    except ArtifactError as error:
        raise ArtifactError(
            f"shard {path} ({len(packed.data):,} bytes) could not be written: {error} Then rerun the night: it "
            "continues with this shard. Nothing was sealed."
        ) from error
    return SealedShard(path=path, sha256=sha256, byte_length=len(packed.data), entries=packed.entries)


def read_member(root: ShardRoot, path: str, *, offset: int, byte_length: int, crc32: int) -> bytes:
    """Return one member's bytes after checking them.

    Raises:
        ArtifactError: the shard is missing or cut, or the bytes have another CRC.
    """
    return read_members(root, path, [(offset, byte_length, crc32)])[0]


def read_members(root: ShardRoot, path: str, places: Sequence[tuple[int, int, int]]) -> list[bytes]:
    """Return the bytes of members at (offset, length, CRC), which ascend, by one read from the first to the last.

    Raises:
        ArtifactError: the shard is missing or cut, or the bytes of a member have another CRC.
    """
    start, (last, length, _) = places[0][0], places[-1]
    span = root.read(path, offset=start, length=last + length - start)
    return [
        _checked(root, path, span[offset - start : offset - start + size], offset, size, crc)
        for offset, size, crc in places
    ]


def _checked(root: ShardRoot, path: str, data: bytes, offset: int, byte_length: int, crc32: int) -> bytes:
    """Return a member's bytes where they are what was catalogued."""
    if len(data) != byte_length or zlib.crc32(data) != crc32:
        raise ArtifactError(
            f"shard {path} in {root.url} holds other bytes at {offset}..{offset + byte_length} than were catalogued "
            f"({len(data)} read, CRC {zlib.crc32(data):08x}, expected {crc32:08x}). Restore it from a backup; nothing "
            "was read."
        )
    return data


def read_sidecar(root: ShardRoot, path: str) -> Sidecar | None:
    """Return what lies beside the tar at `path`; None without a readable sidecar."""
    try:
        table = pq.read_table(pa.BufferReader(root.read(sidecar_of(path))))
        metadata = table.schema.metadata
        return Sidecar(table, metadata[SHA256_KEY].decode(), json.loads(metadata.get(FACTS_KEY, b"{}")))
    except (ArtifactError, pa.ArrowException, KeyError, TypeError):
        return None


def put_sidecar(root: ShardRoot, path: str, sidecar: Sidecar) -> None:
    """Write the rows beside the tar at `path`, with its digest and facts in the schema's metadata."""
    own = {SHA256_KEY: sidecar.sha256.encode(), FACTS_KEY: json.dumps(sidecar.facts, sort_keys=True).encode()}
    buffer = pa.BufferOutputStream()
    table = sidecar.rows.replace_schema_metadata({**(sidecar.rows.schema.metadata or {}), **own})
    pq.write_table(table, buffer, compression="zstd", use_dictionary=False)  # rows differ: it costs time and bytes
    root.put(sidecar_of(path), buffer.getvalue().to_pybytes())


def sweep_temporaries(root: ShardRoot) -> list[str]:
    """Remove what killed writers left and return it, sorted. Only while no writer runs."""
    found = root.temporaries(FOLDER)
    for path in found:
        root.remove(path)
    return found


def _headers(names: Sequence[str], sizes: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return (n, 512) uint8: the header of each member.

    Raises:
        InternalError: a name or a size does not fit.
    """
    encoded = [name.encode() for name in names]
    for name, data, size in zip(names, encoded, sizes.tolist(), strict=True):
        if not 0 < len(data) <= _NAME_BYTES or size >= _SIZE_LIMIT:
            raise InternalError(
                f"member {name!r} of {size:,} bytes does not fit a ustar header (name of 1 to {_NAME_BYTES} bytes, "
                "less than 8 GiB). Nothing was written."
            )
    headers = np.tile(np.frombuffer(_template(), dtype=np.uint8), (len(names), 1))
    headers[:, :_NAME_BYTES] = np.array(encoded, dtype=f"S{_NAME_BYTES}").view(np.uint8).reshape(-1, _NAME_BYTES)
    headers[:, 124:135] = _octal(sizes, 11)
    headers[:, 148:154] = _octal(headers.sum(axis=1, dtype=np.int64), 6)
    headers[:, 154] = 0
    return headers


def _octal(numbers: NDArray[np.int64], n_digits: int) -> NDArray[np.int64]:
    """Return (n, n_digits): ASCII codes of octal digits, with leading zeros."""
    places = 3 * np.arange(n_digits - 1, -1, -1)
    return (numbers[:, None] >> places & 7) + ord("0")


def _template() -> bytearray:
    """Return a ustar header without name, size and checksum: mode 0644, uid, gid and time 0, a regular file.

    Source: POSIX.1-2017, pax, "ustar Interchange Format". The checksum is summed up as if it were blanks, and ends in
    a zero and a blank.
    """
    header = bytearray(_BLOCK)
    header[100:136] = b"0000644\0" + b"0000000\0" + b"0000000\0" + bytes(12)
    header[136:148] = b"00000000000\0"
    header[148:156] = b" " * 8
    header[156:157] = b"0"
    header[257:265] = b"ustar\x0000"
    return header
