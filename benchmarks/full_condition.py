"""Whether pictures fit better when a generator is told all that is known of people, and not the mean of their likes.

    python -m benchmarks.full_condition --home build/full-condition --kimg 28 --json build/full-condition.json

Trains on the world of shapes, half of whose people have moved to another taste, once for each row, and measures all of
them on the same people, z and truth; the intervals are of differences, person by person. README.md tells more.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import world
from personalgen.artifacts import write_json
from personalgen.cli.terminal import quiet_environment
from personalgen.config import load_settings
from personalgen.embeddings.fields import CONFIDENCE, CURRENT, DISLIKES, EXPECTED, INTERESTS, PREFERENCE
from personalgen.evaluation import Interval, true_utility_scores
from personalgen.evaluation.paired import fit_difference

_MEAN = [
    f'condition.fields=["{PREFERENCE}"]',
    "embeddings.collaborative_dim=0",
    "embeddings.shrinkage=0",
    "embeddings.dislike_weight=0",
]
_FULL = ", ".join(f'"{name}"' for name in (PREFERENCE, DISLIKES, EXPECTED, INTERESTS, CONFIDENCE))
ROWS: dict[str, list[str]] = {
    "content mean": _MEAN,
    "preference": [],
    "current": [f'condition.fields=["{CURRENT}"]'],
    "preference + expected": [f'condition.fields=["{PREFERENCE}", "{EXPECTED}"]'],
    "all fields": [f"condition.fields=[{_FULL}]"],
}
"""What each row sets: the decayed mean of what was liked alone; with shrinkage and factors; with all that is known."""
_MOVED = ["world.history.moved_share=0.5", "world.folder=data/moved"]

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """One row's pictures, by the truth."""

    warm: Scores
    """(n, n) utility of the pictures of u for v, in nats."""
    cold: Scores
    real_gain: float
    """What held-out real likes gain, in nats."""
    row: dict[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rows; return the exit code."""
    given = _parser().parse_args(arguments)
    quiet_environment()
    found = {name: measured(settings, given) for name, settings in ROWS.items() if name in (given.row or ROWS)}
    figures: dict[str, float] = {}
    first = next(iter(found))
    print(f"{'row':<16} {'CPU min':>8} {'NPG warm':>9} {'less ' + first + ', 95 %':<36} {'cold, less ' + first}")
    for name, one in found.items():
        warm, cold = (difference(one, found[first], kind) for kind in ("warm", "cold"))
        npg = one.row["warm_gain_over_real_gain"]
        print(f"{name:<16} {one.row['train_cpu_minutes']:>8.2f} {npg:>9.3f} {warm!s:<36} {cold}")
        key = name.replace(" ", "_")
        figures |= {f"{key}_npg": npg} | {f"{key}_less_{first.replace(' ', '_')}_npg": warm.value}
        figures |= {f"{key}_low": warm.low, f"{key}_high": warm.high, f"{key}_cold": cold.value}
    if given.json:
        write_json(given.json, figures)
    return 0


def measured(settings: Sequence[str], given: argparse.Namespace) -> Measured:
    """Return one row, trained on where it was begun before."""
    limits = [] if given.quick else [f"train.max_kimg={given.kimg}", f"train.snapshot_kimg={given.kimg / 4}"]
    chosen = [part for override in [*_MOVED, *settings, *limits] for part in ("--set", override)]
    arguments = ["--home", str(given.home), *chosen, *(["--quick"] if given.quick else [])]
    bench, generator, row = world.trained(world.parsed(arguments))
    yardstick = bench.yardstick
    warm, cold = (
        true_utility_scores(yardstick.world, people, yardstick.estimator.read(images))
        for people, images in zip((yardstick.warm, yardstick.cold), bench.drawn(generator), strict=True)
    )
    return Measured(warm, cold, row["real_gain_nats"], row)


def difference(one: Measured, other: Measured, kind: str) -> Interval:
    """Return the gain of one row less the other's, as a share of what held-out real likes gain."""
    options = load_settings(world.CONFIG).evaluation
    found = fit_difference(getattr(one, kind) - getattr(other, kind), options)
    return Interval(*(value / one.real_gain for value in (found.value, found.low, found.high)))


def _parser() -> argparse.ArgumentParser:
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.full_condition", description=summary)
    parser.add_argument("--home", type=Path, default=Path("build/full-condition"), help="trainings are kept here")
    parser.add_argument("--kimg", type=float, default=28.0, help="thousands of images per row")
    parser.add_argument("--row", action="append", choices=list(ROWS), help="one row only; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures as one flat object")
    parser.add_argument("--quick", action="store_true", help="a toy size, in seconds a row")
    return parser


if __name__ == "__main__":
    sys.exit(main())
