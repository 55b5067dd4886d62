"""Whether our step computes what the published code computes, and compiled what it computes eagerly."""

import torch
from torch import Tensor

from benchmarks.gpu.bench import N_CLASSES, N_NOISE, Bench
from benchmarks.published import class_spec, disagreement, plain_training, published_options, random_pairs
from personalgen.models import ModelOptions
from personalgen.training import Job, TrainingOptions
from personalgen.training.trainer import Trainer


def check(bench: Bench) -> None:
    """Compare outputs and gradients with the published code's at the same weights and inputs."""
    given = bench.given
    model = published_options(given.check_width, resolution=given.resolution, blocks=given.blocks)
    kinds = {"fp32": (torch.float32, "reference"), "fp64": (torch.float64, "reference")}
    for name, (dtype, operators) in (kinds | {"fp32_own_operators": (torch.float32, "own")}).items():
        try:
            found = disagreement(given.reference, model, bench.device, dtype=dtype, batch_size=8, operators=operators)
        except Exception as error:  # noqa: BLE001 - its CUDA extensions do not build everywhere
            bench.fault(f"check, {name}", error)
            continue
        bench.figures |= {f"{what}_relative_difference_{name}": value for what, value in found.items()}
        for what in ("generator_gradient", "discriminator_gradient", "discriminator_worst_tensor"):
            bench.note(f"{what}, {name}".replace("_", " "), found[what], "14.1e")


def compiled(bench: Bench) -> None:
    """Compare the gradients of compiled steps with those of torch's own kernels."""
    if bench.compile == "off":
        return
    px = bench.given.resolution
    nets = {
        "published": (published_options(bench.given.check_width, resolution=px), plain_training()),
        "default": (
            ModelOptions(resolution=px, width=16, max_width=32, discriminator_width=16),
            TrainingOptions(feature_weight=0.0, augment=0.3),
        ),
    }
    for name, (model, options) in nets.items():
        worst = _compiled_difference(model, options, bench.device)
        bench.note(f"compiled step, {name} net: worst tensor", worst, "14.1e", name=f"compiled_{name}_worst_tensor")


def _compiled_difference(model: ModelOptions, options: TrainingOptions, device: torch.device) -> float:
    """Return the largest relative difference of any gradient between a compiled and an eager step, in float32."""
    pairs = random_pairs(N_NOISE, model.resolution, N_CLASSES, device)
    plain = {"precision": "fp32", "compile": "off", "batch_size": 16}
    trainer = Trainer(Job(pairs, class_spec(N_CLASSES), model, TrainingOptions(**(vars(options) | plain))), device)
    weights = [weight for net in trainer.state.nets.values() for weight in net.parameters() if weight.requires_grad]
    with torch.no_grad():
        for weight in weights:
            if not weight.any():
                weight.normal_(std=0.05)
    objective = trainer.objectives["penalised"]
    compiled = torch.compile(objective.__call__, fullgraph=True, dynamic=False)
    found: list[list[Tensor | None]] = []
    for run in (objective, compiled):
        for weight in weights:
            weight.grad = None
        with trainer.unnoticed() as inputs:
            loss, _ = run(inputs)
        loss.backward()
        found.append([None if weight.grad is None else weight.grad.clone() for weight in weights])
    both = [(a, b) for a, b in zip(*found, strict=True) if a is not None and b is not None and bool(a.any())]
    return max(float((a - b).norm() / a.norm()) for a, b in both)
