"""Where sealed shards lie: in a folder, or below the URL of an object store; each file is whole or absent.

Paths are relative to the root, with forward slashes. A folder writes beside the place, fsyncs and renames; an object
store takes one PUT, which is whole or nothing by itself. Credentials come from the environment, never from a URL.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from personalgen.artifacts import fsync_folder, sha256_file, write_bytes
from personalgen.errors import ArtifactError, ConfigError


class ShardRoot(Protocol):
    """What a place for shards can do. Every method raises ArtifactError where the place cannot be reached."""

    @property
    def url(self) -> str:
        """The place, for people."""

    @property
    def in_place(self) -> bool:
        """Whether bytes of a file can be overwritten; else a changed file gets a new name."""

    def put(self, path: str, data: bytes) -> None:
        """Write a file, whole and durable, or nothing."""

    def read(self, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return `length` bytes from `offset` on, fewer at the end of the file; all, where None."""

    def overwrite(self, path: str, pieces: Sequence[tuple[int, bytes]]) -> None:
        """Replace bytes of a file at offsets, durably; only where `in_place`."""

    def size(self, path: str) -> int | None:
        """Return a file's size in bytes, or None where there is none."""

    def sha256(self, path: str) -> str:
        """Return the hex sha256 of a file's bytes."""

    def files(self, folder: str) -> dict[str, int]:
        """Return the size of every file below a folder by its path, sorted; temporary ones are left out."""

    def remove(self, path: str) -> None:
        """Remove a file; nothing is done where there is none."""

    def temporaries(self, folder: str) -> list[str]:
        """Return what killed writers left below a folder, sorted. Only while no writer runs."""


@dataclass(frozen=True)
class LocalRoot:
    """A folder of this machine."""

    folder: Path

    @property
    def url(self) -> str:
        """The folder's path."""
        return str(self.folder)

    @property
    def in_place(self) -> bool:
        """True: a file's bytes can be overwritten."""
        return True

    def put(self, path: str, data: bytes) -> None:
        """Write beside the place, fsync, rename, fsync the folder; then let the system forget what is on disk now.

        A night's gigabytes would push everything else out of its memory, and pages that come back are cheaper to fill
        than further ones.
        """
        with _reached(self.url, path):
            _forget(write_bytes(self.folder / path, data))

    def read(self, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return bytes of a file by one pread; every image comes this way, so there is no context manager.

        Linux reads at most 2 GiB at a time: what is longer takes several.
        """
        try:
            with (self.folder / path).open("rb", buffering=0) as stream:
                handle = stream.fileno()
                wanted = os.fstat(handle).st_size - offset if length is None else length
                data = os.pread(handle, wanted, offset)
                while len(data) < wanted and (more := os.pread(handle, wanted - len(data), offset + len(data))):
                    data += more
                return data
        except OSError as error:
            raise _unreachable(self.url, path, error) from error

    def overwrite(self, path: str, pieces: Sequence[tuple[int, bytes]]) -> None:
        """Write the pieces where they belong, then fsync."""
        with _reached(self.url, path), (self.folder / path).open("rb+", buffering=0) as stream:
            for offset, data in pieces:
                os.pwrite(stream.fileno(), data, offset)
            os.fsync(stream.fileno())

    def size(self, path: str) -> int | None:
        """Return a file's size in bytes, or None where there is none."""
        with _reached(self.url, path):
            try:
                return (self.folder / path).stat().st_size
            except FileNotFoundError:
                return None

    def sha256(self, path: str) -> str:
        """Return the hex sha256 of a file's bytes."""
        with _reached(self.url, path):
            return sha256_file(self.folder / path)

    def files(self, folder: str) -> dict[str, int]:
        """Return the size of every file below a folder by its path, sorted; temporary ones are left out."""
        with _reached(self.url, folder):
            found = sorted(path for path in (self.folder / folder).rglob("*") if path.is_file())
            return {
                path.relative_to(self.folder).as_posix(): path.stat().st_size
                for path in found
                if not path.match(_TEMPORARY)
            }

    def remove(self, path: str) -> None:
        """Remove a file durably, and its folder where that is empty then."""
        with _reached(self.url, path), suppress(FileNotFoundError):
            place = self.folder / path
            place.unlink()
            fsync_folder(place.parent)
            with suppress(OSError):  # other files are there
                place.parent.rmdir()

    def temporaries(self, folder: str) -> list[str]:
        """Return what killed writers left below a folder, sorted. Only while no writer runs."""
        with _reached(self.url, folder):
            found = sorted(path for path in (self.folder / folder).rglob(_TEMPORARY) if path.is_file())
            return [path.relative_to(self.folder).as_posix() for path in found]


@dataclass(frozen=True)
class ObjectRoot:
    """A prefix of an object store, or of anything else that fsspec opens by URL."""

    url: str
    system: Any
    """fsspec's file system; it keeps no listings."""
    prefix: str
    """The place below the file system."""

    @property
    def in_place(self) -> bool:
        """False: an object is replaced, never changed."""
        return False

    def put(self, path: str, data: bytes) -> None:
        """Write an object: one PUT up to 100 MB, above that parts that count once all are there."""
        with _reached(self.url, path):
            self.system.pipe_file(self._at(path), data)

    def read(self, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return bytes of an object by one ranged GET."""
        end = None if length is None else offset + length
        with _reached(self.url, path):
            return bytes(self.system.cat_file(self._at(path), start=offset, end=end))

    def overwrite(self, path: str, pieces: Sequence[tuple[int, bytes]]) -> None:
        """Refuse: an object cannot be changed."""
        raise ArtifactError(
            f"{path} in {self.url} cannot be changed at {len(pieces)} places: objects are only ever replaced. Write it "
            "under a new name. Nothing was changed."
        )

    def size(self, path: str) -> int | None:
        """Return an object's size in bytes, or None where there is none."""
        with _reached(self.url, path):
            try:
                return int(self.system.info(self._at(path))["size"])
            except FileNotFoundError:
                return None

    def sha256(self, path: str) -> str:
        """Return the hex sha256 of an object's bytes, all of which are fetched."""
        return hashlib.sha256(self.read(path)).hexdigest()

    def files(self, folder: str) -> dict[str, int]:
        """Return the size of every object below a prefix by its path, sorted."""
        with _reached(self.url, folder):
            try:
                found = self.system.find(self._at(folder), detail=True)
            except FileNotFoundError:
                return {}
        return {name.removeprefix(f"{self.prefix}/"): int(found[name]["size"]) for name in sorted(found)}

    def remove(self, path: str) -> None:
        """Remove an object; nothing is done where there is none."""
        with _reached(self.url, path), suppress(FileNotFoundError):
            self.system.rm_file(self._at(path))

    def temporaries(self, folder: str) -> list[str]:
        """Return nothing: a PUT that was cut leaves nothing in `folder`."""
        del folder
        return []

    def _at(self, path: str) -> str:
        return f"{self.prefix}/{path}"


def open_root(place: str, *, default: Path) -> ShardRoot:
    """Return the root at a path or URL, such as s3://bucket/prefix; the folder `default` where it is empty.

    Raises:
        ConfigError: the URL holds a password, names a store that no installed package opens, or no place in it.
    """
    if "://" not in place:
        return LocalRoot(default / place)
    parts = urlsplit(place)
    if parts.username or parts.password or parts.query:
        raise ConfigError(
            f"store.shard_root ({parts.scheme}://…) holds credentials or options; they come from the environment "
            "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL for S3). Write the bare URL. "
            "Nothing was opened."
        )
    if parts.scheme == "file":
        return LocalRoot(Path(parts.path))
    system, prefix = _opened(place)
    if not prefix.strip("/"):
        raise ConfigError(f"store.shard_root {place!r} names no bucket: write {parts.scheme}://bucket/prefix.")
    return ObjectRoot(place, system, prefix.rstrip("/"))


_TEMPORARY = ".*.tmp"


def _opened(url: str) -> tuple[Any, str]:
    """Return fsspec's file system of a URL and the place in it."""
    import fsspec  # with torch; slow

    try:
        system, prefix = fsspec.core.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
    except ImportError as error:
        raise ConfigError(
            f"store.shard_root {url!r} needs a package that is not installed: {error}. For s3:// run pip install "
            "'personalgen[s3]'. Nothing was opened."
        ) from None
    except ValueError as error:
        raise ConfigError(f"store.shard_root {url!r} cannot be opened: {error}. Nothing was opened.") from None
    return system, prefix


def _forget(path: Path) -> None:
    """Drop a durable file from the system's cache, where the system can be asked to."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb", buffering=0) as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def _reached(url: str, path: str) -> Iterator[None]:
    """Turn what a disk or a store's client raises into our error."""
    try:
        yield
    except Exception as error:  # each store's client has errors of its own
        raise _unreachable(url, path, error) from error


def _unreachable(url: str, path: str, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"{path} in the shard root {url} could not be read or written: {type(error).__name__}: {error}. Check that the "
        "place is there, has space and lets you in, then run again. The file is as it was."
    )
