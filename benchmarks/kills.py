"""Kills the writer of shards again and again with a signal that nobody can catch, and looks at what is left.

    python -m benchmarks.kills --kills 1000

A child draws tiny pictures, seals and catalogues them, and is killed at a random moment; the next one goes on where it
stopped. After each kill every catalogued image is there and its CRC holds, and a shard's sha256 too. A night that ends
has each image once, no shard that the catalogue does not know, and no temporary file.
"""

import argparse
import hashlib
import os
import shutil
import signal
import sys
import time
import zlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sqlalchemy import select

from benchmarks.output_store import Model, Ready, Store
from personalgen.artifacts import write_json
from personalgen.catalogue.schema import asset, shard
from personalgen.generation.encoders import choose_encoder
from personalgen.generation.roots import LocalRoot
from personalgen.generation.shards import sweep_temporaries

N_IMAGES, SHARD_SIZE, EDGE_PX = 64, 8, 8
LONGEST_SEC = 0.25
"""After the start of a child; a night of eight shards takes about as long."""


class BrokenError(Exception):
    """What must never be found."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the kills; return the exit code, 1 where something was lost."""
    given = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    shutil.rmtree(given.home, ignore_errors=True)
    store = Store(given.home, f"sqlite:///{given.home / 'catalogue.db'}", N_IMAGES)
    _write_all(store, store.model())  # so that children find everything imported
    try:
        figures = campaign(store, given.kills, seed=given.seed)
    except BrokenError as error:
        print(f"broken, see {given.home}: {error}")
        return 1
    for name, value in figures.items():
        print(f"{name:<28} {value:>8,.0f}")
    if given.json:
        write_json(given.json, figures)
    return 0


def campaign(store: Store, n_kills: int, *, seed: int | None = None) -> dict[str, float]:
    """Kill writers until so many died, then let the last night end; return what was seen.

    Raises:
        BrokenError: an image was lost, damaged or made twice, or something was left lying about.
    """
    rng, seen = np.random.default_rng(seed), dict.fromkeys(("kills", "nights", "orphans", "temporaries"), 0.0)
    model = store.model()
    while seen["kills"] < n_kills:
        killed = _run(store, model, after_sec=rng.uniform(0, LONGEST_SEC))
        seen["kills"] += killed
        known = check(store, model)
        if killed:
            seen["orphans"] += len(_tars(store, model)) - known
            seen["temporaries"] += len(list(store.root.rglob(".*.tmp")))
        else:
            _check_whole(store, model, known)
            seen["nights"] += 1
            model = store.model()
    if _run(store, model, after_sec=None):
        raise BrokenError("the last writer died by itself")
    _check_whole(store, model, check(store, model))
    seen["images_checked"] = check_all(store)
    return seen


def _run(store: Store, model: Model, *, after_sec: float | None) -> bool:
    """Write in a child, killed some seconds after its start; return whether it died of that.

    A fork, as a new interpreter would take longer to import torch than all its shards to write.
    """
    store.engine.dispose()
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        _write(store, model, tell)
    os.close(tell)
    os.read(ready, 1)
    os.close(ready)
    if after_sec is not None:
        time.sleep(after_sec)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return True
    if os.WEXITSTATUS(status):
        raise BrokenError("a writer failed; its error is above")
    return False


def _write(store: Store, model: Model, tell: int) -> None:
    """Sweep and go on writing, as a night does, then end the process."""
    code = 1
    try:
        os.write(tell, b"1")
        sweep_temporaries(LocalRoot(store.root))
        _write_all(store, model)
        code = 0
    finally:
        if code:
            sys.excepthook(*sys.exc_info())
        os._exit(code)


def _write_all(store: Store, model: Model) -> None:
    images = torch.linspace(-1, 1, 64 * 3 * EDGE_PX**2).reshape(64, 3, EDGE_PX, EDGE_PX)
    store.generate(N_IMAGES, Ready(images), choose_encoder("png/zlib"), model=model, shard_size=SHARD_SIZE)


def check(store: Store, model: Model | None) -> int:
    """Return how many shards of a model (None: of all) are catalogued, after reading all of their images.

    Raises:
        BrokenError: a file, a member or a row is not as it was catalogued.
    """
    asked = select(shard.c.path, shard.c.sha256, shard.c.n_assets, asset).join(
        asset, asset.c.shard_id == shard.c.shard_id
    )
    if model is not None:
        asked = asked.where(shard.c.model_version_id == model.model_version_id)
    members = defaultdict(list)
    with store.engine.connect() as connection:
        for row in connection.execute(asked):
            members[row.path, row.sha256, row.n_assets].append(row)
    for (path, sha256, n_assets), rows in members.items():
        data = (store.root / path).read_bytes()
        if len(rows) != n_assets or hashlib.sha256(data).hexdigest() != sha256:
            raise BrokenError(f"{path} has {len(rows)} rows of {n_assets}, or other bytes than were catalogued")
        for row in rows:
            if zlib.crc32(data[row.shard_offset : row.shard_offset + row.byte_length]) != row.crc32:
                raise BrokenError(f"{row.member} in {path} is damaged")
    return len(members)


def check_all(store: Store) -> float:
    """Return how many images are catalogued, all of them checked; see `check`."""
    check(store, None)
    with store.engine.connect() as connection:
        return len(connection.execute(select(asset.c.asset_id)).all())


def _check_whole(store: Store, model: Model, n_shards: int) -> None:
    """Check a night that ended: nothing is missing, twice, unknown or half written."""
    of_model = select(asset.c.user_key).where(asset.c.model_version_id == model.model_version_id)
    with store.engine.connect() as connection:
        users = connection.execute(of_model).scalars().all()
    left = list(store.root.rglob(".*.tmp"))
    expected = -(-N_IMAGES // SHARD_SIZE)
    if sorted(users) != sorted(store.keys.tolist()) or n_shards != expected or left:
        raise BrokenError(f"{len(users)} images of {N_IMAGES}, {n_shards} shards of {expected}; left over: {left}")
    if len(tars := _tars(store, model)) != expected:
        raise BrokenError(f"{len(tars)} shards on disk, {expected} in the catalogue")


def _tars(store: Store, model: Model) -> list[Path]:
    return list((store.root / "shards" / f"night={model.night_id:06d}").glob("*.tar"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, help="of the moments; another one each time without it")
    parser.add_argument("--home", type=Path, default=Path("build/kills"), help="where all is written; emptied first")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as one flat object")
    return parser


if __name__ == "__main__":
    sys.exit(main())
