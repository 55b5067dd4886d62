"""Checkpoints as files: the newest and the one before it, each with the digest of all that it holds.

One that is damaged is set aside, said aloud, and the one before is taken, or none: a training that was cut is worth
some minutes, a night that waits for a person is worth more.
"""

import hashlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from personalgen.artifacts import atomic_path, canonical_json
from personalgen.errors import ArtifactError

CHECKPOINT = "checkpoint.safetensors"
BEFORE = "checkpoint-before.safetensors"
DAMAGED = ".damaged"
"""What a checkpoint that cannot be used is called from then on; it is kept to be looked at."""
_DIGEST = "digest"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that is what was written."""

    path: Path
    tensors: Mapping[str, Tensor]
    meta: Mapping[str, str]


def write_checkpoint(folder: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, str]) -> Path:
    """Write a checkpoint atomically, with its digest; the one that was the newest is kept as the one before."""
    path = folder / CHECKPOINT
    with atomic_path(path) as temporary:
        save_file(dict(tensors), temporary, metadata={**meta, _DIGEST: _digest(tensors, meta)})
        if path.is_file():
            _keep(path)
    return path


def newest_whole(folder: Path) -> Checkpoint | None:
    """Return the newest checkpoint that is whole, or None; damaged ones are set aside, with a warning for each."""
    for path in (folder / CHECKPOINT, folder / BEFORE):
        try:
            found = _read(path) if path.is_file() else None
        except ArtifactError as error:
            aside = path.replace(path.with_name(path.name + DAMAGED))
            logging.getLogger(__name__).warning("%s. It is kept as %s; %s", error, aside.name, _instead(path))
        else:
            if found:
                return found
    return None


def seen_images(folder: Path) -> int:
    """Return how many images the newest checkpoint in `folder` that can be read has seen; 0 where there is none."""
    for path in (folder / CHECKPOINT, folder / BEFORE):
        if path.is_file():
            try:
                return int(_open(path)[1]["seen_img"])
            except ArtifactError:
                continue
    return 0


def _keep(path: Path) -> None:
    """Give the newest checkpoint its second name, which it has alone once the next one took its place."""
    temporary = path.with_name(f".{BEFORE}.tmp")
    temporary.unlink(missing_ok=True)
    os.link(path, temporary)
    temporary.replace(path.with_name(BEFORE))


def _read(path: Path) -> Checkpoint:
    """Return a checkpoint after comparing its digest, which those of earlier versions lack.

    Raises:
        ArtifactError: it cannot be read, or holds something other than what was written.
    """
    tensors, meta = _open(path, whole=True)
    named = meta.pop(_DIGEST, None)
    if named is not None and named != _digest(tensors, meta):
        raise ArtifactError(f"{path} does not hold what was written: bytes of it have changed")
    return Checkpoint(path, tensors, meta)


def _open(path: Path, *, whole: bool = False) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return a file's tensors, where they are asked for, and its metadata."""
    try:
        with safe_open(path, framework="pt") as stream:
            names = list(stream.keys()) if whole else []
            return {name: stream.get_tensor(name) for name in names}, dict(stream.metadata() or {})
    except Exception as error:  # what safetensors raises has no common root
        raise ArtifactError(f"{path} cannot be read ({error})") from error


def _digest(tensors: Mapping[str, Tensor], meta: Mapping[str, str]) -> str:
    """Return 32 hex digits of all names, shapes, bytes and facts."""
    digest = hashlib.blake2b(canonical_json(meta).encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(canonical_json([name, list(tensor.shape)]).encode())
        digest.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).data)
    return digest.hexdigest()


def _instead(path: Path) -> str:
    """Return what is taken in the place of a damaged checkpoint."""
    if path.name == CHECKPOINT and path.with_name(BEFORE).is_file():
        return "the training goes on from the checkpoint before it"
    return "the training begins anew"
