"""KID of generated CIFAR-10 pictures against its test pictures, by the net that judges everything else.

    python -m benchmarks.judge_samples samples_ours.npz samples_reference.npz --cifar-test test.parquet

Each .npz holds `images`, (n, 32, 32, 3) uint8. README.md tells what it prints.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.cifar import read_cifar
from personalgen.artifacts import write_json
from personalgen.errors import DataError, PersonalgenError, UserError
from personalgen.evaluation.features import FeatureArray, ImageArray, judge_features
from personalgen.evaluation.fidelity import kid, kid_floor

_QUICK = 32


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    given = _parser().parse_args(arguments)
    try:
        figures = run(given.samples, given.cifar_test, most=_QUICK if given.quick else None)
    except PersonalgenError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, UserError) else 1
    if given.json:
        write_json(given.json, figures)
    return 0


def run(samples: Sequence[Path], cifar_test: Path, *, most: int | None = None) -> dict[str, float]:
    """Print and return KID, times 1,000, of each file of samples and of real pictures among themselves."""
    pictures = [_images(path) for path in samples]
    real = _features(read_cifar(cifar_test).images, most)
    order = np.random.default_rng(0).permutation(len(real))
    halves = real[order[: len(real) // 2]], real[order[len(real) // 2 :]]
    rows = {"real pictures, one half against the other": ("floor", kid_floor(*halves), len(halves[0]))}
    for path, images in zip(samples, pictures, strict=True):
        made = _features(images, most)
        rows[path.name] = (path.stem, kid(real, made), len(made))
    figures: dict[str, float] = {}
    print(f"{'':44}      n   KID x 1000, 95 %")
    for text, (name, interval, count) in rows.items():
        value, low, high = (1000 * end for end in (interval.value, interval.low, interval.high))
        print(f"{text:44} {count:6,}   {value:8.2f} [{low:.2f}, {high:.2f}]", flush=True)
        figures |= {f"{name}_kid_x1000": value, f"{name}_kid_x1000_low": low, f"{name}_kid_x1000_high": high}
    return figures


def _features(images: ImageArray, most: int | None) -> FeatureArray:
    return judge_features(images[:most])


def _images(path: Path) -> ImageArray:
    """Return the images of a file.

    Raises:
        DataError: it is missing, or holds none.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing. Nothing was judged.")
    with np.load(path, allow_pickle=False) as file:
        if "images" not in file:
            raise DataError(f"{path} holds no array `images`, found {sorted(file)}. Nothing was judged.")
        images: ImageArray = file["images"]
        return images


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.judge_samples", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("samples", type=Path, nargs="+", help=".npz files with uint8 images")
    parser.add_argument("--cifar-test", type=Path, required=True, help="Parquet file of real pictures not trained on")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as one flat object")
    parser.add_argument("--quick", action="store_true", help="a few pictures of each, in seconds")
    return parser


if __name__ == "__main__":
    sys.exit(main())
