"""What every part of the GPU benchmark works with: the device, the options, and the figures found so far."""

import argparse
import gc
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import torch

from benchmarks.published import (
    Published,
    batches,
    class_spec,
    plain_training,
    published_options,
    random_pairs,
)
from benchmarks.rates import rates
from personalgen.artifacts import read_json, write_json
from personalgen.models import ModelOptions
from personalgen.training import Job, TrainingPairs
from personalgen.training.speed import flops_per_image, peak_flops
from personalgen.training.trainer import Trainer, pick_device

N_CLASSES, N_NOISE = 10, 2048
PUBLISHED_IMG = 2e7
"""Images over which the published schedules run."""
GAMMA, FINAL_GAMMA, RATE, FINAL_RATE, HALF_LIFE_IMG = 0.05, 0.005, 2e-4, 5e-5, 5e6
"""The published settings for CIFAR-10."""

Step = Callable[[], None]


class Bench:
    """The device, what was asked for, and what was found so far."""

    def __init__(self, given: argparse.Namespace) -> None:
        """Open the folder; figures of an earlier call in it are kept."""
        self.given, self.device, self.out = given, pick_device(given.device), given.out
        self.table: list[str] = []
        self.failed = False
        path = self.out / "figures.json"
        self.figures: dict[str, Any] = read_json(path) if path.is_file() else {}
        self.compile = "off" if self.device.type == "cpu" else "on"
        self.peak = peak_flops(self.device, torch.bfloat16)
        self.half = torch.float32 if self.device.type == "cpu" else torch.bfloat16
        """What the published code computes in; its 4x4 stages stay in float32."""
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False

    def attempt(self, name: str, part: Callable[["Bench"], None]) -> None:
        """Run one part and keep its figures; where it fails, tell why and go on."""
        start = time.monotonic()
        print(f"-- {name}", flush=True)
        try:
            part(self)
        except Exception as error:  # noqa: BLE001 - the parts behind it are worth as much
            self.fault(name, error)
            self.failed = True
        self.figures[f"{name.replace('-', '_')}_sec"] = time.monotonic() - start
        write_json(self.out / "figures.json", self.figures)
        clear()

    def note(self, text: str, value: float, form: str = "14,.1f", *, name: str = "") -> None:
        """Add a line to the table, and with a name the figure to the file."""
        line = f"{text:58} {value:{form}}"
        print(line, flush=True)
        self.table.append(line)
        if name:
            self.figures[name] = value

    def fault(self, what: str, error: Exception) -> None:
        """Tell of an error in the log and, in one line, in the table."""
        traceback.print_exc()
        first = next(iter(str(error).splitlines()), "")
        self.table.append(f"{what}: {type(error).__name__}: {first[:150]}")

    def model(self, width: int, resolution: int | None = None) -> ModelOptions:
        """Return the published net of a width."""
        given = self.given
        return published_options(width, resolution=resolution or given.resolution, blocks=given.blocks)

    def trainer(self, pairs: TrainingPairs, model: ModelOptions, **more: Any) -> Trainer:
        """Return our training of a net by the published loss."""
        settings: dict[str, Any] = {"precision": "bf16", "r1_gamma": GAMMA}
        options = plain_training(**(settings | more))
        return Trainer(Job(pairs, class_spec(N_CLASSES), model, options), self.device)

    def settings(self, width: int) -> dict[str, Any]:
        """Return how to compile at a width, as `sweep` found it if it ran before."""
        mode = self.figures.get(f"best_w{width}_mode", self.compile)
        return {"compile": mode, "groups_together": self.figures.get(f"best_w{width}_groups_together", 1)}

    def published(self, model: ModelOptions, operators: str) -> Published | None:
        """Return the published code, None where its operators do not work here: CUDA extensions have to be built."""
        given = self.given
        try:
            found = Published(given.reference, model, N_CLASSES, self.device, operators=operators, dtype=self.half)
            pairs = random_pairs(given.batch_size, model.resolution, N_CLASSES, self.device)
            images, classes = next(batches(pairs, given.batch_size))
            found.gradients(torch.randn(len(images), model.z_dim, device=self.device), images, classes, GAMMA)
        except Exception as error:  # noqa: BLE001 - whatever a compiler may say
            self.fault(f"published code, {operators} operators", error)
            return None
        return found

    def rates(self, steps: Mapping[str, Step], batch_size: int) -> dict[str, float]:
        """Return images a second of each step, taken in turn."""
        given = self.given
        return rates(steps, images_per_step=batch_size, rounds=given.rounds, repeats=given.repeats, device=self.device)

    def flops(self, model: ModelOptions) -> float:
        """Return our operations an image."""
        pairs = random_pairs(N_NOISE, model.resolution, N_CLASSES, self.device)
        found = flops_per_image(self.trainer(pairs, model, batch_size=8, compile="off"))
        self.figures[f"w{model.width}_gflop_per_img"] = found / 1e9
        return found


def clear() -> None:
    """Forget compiled steps and the memory of nets that are gone."""
    torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
