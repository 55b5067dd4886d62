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
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.obvious_output import obvious
from benchmarks.output_parts import BEYOND, PARTS, Clock, measure_stages, one_core
from benchmarks.output_store import BATCH, Ready, Store, pictures, small_generator
from personalgen.artifacts import write_json
from personalgen.generation.encoders import choose_encoder
from personalgen.generation.sampler import Sampler
from personalgen.models import Generator


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
        measure_stages(clock, store, encoder, images, turn)
        with clock.round("whole", n):
            n_bytes = store.generate(n, Ready(images), encoder).n_bytes
        with one_core(), clock.round("whole_one_core", n):
            store.generate(n, Ready(images), encoder)
        with clock.round("obvious", n_obvious):
            obvious(store, images, n_obvious)
        _sampled(clock, store, generator, n_drawn)
    store.engine.dispose()
    return {"bytes_per_img": n_bytes / n} | _figures(clock)


def _figures(clock: Clock) -> dict[str, float]:
    """Return what was measured and the ratios that are asked for."""
    cpu, wall = clock.cpu_sec, clock.wall_sec
    cpu |= {"staging": cpu["insert"] - cpu["row"], "pointers": cpu["commit"] - cpu["insert"]}
    parts, stages = sum(map(cpu.__getitem__, PARTS)), sum(map(cpu.__getitem__, PARTS + BEYOND))
    figures = {f"{name}_cpu_us_per_img": 1e6 * seconds for name, seconds in cpu.items()}
    figures |= {
        f"{name}_wall_us_per_img": 1e6 * wall[name] for name in ("whole", "obvious", "row", "bare_row", "insert")
    }
    return figures | {
        "parts_cpu_us_per_img": 1e6 * parts,
        "stages_cpu_us_per_img": 1e6 * stages,
        "whole_over_parts_cpu": cpu["whole"] / parts,
        "whole_one_core_over_parts_cpu": cpu["whole_one_core"] / parts,
        "whole_one_core_over_stages_cpu": cpu["whole_one_core"] / stages,
        "whole_img_per_core_sec": 1 / cpu["whole_one_core"],
        "obvious_over_whole_cpu": cpu["obvious"] / cpu["whole"],
        "obvious_over_whole_wall": wall["obvious"] / wall["whole"],
        "insert_over_bare_cpu": cpu["insert"] / cpu["bare_row"],
        "insert_over_bare_wall": wall["insert"] / wall["bare_row"],
        "commit_over_bare_cpu": cpu["commit"] / cpu["bare_row"],
        "output_share_of_small_gan": cpu["whole"] / (cpu["whole"] + cpu["sample"]),
    }


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
