"""Whether a training depends on luck: the same small run from many seeds, each ending in a KID with its interval.

    python -m benchmarks.seeds --seeds 20 --home build/seeds --json build/seeds.json

Each seed trains on the world of shapes at 16 pixels; its pictures are compared with fresh renders by the judge's net. A
seed counts as good where its interval overlaps that of the best seed.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from personalgen.artifacts import read_json, write_json
from personalgen.conditions import Condition, ConditionSpec
from personalgen.errors import TrainingError
from personalgen.evaluation import judge_features, kid, write_png
from personalgen.evaluation.sheet import grid
from personalgen.generation.sampler import Sampler
from personalgen.models import Generator, ModelOptions
from personalgen.seeding import derive_seed
from personalgen.training import TrainingOptions, TrainingPairs, train
from personalgen.worlds import ShapesWorld

PX = 16
ATTRIBUTES = ("category", "pattern")
MODEL = ModelOptions(resolution=PX, width=48, max_width=96, discriminator_width=32, style_dim=64, group_size=1)
FRESH_SEED = 1_000_003
_SHOWN = 64

Row = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    given = _parser().parse_args(arguments)
    n_items, n_images, kimg = (64, 128, 0.256) if given.quick else (2048, 5000, given.kimg)
    pairs, spec = labelled_shapes(n_items)
    fresh, other = (judged(ShapesWorld(n_images, seed=FRESH_SEED + k).render(PX)) for k in range(2))
    floor = kid(fresh, other)
    print(f"real against real: KID {floor.value:.3f} [{floor.low:.3f}, {floor.high:.3f}]")
    print(f"{'seed':>5} {'KID, 95 %':<26} {'rollbacks':>9} {'CPU min':>8}", flush=True)
    for seed in range(given.seeds):
        path = given.home / f"seed-{seed:03d}.json"
        if not path.is_file():
            write_json(path, measured(pairs, spec, fresh, seed=seed, kimg=kimg, n_images=n_images, home=given.home))
        row = read_json(path)
        interval = f"{row['kid']:.3f} [{row['kid_low']:.3f}, {row['kid_high']:.3f}]" if row["finished"] else "failed"
        print(f"{seed:>5} {interval:<26} {row['rollbacks']:>9.0f} {row['train_cpu_minutes']:>8.2f}", flush=True)
    rows = [read_json(given.home / f"seed-{seed:03d}.json") for seed in range(given.seeds)]
    figures = summary(rows) | {"kid_floor": floor.value}
    print(
        f"{figures['n_finished']:.0f} of {len(rows)} finished, "
        f"{figures['n_overlapping_best']:.0f} overlap the best ({figures['best_kid']:.3f})"
    )
    if given.json:
        write_json(given.json, figures)
    return 0


def summary(rows: Sequence[Row]) -> Row:
    """Return how many seeds finished and how many have an interval that overlaps the best one's."""
    done = [row for row in rows if row["finished"]]
    best = min(done, key=lambda row: row["kid"])
    overlapping = [row for row in done if row["kid_low"] <= best["kid_high"]]
    values = [row["kid"] for row in done]
    return {
        "n_seeds": float(len(rows)),
        "n_finished": float(len(done)),
        "n_overlapping_best": float(len(overlapping)),
        "best_kid": best["kid"],
        "median_kid": float(np.median(values)),
        "worst_kid": max(values),
        "n_rollbacks": sum(row["rollbacks"] for row in rows),
    }


def labelled_shapes(n_items: int) -> tuple[TrainingPairs, ConditionSpec]:
    """Return the world's pictures with one condition: shape and pattern, one column each."""
    world = ShapesWorld(n_items)
    labels = world.items().labels
    columns = []
    for name in ATTRIBUTES:
        values = np.asarray(labels[name])
        columns += [values == value for value in sorted(set(labels[name]))]
    known = np.stack(columns, axis=1).astype(np.float32)
    rows = np.arange(n_items)
    pairs = TrainingPairs.of(world.render(PX), rows, rows, of_image={"shape": known})
    return pairs, ConditionSpec.vector("shape", known.shape[1])


def measured(
    pairs: TrainingPairs,
    spec: ConditionSpec,
    fresh: NDArray[np.float32],
    *,
    seed: int,
    kimg: float,
    n_images: int,
    home: Path,
) -> Row:
    """Train from one seed and return its figures; a sheet of its pictures is left in the home."""
    options = TrainingOptions(
        max_kimg=kimg,
        snapshot_kimg=kimg / 4,
        threads=1,
        feature_weight=0.0,
        learning_rate=1e-3,
        final_learning_rate=1e-4,
        ema_kimg=2.0,
        condition_jitter=0.0,
        seed=seed,
    )
    start, seen = time.process_time(), {"rollbacks": 0.0}

    def log(metrics: Row, _seen_img: int) -> None:
        seen["rollbacks"] = metrics["rollbacks"]

    try:
        generator = train(pairs, spec, MODEL, options, folder=home / f"seed-{seed:03d}", log=log).generator
    except TrainingError:
        return {"finished": 0.0, "rollbacks": float(options.max_rollbacks), "train_cpu_minutes": 0.0}
    minutes = (time.process_time() - start) / 60
    images = drawn(generator, pairs, n_images)
    write_png(home / f"seed-{seed:03d}.png", grid(images[:_SHOWN], 16))
    found = kid(fresh, judged(images))
    return {
        "finished": 1.0,
        "kid": found.value,
        "kid_low": found.low,
        "kid_high": found.high,
        "rollbacks": seen["rollbacks"],
        "train_cpu_minutes": minutes,
    }


def drawn(generator: Generator, pairs: TrainingPairs, count: int) -> NDArray[np.uint8]:
    """Return pictures for the catalogue's own conditions, over and over."""
    condition = pairs.of_image.take(np.resize(np.arange(len(pairs.images)), count).tolist())
    seeds = [derive_seed("seeds", k) for k in range(count)]
    return Sampler(generator, batch_size=128).sample(Condition(condition.values), seeds)


def judged(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the judge's features of pictures."""
    return judge_features(images, batch_size=128)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seeds", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds")
    parser.add_argument("--kimg", type=float, default=20.0, help="thousands of images that each seed trains on")
    parser.add_argument("--home", type=Path, default=Path("build/seeds"), help="seeds that are done lie here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as one flat object")
    parser.add_argument("--quick", action="store_true", help="a toy size, in seconds")
    return parser


if __name__ == "__main__":
    sys.exit(main())
