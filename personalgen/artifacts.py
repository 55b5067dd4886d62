"""Files that are either whole or absent: atomic writes, digests, and folders with a manifest.

A folder counts as written only when its `manifest.json`, which goes last, is there.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from personalgen.errors import ArtifactError

MANIFEST = "manifest.json"
_BLOCK_BYTES = 1 << 20


def check_file(path: Path, sha256: str) -> Path:
    """Return the path of a file that is there and unchanged.

    Raises:
        ArtifactError: the file is missing or its digest differs.
    """
    if not path.is_file():
        raise ArtifactError(f"{path} is missing, though a finished stage refers to it. Rerun that stage.")
    found = sha256_file(path)
    if found != sha256:
        raise ArtifactError(
            f"{path} has sha256 {found[:12]}…, expected {sha256[:12]}…: it changed after it was written. "
            "Delete it and rerun the stage that made it. Nothing was read from it."
        )
    return path


def sha256_file(path: Path) -> str:
    """Return the hex sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_of(value: Any) -> str:
    """Return 32 hex digits that identify a JSON-like value or a dataclass of such."""
    return hashlib.blake2b(canonical_json(value).encode(), digest_size=16).hexdigest()


def weights_key(sha256: str) -> int:
    """Return the first 64 bits of a hex sha256 with the top bit cleared: fits a signed 64-bit column."""
    return int(sha256[:16], 16) & (2**63 - 1)


def short_digest(data: bytes) -> int:
    """Return 63 bits of blake2b as a non-negative integer that fits a signed 64-bit column."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") & (2**63 - 1)


def fsync_folder(folder: Path) -> None:
    """Make a rename inside `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_temporaries(folder: Path, *, but: Collection[str] = ()) -> None:
    """Remove what writers that were killed left in a folder and below it, where nobody may be writing.

    `but` names subfolders that are left alone.
    """
    for path in sorted(folder.rglob(".*.tmp"), reverse=True):
        if path.relative_to(folder).parts[0] in but:
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success fsync it and rename it to `path`, else remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
        fsync_folder(path.parent)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def write_bytes(path: Path, data: bytes) -> Path:
    """Write `data` to `path` atomically and durably; return the path."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    return path


def write_json(path: Path, value: Any) -> Path:
    """Write a JSON-like value or a dataclass to `path` atomically; return the path."""
    return write_bytes(path, (json.dumps(_plain(value), sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Return the parsed JSON of `path`.

    Raises:
        ArtifactError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path} does not exist. Rerun the stage that writes it.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{path} is not valid JSON ({error}). Delete it and rerun the stage that writes it."
        ) from None


def seal_folder(folder: Path, facts: Mapping[str, Any]) -> Path:
    """Write the folder's manifest (facts + sha256 of every file, recursively) last; return the manifest's path."""
    files = {
        str(path.relative_to(folder)): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST and not path.name.endswith(".tmp")
    }
    return write_json(folder / MANIFEST, {"facts": dict(facts), "files": files})


def read_manifest(folder: Path, *, verify: bool = False) -> dict[str, Any] | None:
    """Return the facts of a sealed folder, or None where it was never sealed.

    With `verify`, every file's digest is checked first.

    Raises:
        ArtifactError: a listed file is missing or changed.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    manifest = read_json(path)
    for name, sha256 in manifest["files"].items():
        if verify:
            check_file(folder / name, sha256)
        elif not (folder / name).is_file():
            raise ArtifactError(
                f"{folder / name} is listed in {path} but missing. Delete the folder and rerun its stage."
            )
    facts: dict[str, Any] = manifest["facts"]
    return facts


def _plain(value: Any) -> Any:
    """Return `value` with dataclasses, tuples, paths and mappings turned into what JSON knows."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value
