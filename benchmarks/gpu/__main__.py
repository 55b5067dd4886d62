"""Everything worth knowing of training on a GPU, in one call: agreement, speed, and a slice on CIFAR-10.

    python -m benchmarks.gpu --reference CHECKOUT --cifar train.parquet --out build/gpu

Needs torch and the numeric stack alone. A part that fails says so, and the next one runs. README.md tells what is
printed.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.gpu import agreement, sampling, speed, training
from benchmarks.gpu.bench import GAMMA, RATE, Bench
from personalgen.errors import ConfigError, PersonalgenError, UserError

PARTS: Mapping[str, Callable[[Bench], None]] = {
    "check": agreement.check,
    "compiled": agreement.compiled,
    "sweep": speed.sweep,
    "compare": speed.compare,
    "sample": sampling.sample,
    "train": training.train,
    "train-reference": training.train_reference,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code, 1 where a part failed."""
    given = _parser().parse_args(arguments)
    if given.quick:
        given = _quick(given)
    try:
        chosen, bench = _chosen(given), Bench(given)
    except PersonalgenError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, UserError) else 1
    for name in chosen:
        bench.attempt(name, PARTS[name])
    print("\n".join(["", *bench.table]))
    return 1 if bench.failed else 0


def _chosen(given: argparse.Namespace) -> list[str]:
    """Return the parts to run, in order.

    Raises:
        ConfigError: a part is unknown, or needs the published code and there is none.
    """
    without = () if given.reference else ("check", "train-reference")
    chosen = given.parts.split(",") if given.parts else [name for name in PARTS if name not in without]
    if unknown := set(chosen) - PARTS.keys():
        raise ConfigError(f"--parts names {sorted(unknown)}; there are {', '.join(PARTS)}. Nothing was run.")
    if wanted := set(chosen) & set(without):
        raise ConfigError(f"--parts names {sorted(wanted)}, which needs --reference. Nothing was run.")
    return chosen


def _quick(given: argparse.Namespace) -> argparse.Namespace:
    """Return toy sizes."""
    toy = {"width": 16, "check_width": 16, "resolution": 8, "blocks": 1, "batch_size": 8, "samples": 20}
    short = {"rounds": 1, "repeats": 1, "minutes": 0.01, "sweep_minutes": 0.1, "sweep_widths": "16"}
    return argparse.Namespace(**(vars(given) | toy | short | {"snapshot_kimg": 1.0, "cifar": None}))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder for weights, samples and figures.json; goes on from one")
    add("--reference", type=Path, help="folder of a checkout of R3GAN's code; without it only ours is measured")
    add("--cifar", type=Path, help="Parquet file with the columns label and image; without it noise is trained on")
    add("--parts", help="check,compiled,sweep,compare,sample,train,train-reference: those to run, in this order")
    add("--device", default="auto", help="auto, cpu or cuda")
    add("--width", type=int, default=256, help="channels of every stage, to compare and to train")
    add("--batch-size", type=int, default=256, help="to compare and to train")
    add("--blocks", type=int, default=2, help="per resolution")
    add("--resolution", type=int, default=32, help="edge in pixels; CIFAR-10 has its own")
    add("--check-width", type=int, default=64, help="channels of the nets whose gradients are compared")
    add("--rounds", type=int, default=3, help="times that steps are timed, in turn")
    add("--repeats", type=int, default=10, help="steps each time")
    add("--sweep-widths", default="192,256")
    add("--sweep-minutes", type=float, default=6.0, help="no setting is begun that would end later")
    add("--minutes", type=float, default=7.0, help="of each training, compile included")
    add("--samples", type=int, default=5000, help="pictures drawn from each trained generator")
    add("--learning-rate", type=float, default=RATE, help="of our training")
    add("--gamma", type=float, default=GAMMA, help="of our training")
    add("--ema-kimg", type=float, default=20.0, help="of our training")
    add("--snapshot-kimg", type=float, default=250.0, help="of our training")
    add("--quick", action="store_true", help="a toy size on noise, in seconds")
    return parser


if __name__ == "__main__":
    sys.exit(main())
