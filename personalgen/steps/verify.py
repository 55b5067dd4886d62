"""Says where a picture file comes from: what it says of itself, and whether the catalogue holds these very bytes."""

import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from personalgen.catalogue.origin import Candidate, candidates, knows_origin
from personalgen.errors import ArtifactError, ConfigError
from personalgen.generation.provenance import Provenance, read_provenance
from personalgen.generation.shards import read_member
from personalgen.steps.workspace import Workspace

_MAX_BYTES = 64 << 20
Verdict = Literal["no provenance", "unknown here", "changed or erased", "ours"]


@dataclass(frozen=True)
class Verified:
    """What became of the question where a picture comes from."""

    verdict: Verdict
    """no provenance: the file says nothing. unknown here: it names a night or weights that are not in this catalogue.
    changed or erased: it names both, and no asset has these bytes. ours: an asset has, byte for byte."""
    provenance: Provenance | None = None
    asset_id: int | None = None

    def facts(self) -> dict[str, str | int]:
        """Return what is known, without what is not."""
        said = asdict(self.provenance) if self.provenance else {}
        asset = {} if self.asset_id is None else {"asset_id": self.asset_id}
        return {"verdict": self.verdict, **said, **asset}


def verify(workspace: Workspace, path: Path) -> Verified:
    """Return where the picture at `path` comes from. Bytes are compared: what a file says of itself proves nothing.

    Raises:
        ConfigError: the file cannot be read, or is larger than a picture may be.
        DataError: it is no PNG, JPEG or WebP.
    """
    data = _read(path)
    said = read_provenance(data)
    if said is None:
        return Verified("no provenance")
    if not knows_origin(workspace.engine, night_key=said.night, generator_sha256=said.generator):
        return Verified("unknown here", said)
    found = candidates(
        workspace.engine,
        night_key=said.night,
        generator_sha256=said.generator,
        byte_length=len(data),
        crc32=zlib.crc32(data),
    )
    same = [each.asset_id for each in found if _bytes_of(workspace, each) == data]
    return Verified("ours", said, same[0]) if same else Verified("changed or erased", said)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}. Nothing was changed.") from error
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{path} is larger than {_MAX_BYTES >> 20} MiB. Nothing was changed.")
    return data


def _bytes_of(workspace: Workspace, found: Candidate) -> bytes | None:
    """Return an asset's bytes, None where its shard does not hold them any more."""
    try:
        return read_member(
            workspace.shard_root,
            found.shard_path,
            offset=found.shard_offset,
            byte_length=found.byte_length,
            crc32=found.crc32,
        )
    except ArtifactError:
        return None
