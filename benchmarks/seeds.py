"""Whether a training depends on luck: the same small run from many seeds, each ending in a KID with its interval.

    python -m benchmarks.seeds --seeds 20 --home build/seeds --json build/seeds.json

Each seed trains on handwritten digits at 16 pixels (scikit-learn's), conditioned on which digit it is; its pictures are
compared with the real ones by the judge's net, all of them at the digits' own depth (`benchmarks/digits.py`). A seed
counts as good where its interval overlaps that of the best seed.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.digits import PX, at_own_depth, digits
from personalgen.artifacts import read_json, write_json
from personalgen.conditions import Condition, ConditionSpec, FieldSpec
from personalgen.errors import TrainingError
from personalgen.evaluation import judge_features, kid, write_png
from personalgen.evaluation.sheet import grid
from personalgen.generation.sampler import Sampler
from personalgen.models import Generator, ModelOptions
from personalgen.seeding import derive_seed
from personalgen.training import Job, TrainingOptions, TrainingPairs, train

MODEL = ModelOptions(resolution=PX, width=32, max_width=96, discriminator_width=32, style_dim=64, group_size=4)
SPEC = ConditionSpec((FieldSpec("digit", "label", 10),))
_SHOWN = 64

Row = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    given = _parser().parse_args(arguments)
    n_images, kimg, every = (128, 0.256, 16) if given.quick else (5000, given.kimg, 1)
    pairs = labelled_digits()
    real = judged(pairs.images[::every].permute(0, 2, 3, 1).contiguous().numpy())
    floor = kid(real[::2], real[1::2])
    print(f"real against real: KID {floor.value:.3f} [{floor.low:.3f}, {floor.high:.3f}]")
    print(f"{'seed':>5} {'KID, 95 %':<26} {'rollbacks':>9} {'CPU min':>8}", flush=True)
    for seed in range(given.seeds):
        path = given.home / f"seed-{seed:03d}.json"
        if not path.is_file():
            write_json(path, measured(pairs, real, seed=seed, kimg=kimg, n_images=n_images, home=given.home))
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


def labelled_digits() -> TrainingPairs:
    """Return the real digits, each one's label its condition; those of a label are one user's, so groups share it."""
    pictures, label = digits()
    order = np.argsort(label, kind="stable")
    rows = np.arange(len(order))
    known = np.eye(10, dtype=np.float32)[label[order]]
    images = np.repeat(pictures[order][..., None], 3, axis=-1)
    return TrainingPairs.of(images, rows, label[order], of_image={"digit": known})


def measured(
    pairs: TrainingPairs,
    real: NDArray[np.float32],
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
        batch_size=16,
        threads=1,
        feature_weight=0.0,
        learning_rate=1e-3,
        final_learning_rate=2e-5,
        r1_gamma=0.5,
        final_r1_gamma=0.5,
        mismatch_weight=0.0,
        contrast_weight=0.0,
        augment=0.0,
        flip=False,
        ema_kimg=2.0,
        seed=seed,
    )
    start, seen = time.process_time(), {"rollbacks": 0.0}

    def log(metrics: Row, _seen_img: int) -> None:
        seen["rollbacks"] = metrics["rollbacks"]

    try:
        generator = train(Job(pairs, SPEC, MODEL, options), folder=home / f"seed-{seed:03d}", log=log).generator
    except TrainingError:
        return {"finished": 0.0, "rollbacks": float(options.max_rollbacks), "train_cpu_minutes": 0.0}
    minutes = (time.process_time() - start) / 60
    images = drawn(generator, pairs, n_images)
    write_png(home / f"seed-{seed:03d}.png", grid(images[:: len(images) // _SHOWN][:_SHOWN], 16))
    found = kid(real, judged(images))
    return {
        "finished": 1.0,
        "kid": found.value,
        "kid_low": found.low,
        "kid_high": found.high,
        "rollbacks": seen["rollbacks"],
        "train_cpu_minutes": minutes,
    }


def drawn(generator: Generator, pairs: TrainingPairs, count: int) -> NDArray[np.uint8]:
    """Return pictures for the real ones' own conditions, over and over."""
    condition = pairs.of_image.take(np.resize(np.arange(len(pairs.images)), count).tolist())
    seeds = [derive_seed("seeds", k) for k in range(count)]
    return Sampler(generator, batch_size=128).sample(Condition(condition.values), seeds)


def judged(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the judge's features of pictures at the digits' own depth."""
    return judge_features(at_own_depth(images), batch_size=128)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seeds", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds")
    parser.add_argument("--kimg", type=float, default=60.0, help="thousands of images that each seed trains on")
    parser.add_argument("--home", type=Path, default=Path("build/seeds"), help="seeds that are done lie here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as one flat object")
    parser.add_argument("--quick", action="store_true", help="a toy size, in seconds")
    return parser


if __name__ == "__main__":
    sys.exit(main())
