"""What provenance and a safety filter cost an image, beside encoding it: CPU of one process, in turn in one run.

python -m benchmarks.safety
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import zoom

from benchmarks.rates import rates
from personalgen.generation.encoders import Encoder, choose_encoder
from personalgen.generation.options import ENCODERS
from personalgen.generation.provenance import Provenance, stamped
from personalgen.generation.safety import OPENNSFW, SafetyOptions, Screen, load_screen, screened

_BATCH = 64
_CPU = torch.device("cpu")
_SAID = Provenance("personalgen 0.1.0", "personalgen-gan v12", "ab" * 32, "cd" * 16, "2026-03-01")


class Indifferent:
    """A filter that costs nothing and minds nothing."""

    name, version = "indifferent", "1"

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return zeros."""
        return np.zeros(len(images))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print microseconds an image and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a toy size: the figures mean nothing")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--resolution", type=int, default=64)
    options = parser.parse_args(arguments)
    rounds, repeats = (1, 1) if options.quick else (15, 10)
    images = pictures(options.resolution)
    figures: dict[str, float] = {}
    for name in (known for known in ENCODERS if known.startswith("png/")):
        figures |= around(choose_encoder(name), images, rounds=rounds, repeats=repeats)
    figures |= filtered(images, rounds=1 if options.quick else 5)
    for name, value in figures.items():
        print(f"{name:<44} {value:>10.3f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    return 0


def pictures(resolution: int) -> NDArray[np.uint8]:
    """Return a batch of smooth pictures with grain, which pack as generated ones do."""
    rng = np.random.default_rng(0)
    smooth: NDArray[np.float64] = zoom(
        128 + 50 * rng.standard_normal((_BATCH, 8, 8, 3)), (1, resolution / 8, resolution / 8, 1), order=1
    )
    grained: NDArray[np.float64] = smooth + rng.integers(-6, 7, smooth.shape)
    return grained.clip(0, 255).astype(np.uint8)


def around(encoder: Encoder, images: NDArray[np.uint8], *, rounds: int, repeats: int) -> dict[str, float]:
    """Return what an encoder costs alone, with provenance, and with a filter that costs nothing around both."""
    marked = stamped(encoder, _SAID)
    watched = screened(marked, Screen(Indifferent(), 0.5))
    steps: dict[str, Callable[[], None]] = {
        "alone": lambda: _encode(encoder, images),
        "marked": lambda: _encode(marked, images),
        "watched": lambda: _encode(watched, images),
    }
    found = rates(steps, images_per_step=_BATCH, rounds=rounds, device=_CPU, repeats=repeats)
    cost, short = {name: 1e6 / rate for name, rate in found.items()}, encoder.name.replace("/", "_")
    plain, said = encoder.encode(images), marked.encode(images)
    return {
        f"{short}_us": cost["alone"],
        f"{short}_provenance_us": cost["marked"] - cost["alone"],
        f"{short}_with_provenance_over_alone": cost["marked"] / cost["alone"],
        f"{short}_filter_around_it_us": cost["watched"] - cost["marked"],
        f"{short}_bytes": float(np.mean([len(data) for data in plain if isinstance(data, bytes)])),
        f"{short}_provenance_bytes": float(len(_bytes(said[0])) - len(_bytes(plain[0]))),
    }


def filtered(images: NDArray[np.uint8], *, rounds: int) -> dict[str, float]:
    """Return what the extra's classifier costs."""
    screen = load_screen(SafetyOptions(filter=OPENNSFW))
    if screen is None:
        raise SystemExit("the settings name a filter, and none was loaded")
    loaded = screen
    steps: dict[str, Callable[[], None]] = {OPENNSFW: lambda: _score(loaded, images)}
    found = rates(steps, images_per_step=_BATCH, rounds=rounds, device=_CPU)
    return {"opennsfw_us": 1e6 / found[OPENNSFW], "opennsfw_images_per_core_sec": found[OPENNSFW]}


def _encode(encoder: Encoder, images: NDArray[np.uint8]) -> None:
    encoder.encode(images)


def _score(screen: Screen, images: NDArray[np.uint8]) -> None:
    screen.scores(images)


def _bytes(data: object) -> bytes:
    if not isinstance(data, bytes):
        raise TypeError(f"a file was expected, found {data!r}")
    return data


if __name__ == "__main__":
    raise SystemExit(main())
