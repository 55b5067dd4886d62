"""The output path, from a generator's tensor to a sealed shard and its rows: what each part costs, and the whole.

    python -m benchmarks.output_path --json build/output.json
    python -m benchmarks.output_path --url postgresql+psycopg://user@host/empty --images 20000
    python -m benchmarks.output_path --memory 1e4 1e5 1e6

Everything is of 64 px, about 10 kB a PNG, one image for each user, and measured side by side in one run. CPU seconds
are those of this process with all of its threads, and of its PostgreSQL backend. README.md says what is printed.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sqlalchemy import Column, Double, Index, MetaData, Table, Text, UniqueConstraint, insert

from benchmarks.obvious_output import obvious
from benchmarks.output_store import BATCH, SHARD, Model, Ready, Store, pictures, small_generator
from personalgen.artifacts import write_bytes, write_json
from personalgen.catalogue.bulk import copy_rows, execute_tuples
from personalgen.catalogue.column_types import BigKey
from personalgen.catalogue.engine import transaction
from personalgen.catalogue.schema import asset
from personalgen.generation.assets import AssetRows
from personalgen.generation.encoders import Encoder, choose_encoder
from personalgen.generation.roots import LocalRoot
from personalgen.generation.run import Missing, draw_shard, find_shard, seal_shard
from personalgen.generation.sampler import Sampler, to_uint8
from personalgen.generation.shards import Member, SealedShard, pack
from personalgen.models import Generator

_COLUMNS = [column.name for column in asset.columns if column.name != "asset_id"]
_TYPES = {"member": Text(), "score": Double()}
"""As `copy_rows` takes them; all others are the catalogue's own."""
_NATURAL_KEY = ("generator_digest", "user_key", "operating_point_digest", "condition_digest", "variant")


class Clock:
    """CPU and wall seconds by name, the least of several rounds."""

    def __init__(self, store: Store) -> None:
        """Count what this process and the store's server use."""
        self.cpu_sec: dict[str, float] = {}
        self.wall_sec: dict[str, float] = {}
        self._store = store

    @contextmanager
    def round(self, name: str, n_images: int) -> Iterator[None]:
        """Time what is done inside, per image."""
        cpu, wall = self._store.cpu_sec(), time.perf_counter()
        yield
        wall, cpu = time.perf_counter() - wall, self._store.cpu_sec() - cpu
        for found, seconds in ((self.cpu_sec, cpu), (self.wall_sec, wall)):
            found[name] = min(found.get(name, float("inf")), seconds / n_images)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, or one size of it for its memory; return the exit code."""
    given = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    if given.child:
        _print_memory(given)
        return 0
    if given.quick:
        given.images, given.rounds, given.memory = 300, 1, [100, 300]
    figures: dict[str, float] = {}
    if not given.memory_only:
        figures |= _speed(given)
    figures |= _memory(given)
    for name, value in figures.items():
        print(f"{name:<44} {value:>12,.3f}")
    if given.json:
        write_json(given.json, figures)
    return 0


def _speed(given: argparse.Namespace) -> dict[str, float]:
    """Return microseconds of every part, and the ratios."""
    store, encoder, images = _store(given, given.images), choose_encoder(given.encoder), pictures()
    clock, n = Clock(store), given.images
    n_bytes, n_obvious, n_drawn = 0, max(n // 20, 64), max(n // 50, 64)
    generator = small_generator()
    for turn in range(given.rounds):
        _parts(clock, store, encoder, images, turn)
        with clock.round("whole", n):
            n_bytes = store.generate(n, Ready(images), encoder).n_bytes
        with clock.round("obvious", n_obvious):
            obvious(store, images, n_obvious)
        _sampled(clock, store, generator, n_drawn)
    store.engine.dispose()
    return {"bytes_per_img": n_bytes / n} | _figures(clock)


def _figures(clock: Clock) -> dict[str, float]:
    """Return what was measured and the ratios that are asked for."""
    cpu, wall = clock.cpu_sec, clock.wall_sec
    parts = sum(cpu[name] for name in ("to_uint8", "encode", "pack", "write", "row"))
    figures = {f"{name}_cpu_us_per_img": 1e6 * seconds for name, seconds in cpu.items()}
    figures |= {
        f"{name}_wall_us_per_img": 1e6 * wall[name] for name in ("whole", "obvious", "row", "bare_row", "insert")
    }
    return figures | {
        "parts_cpu_us_per_img": 1e6 * parts,
        "whole_over_parts_cpu": cpu["whole"] / parts,
        "whole_img_per_core_sec": 1 / cpu["whole"],
        "obvious_over_whole_cpu": cpu["obvious"] / cpu["whole"],
        "obvious_over_whole_wall": wall["obvious"] / wall["whole"],
        "insert_over_bare_cpu": cpu["insert"] / cpu["bare_row"],
        "insert_over_bare_wall": wall["insert"] / wall["bare_row"],
        "commit_over_bare_cpu": cpu["commit"] / cpu["bare_row"],
        "output_share_of_small_gan": cpu["whole"] / (cpu["whole"] + cpu["sample"]),
    }


def _parts(clock: Clock, store: Store, encoder: Encoder, images: torch.Tensor, turn: int) -> None:
    """Time each part alone, on all images, and leave nothing on disk but the rows."""
    n, folder = len(store.keys), store.root / f"parts-{turn}"
    folder.mkdir(parents=True, exist_ok=True)
    batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    starts = range(0, n, BATCH)
    with clock.round("to_uint8", n):
        for k in range(len(starts)):
            to_uint8(batches[k % len(batches)][: n - starts[k]])
    pixels, files = [to_uint8(batch) for batch in batches], []
    with clock.round("encode", n):
        for k in range(len(starts)):
            files += encoder.encode(pixels[k % len(pixels)][: n - starts[k]])
    encoded = [file for file in files if isinstance(file, bytes)]
    members = [Member(f"{key:012d}-00.png", file) for key, file in zip(store.keys.tolist(), encoded, strict=True)]
    with clock.round("pack", n):
        packed = [pack(members[start : start + SHARD]) for start in range(0, n, SHARD)]
    with clock.round("write", n):
        for k, shard in enumerate(packed):
            write_bytes(folder / f"{k}.tar", shard.data)
    shutil.rmtree(folder)
    _rows(clock, store, encoder, images)


def _rows(clock: Clock, store: Store, encoder: Encoder, images: torch.Tensor) -> None:
    """Time rows alone: bare ones, with the indexes, as they are catalogued, and with what points at them."""
    n, models = len(store.keys), [store.model() for _ in range(3)]
    made = [list(_sealed(store, model, encoder, images)) for model in models]
    plain = [[_tuples(rows, model) for _, rows in shards] for shards, model in zip(made, models, strict=True)]
    tables = {"bare_row": _table("bare"), "row": _table("indexed")}
    for name, table in tables.items():
        with transaction(store.engine) as connection:
            table.create(connection)
        with clock.round(name, n):
            for part in plain[0]:
                _insert(store, table, part)
        with transaction(store.engine) as connection:
            table.drop(connection)
    for k, name in ((1, "insert"), (2, "commit")):
        with clock.round(name, n):
            for shard, rows in made[k]:
                store.commit(models[k], shard, rows, move=name == "commit")


def _table(name: str) -> Table:
    """Return a table of the columns of `asset`: bare, or with a key of its own and the indexes."""
    columns: list[Column[Any]] = [Column(column, _TYPES.get(column, asset.c[column].type)) for column in _COLUMNS]
    if name == "bare":
        return Table(name, MetaData(), *columns)
    key, natural = Column("asset_id", BigKey, primary_key=True), UniqueConstraint(*_NATURAL_KEY)
    return Table(name, MetaData(), key, *columns, natural, Index(None, "night_id", "score"), sqlite_autoincrement=True)


def _insert(store: Store, table: Table, rows: list[tuple[object, ...]]) -> None:
    """Insert rows by the driver alone, in one transaction."""
    with transaction(store.engine) as connection:
        if connection.dialect.name == "postgresql":
            from psycopg.types.json import Jsonb

            place = _COLUMNS.index("top_events")
            copied = [(*row[:place], Jsonb(row[place], dumps=str), *row[place + 1 :]) for row in rows]
            copy_rows(connection, table, _COLUMNS, copied)
        else:
            execute_tuples(connection, insert(table), _COLUMNS, rows)


def _tuples(rows: AssetRows, model: Model) -> list[tuple[object, ...]]:
    """Return rows as the driver takes them."""
    shared = {"night_id": model.night_id, "model_version_id": model.model_version_id, "shard_id": 0}
    columns = [[shared[name]] * len(rows) if name in shared else rows.values(name) for name in _COLUMNS]
    return list(zip(*columns, strict=True))


def _sealed(
    store: Store, model: Model, encoder: Encoder, images: torch.Tensor
) -> Iterator[tuple[SealedShard, AssetRows]]:
    """Yield sealed shards that nobody catalogued, of few bytes."""
    request, sampler = store.request(model, len(store.keys)), Ready(images[:, :, :1, :1])
    root = LocalRoot(store.root)
    for piece in request.plan.shards(model.night_id, shard_size=SHARD):
        missing = find_shard(request, piece, sampler=sampler, root=root)  # type: ignore[arg-type] # stands for one
        if not isinstance(missing, Missing):
            raise TypeError(f"{store.root} holds {piece.name} of another run; name an empty --home")
        drawn = draw_shard(missing, sampler=sampler, encoder=encoder)  # type: ignore[arg-type] # as above
        made = seal_shard(drawn, root=root)
        yield made.shard, made.rows


def _sampled(clock: Clock, store: Store, generator: Generator, n_images: int) -> None:
    """Time the drawing alone by a small net, with its latents and conditions."""
    rows = store.table.rows(np.arange(n_images) % len(store.table.user_ids))
    condition, sampler = rows.to_condition(generator.spec), Sampler(generator, batch_size=BATCH)
    with clock.round("sample", n_images):
        sampler.sample(condition, list(range(n_images)))


def _memory(given: argparse.Namespace) -> dict[str, float]:
    """Return what the writer adds to the resident size, for each number of images, in a process of its own."""
    figures: dict[str, float] = {}
    for size in map(int, given.memory):
        shutil.rmtree(given.home / "memory", ignore_errors=True)
        command = [sys.executable, "-m", "benchmarks.output_path", "--child", "--images", f"{size}"]
        command += ["--home", str(given.home / "memory"), "--encoder", given.encoder]
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - this very module
        found = json.loads(done.stdout)
        figures |= {f"writer_mib_{size}": found["writer_mib"], f"peak_mib_{size}": found["peak_mib"]}
    sizes = sorted(map(int, given.memory))
    if len(sizes) > 1:
        figures["peak_mib_largest_over_smallest"] = figures[f"peak_mib_{sizes[-1]}"] / figures[f"peak_mib_{sizes[0]}"]
    return figures


def _print_memory(given: argparse.Namespace) -> None:
    """Write images and print by how much the resident size grew, and its peak."""
    store, encoder, images = _store(given, given.images), choose_encoder(given.encoder), pictures()
    store.generate(min(BATCH, given.images), Ready(images), encoder)  # what is loaded at the first use
    before = _status_mib("VmRSS")
    store.generate(given.images, Ready(images), encoder)
    peak = _status_mib("VmHWM")
    print(json.dumps({"writer_mib": peak - before, "peak_mib": peak}))


def _status_mib(name: str) -> float:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return int(lines[name].split()[0]) / 1024


def _store(given: argparse.Namespace, n_users: int) -> Store:
    shutil.rmtree(given.home, ignore_errors=True)
    return Store(given.home, given.url or f"sqlite:///{given.home / 'catalogue.db'}", n_users)


def _parser() -> argparse.ArgumentParser:
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.output_path", description=summary)
    add: Callable[..., argparse.Action] = parser.add_argument
    add("--images", type=lambda text: int(float(text)), default=20_000, help="how many (20,000)")
    add("--rounds", type=int, default=3, help="times that everything is measured, of which the least counts")
    add("--encoder", default="auto", help="as in generation.encoder")
    add("--url", help="an empty PostgreSQL database instead of a SQLite file")
    add("--memory", type=float, nargs="*", default=[1e4, 1e5], help="numbers of images to measure the memory at")
    add("--memory-only", action="store_true", help="nothing but the memory")
    add("--home", type=Path, default=Path("build/output_path"), help="where shards and catalogue lie; emptied first")
    add("--json", type=Path, metavar="FILE", help="write the figures as one flat object")
    add("--quick", action="store_true", help="a toy size, in seconds")
    add("--child", action="store_true", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
