"""How fast a training step is beside R3GAN's published code: same net, loss, batch, precision and device.

    python -m benchmarks.reference --reference CHECKOUT --json build/reference.json

README.md tells what it prints.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from benchmarks.published import (
    Published,
    batches,
    class_spec,
    disagreement,
    plain_training,
    published_options,
    random_pairs,
)
from benchmarks.rates import rates
from personalgen.artifacts import write_json
from personalgen.errors import PersonalgenError, UserError
from personalgen.models import ModelOptions
from personalgen.threads import torch_threads
from personalgen.training import Job
from personalgen.training.trainer import Trainer, pick_device

_N_CLASSES, _N_IMAGES = 10, 512
_GAMMA = 2.0
_CHECKED = 8
"""Images of the comparison of gradients."""
_COMPARED = (
    "images",
    "logits",
    *("generator_gradient", "generator_worst_tensor"),
    *("discriminator_gradient", "discriminator_worst_tensor"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    given = _parser().parse_args(arguments)
    model = published_options(given.width, resolution=given.resolution)
    batch_size, rounds = given.batch_size, given.rounds
    if given.quick:
        model, batch_size, rounds = published_options(16, resolution=8, blocks=1), 4, 2
    try:
        with torch_threads(1):
            figures = run(given.reference, model, pick_device(given.device), batch_size=batch_size, rounds=rounds)
    except PersonalgenError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, UserError) else 1
    print(table(figures))
    if given.json:
        write_json(given.json, figures)
    return 0


def run(checkout: Path, model: ModelOptions, device: torch.device, *, batch_size: int, rounds: int) -> dict[str, float]:
    """Return speeds, their ratios, and how far outputs and gradients differ."""
    figures: dict[str, float] = {"width": model.width, "resolution_px": model.resolution, "batch_size": batch_size}
    for name, dtype, operators in (("fp32", torch.float32, "own"), ("fp64", torch.float64, "reference")):
        found = disagreement(checkout, model, device, dtype=dtype, batch_size=_CHECKED, operators=operators)
        figures |= {f"{what}_relative_difference_{name}": value for what, value in found.items()}
    speeds = rates(
        _steps(checkout, model, device, batch_size), images_per_step=batch_size, rounds=rounds, device=device
    )
    figures |= {f"{name}_img_per_sec": speed for name, speed in speeds.items()}
    for name in ("ours", "ours_bf16"):
        figures[f"{name}_over_reference"] = speeds[name] / speeds["reference"]
    figures["ours_over_reference_operators"] = speeds["ours"] / speeds["reference_operators"]
    return figures


def table(figures: dict[str, float]) -> str:
    """Return the figures as text."""
    rows = [
        ("R3GAN's code, its own operators, fp32", "reference"),
        ("R3GAN's code, its reference operators, fp32", "reference_operators"),
        ("personalgen, fp32", "ours"),
        ("personalgen, bf16", "ours_bf16"),
    ]
    fastest = figures["reference_img_per_sec"]
    lines = [f"{'':44}   img/s   over R3GAN"]
    for text, name in rows:
        speed = figures[f"{name}_img_per_sec"]
        lines.append(f"{text:44} {speed:7.2f}   {speed / fastest:10.2f}")
    lines.append("")
    lines.append(f"{'relative difference of':44}    fp32      fp64")
    lines += [_difference(figures, what) for what in _COMPARED]
    return "\n".join([*lines, "", f"ours_over_reference {figures['ours_over_reference']:.2f}"])


def _difference(figures: dict[str, float], what: str) -> str:
    fp32, fp64 = (figures[f"{what}_relative_difference_{name}"] for name in ("fp32", "fp64"))
    return f"{what.replace('_', ' '):44} {fp32:7.1e}   {fp64:7.1e}"


def _steps(checkout: Path, model: ModelOptions, device: torch.device, batch_size: int) -> dict[str, Callable[[], None]]:
    """Return one training step of each kind; ours start from the weights of the reference."""
    pairs = random_pairs(_N_IMAGES, model.resolution, _N_CLASSES, device)
    steps: dict[str, Callable[[], None]] = {}
    kinds = {"reference": "own", "reference_operators": "reference"}
    published = {name: Published(checkout, model, _N_CLASSES, device, operators=kind) for name, kind in kinds.items()}
    for name, theirs in published.items():
        steps[name] = partial(theirs.step, batches(pairs, batch_size), gamma=_GAMMA)
    for name, precision in (("ours", "fp32"), ("ours_bf16", "bf16")):
        options = plain_training(batch_size=batch_size, precision=precision, r1_gamma=_GAMMA)
        trainer = Trainer(Job(pairs, class_spec(_N_CLASSES), model, options), device)
        published["reference"].copy_into(trainer.state.generator, trainer.state.nets["discriminator"])
        steps[name] = trainer.step
    return steps


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reference", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--reference", type=Path, required=True, help="folder of a checkout of R3GAN's code")
    parser.add_argument("--width", type=int, default=96, help="channels of every stage")
    parser.add_argument("--resolution", type=int, default=32, help="edge of the images in pixels")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5, help="how often each step is taken in turn")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as one flat object")
    parser.add_argument("--quick", action="store_true", help="a toy size, in seconds")
    return parser


if __name__ == "__main__":
    sys.exit(main())
