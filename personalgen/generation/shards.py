"""Sealed tar shards: whole and on disk, or absent. Readable by tarfile, plain tar and WebDataset.

The bytes depend on the members alone (no time, no owner). Order on disk: sidecar Parquet (temp, fsync, rename), then
the tar (temp, fsync, rename, directory fsync): a sealed tar always has its sidecar. The sidecar names the tar's sha256,
so that one left by a killed run is told apart from its successor's. The catalogue's transaction comes last (`run.py`).
"""

import hashlib
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from personalgen.artifacts import atomic_path, write_bytes
from personalgen.errors import ArtifactError, InternalError

SHA256_KEY = b"personalgen.sha256"
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
class PackedShard:
    """A shard in memory."""

    data: bytes
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class SealedShard:
    """A shard that is whole and on disk."""

    path: Path
    sha256: str
    byte_length: int
    entries: tuple[Entry, ...]

    @property
    def sidecar(self) -> Path:
        """The Parquet file with the rows of this shard."""
        return sidecar_of(self.path)


def sidecar_of(path: Path) -> Path:
    """Return where the rows of the tar at `path` lie."""
    return path.with_suffix(".parquet")


def pack(members: Sequence[Member]) -> PackedShard:
    """Return the whole archive in memory and where its members lie.

    Raises:
        InternalError: a member's name or size does not fit a tar header, or a name comes twice.
    """
    sizes = np.array([len(member.data) for member in members], dtype=np.int64)
    headers = memoryview(_headers([member.name for member in members], sizes).tobytes())
    paddings = -sizes % _BLOCK
    ends = np.cumsum(_BLOCK + sizes + paddings)
    offsets = ends - sizes - paddings
    parts: list[bytes | memoryview] = []
    for k, (member, padding) in enumerate(zip(members, paddings.tolist(), strict=True)):
        parts += (headers[k * _BLOCK : (k + 1) * _BLOCK], member.data, _END[:padding])
    crcs = [zlib.crc32(member.data) for member in members]
    names = [member.name for member in members]
    if len(set(names)) != len(names):
        raise InternalError(f"{len(names)} members of one shard share names. Nothing was written.")
    entries = tuple(map(Entry, names, offsets.tolist(), sizes.tolist(), crcs))
    return PackedShard(data=b"".join([*parts, _END]), entries=entries)


def seal(path: Path, packed: PackedShard, *, sidecar: pa.Table | None = None) -> SealedShard:
    """Write `sidecar` and then the tar at `path`, each atomically and durably; return the sealed shard.

    Raises:
        ArtifactError: the disk refused a write; nothing was sealed.
        InternalError: a shard of this name exists.
    """
    if path.exists():
        raise InternalError(f"{path} is sealed and may be catalogued; it is never overwritten. Nothing was changed.")
    sha256 = hashlib.sha256(packed.data).hexdigest()
    try:
        if sidecar is not None:
            _write_sidecar(path, sidecar, sha256=sha256)
        write_bytes(path, packed.data)
    except OSError as error:
        raise ArtifactError(
            f"shard {path} ({len(packed.data):,} bytes) could not be written: {error}. Free some space or mend the "
            "disk, then rerun the night: it continues with this shard. Nothing was sealed."
        ) from error
    return SealedShard(path=path, sha256=sha256, byte_length=len(packed.data), entries=packed.entries)


def read_member(path: Path, *, offset: int, byte_length: int, crc32: int) -> bytes:
    """Return one member's bytes after checking them.

    Raises:
        ArtifactError: the shard is missing or cut, or the bytes have another CRC.
    """
    try:
        with path.open("rb", buffering=0) as stream:
            data = os.pread(stream.fileno(), byte_length, offset)
    except OSError as error:
        raise ArtifactError(
            f"shard {path} cannot be read: {error}. Restore it from a backup; no image was read."
        ) from error
    if len(data) != byte_length or zlib.crc32(data) != crc32:
        raise ArtifactError(
            f"shard {path} holds other bytes at {offset}..{offset + byte_length} than were catalogued ({len(data)} "
            f"read, CRC {zlib.crc32(data):08x}, expected {crc32:08x}). Restore it from a backup; nothing was read."
        )
    return data


def read_sidecar(path: Path) -> tuple[pa.Table, str] | None:
    """Return the rows of the tar at `path` and the sha256 they were written for; None without a readable sidecar."""
    try:
        table = pq.read_table(sidecar_of(path))
        return table, table.schema.metadata[SHA256_KEY].decode()
    except (OSError, pa.ArrowException, KeyError, TypeError):
        return None


def sweep_temporaries(folder: Path) -> list[Path]:
    """Remove what killed writers left below `folder` and return it, sorted. Only while no writer runs."""
    found = sorted(path for path in folder.rglob(".*.tmp") if path.is_file())
    for path in found:
        path.unlink()
    return found


def _write_sidecar(path: Path, table: pa.Table, *, sha256: str) -> None:
    """Write the rows beside the tar-to-be, with the tar's digest in the schema's metadata."""
    metadata = {**(table.schema.metadata or {}), SHA256_KEY: sha256.encode()}
    with atomic_path(sidecar_of(path)) as temporary:
        pq.write_table(table.replace_schema_metadata(metadata), temporary, compression="zstd")


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
