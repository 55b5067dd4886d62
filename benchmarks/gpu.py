"""Everything worth knowing of training on a GPU, in one call: agreement, speed, and a slice on CIFAR-10.

    python -m benchmarks.gpu --reference CHECKOUT --cifar train.parquet --out build/gpu

Needs torch and the numeric stack alone. A part that fails says so, and the next one runs. README.md tells what is
printed.
"""

import argparse
import gc
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.cifar import read_cifar
from benchmarks.published import (
    FIELD,
    Published,
    batches,
    class_spec,
    disagreement,
    plain_training,
    published_options,
    random_pairs,
)
from benchmarks.rates import clock, rates
from personalgen.artifacts import read_json, write_json
from personalgen.conditions import Condition
from personalgen.errors import ConfigError, PersonalgenError, UserError
from personalgen.generation.sampler import Sampler, to_uint8
from personalgen.models import ModelOptions, save_generator
from personalgen.models.layers import compute_groups_together, conv
from personalgen.seeding import derive_seed, draw_z
from personalgen.training import TrainingOptions, TrainingPairs, train
from personalgen.training.schedules import cosine
from personalgen.training.speed import flops, flops_per_image, peak_flops
from personalgen.training.trainer import Trainer, pick_device

N_CLASSES, _N_NOISE = 10, 2048
_TOGETHER = (1, 2, 4, 8)
_PUBLISHED_IMG = 2e7
"""Images over which the published schedules run."""
_GAMMA, _FINAL_GAMMA, _RATE, _FINAL_RATE, _HALF_LIFE_IMG = 0.05, 0.005, 2e-4, 5e-5, 5e6
"""The published settings for CIFAR-10."""

Step = Callable[[], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code, 1 where a part failed."""
    given = _parser().parse_args(arguments)
    if given.quick:
        given = _quick(given)
    try:
        bench = Bench(given)
    except PersonalgenError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, UserError) else 1
    for name in bench.chosen:
        bench.attempt(name)
    print("\n".join(["", *bench.table]))
    return 1 if bench.failed else 0


class Bench:
    """The device, what was asked for, and what was found so far."""

    def __init__(self, given: argparse.Namespace) -> None:
        """Open the folder; figures of an earlier call in it are kept.

        Raises:
            ConfigError: a part is unknown, or the training of the published code lacks it.
        """
        self.parts: Mapping[str, Step] = {
            "check": self.check,
            "compiled": self.compiled,
            "sweep": self.sweep,
            "compare": self.compare,
            "train": self.train,
            "train-reference": self.train_reference,
        }
        without = () if given.reference else ("check", "train-reference")
        self.chosen = given.parts.split(",") if given.parts else [name for name in self.parts if name not in without]
        if unknown := set(self.chosen) - self.parts.keys():
            raise ConfigError(f"--parts names {sorted(unknown)}; there are {', '.join(self.parts)}. Nothing was run.")
        if wanted := set(self.chosen) & set(without):
            raise ConfigError(f"--parts names {sorted(wanted)}, which needs --reference. Nothing was run.")
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

    def attempt(self, name: str) -> None:
        """Run one part and keep its figures; where it fails, tell why and go on."""
        start = time.monotonic()
        print(f"-- {name}", flush=True)
        try:
            self.parts[name]()
        except Exception as error:  # noqa: BLE001 - the parts behind it are worth as much
            self._failed(name, error)
            self.failed = True
        self.figures[f"{name.replace('-', '_')}_sec"] = time.monotonic() - start
        write_json(self.out / "figures.json", self.figures)
        _clear()

    def note(self, text: str, value: float, form: str = "14,.1f", *, name: str = "") -> None:
        """Add a line to the table, and with a name the figure to the file."""
        line = f"{text:58} {value:{form}}"
        print(line, flush=True)
        self.table.append(line)
        if name:
            self.figures[name] = value

    def check(self) -> None:
        """Compare outputs and gradients with the published code's at the same weights and inputs."""
        given = self.given
        model = published_options(given.check_width, resolution=given.resolution, blocks=given.blocks)
        kinds = {"fp32": (torch.float32, "reference"), "fp64": (torch.float64, "reference")}
        for name, (dtype, operators) in (kinds | {"fp32_own_operators": (torch.float32, "own")}).items():
            try:
                found = disagreement(
                    given.reference, model, self.device, dtype=dtype, batch_size=8, operators=operators
                )
            except Exception as error:  # noqa: BLE001 - its CUDA extensions do not build everywhere
                self._failed(f"check, {name}", error)
                continue
            self.figures |= {f"{what}_relative_difference_{name}": value for what, value in found.items()}
            for what in ("generator_gradient", "discriminator_gradient", "discriminator_worst_tensor"):
                self.note(f"{what}, {name}".replace("_", " "), found[what], "14.1e")

    def compiled(self) -> None:
        """Compare the gradients of compiled steps with those of torch's own kernels."""
        if self.compile == "off":
            return
        px = self.given.resolution
        nets = {
            "published": (published_options(self.given.check_width, resolution=px), plain_training()),
            "default": (
                ModelOptions(resolution=px, width=16, max_width=32, discriminator_width=16),
                TrainingOptions(feature_weight=0.0, augment=0.3),
            ),
        }
        for name, (model, options) in nets.items():
            worst = _compiled_difference(model, options, self.device)
            self.note(f"compiled step, {name} net: worst tensor", worst, "14.1e", name=f"compiled_{name}_worst_tensor")

    def compare(self) -> None:
        """Measure our step beside the published code's at the same net, batch and data."""
        given, batch_size = self.given, self.given.batch_size
        model, what = self._model(given.width), f"w{given.width}, batch {batch_size}"
        pairs = random_pairs(_N_NOISE, given.resolution, N_CLASSES, self.device)
        steps: dict[str, Step] = {}
        published_flops = 0.0
        for name, operators in (("reference", "own"), ("reference_operators", "reference")):
            theirs = self._published(model, operators) if given.reference else None
            if theirs:
                steps[name] = partial(theirs.step, batches(pairs, batch_size), gamma=_GAMMA)
                published_flops = flops(steps[name]) / batch_size
        steps["ours"] = self._trainer(pairs, model, batch_size=batch_size, **self._settings(given.width)).step
        found = self._rates(steps, batch_size)
        for name, rate in found.items():
            self.note(f"{name}, {what}: img/s", rate, name=f"{name}_img_per_sec")
        ours = found.pop("ours")
        self.note(f"ours, {what}: MFU", ours * self._flops(model) / self.peak, "14.1%", name="ours_mfu")
        if found:
            self.figures["published_gflop_per_img"] = published_flops / 1e9
            share = ours * published_flops / self.peak
            self.note(
                "  had each image cost the published operations", share, "14.1%", name="ours_mfu_by_published_flop"
            )
            self.note("ours over the published code", ours / max(found.values()), "14.2f", name="ours_over_reference")

    def sweep(self) -> None:
        """Find the fastest settings of each width within the minutes allowed."""
        given, widths = self.given, [int(width) for width in self.given.sweep_widths.split(",")]
        deadline, longest = time.monotonic() + 60 * given.sweep_minutes, 0.0
        pairs = random_pairs(_N_NOISE, given.resolution, N_CLASSES, self.device)
        together = {width: self._best_together(width) for width in widths}
        best: dict[int, tuple[float, str]] = {}
        for width, batch_size, mode, groups in _candidates(widths, together, self.compile):
            start, settings = time.monotonic(), f"w{width}_b{batch_size}_{mode}_g{groups}"
            if start + longest > deadline:
                break
            _clear()
            try:
                how = {"batch_size": batch_size, "compile": mode, "groups_together": groups}
                rate = self._rates({"ours": self._trainer(pairs, self._model(width), **how).step}, batch_size)["ours"]
            except Exception as error:  # noqa: BLE001 - some settings need more memory than there is
                self._failed(settings, error)
                continue
            longest = max(longest, time.monotonic() - start)
            print(f"{settings}: {rate:,.1f} img/s in {time.monotonic() - start:.0f} s", flush=True)
            self.figures[f"{settings}_img_per_sec"] = rate
            if rate > best.get(width, (0.0, ""))[0]:
                best[width] = rate, settings
                self.figures |= {f"best_w{width}_mode": mode, f"best_w{width}_groups_together": groups}
        for width, (rate, settings) in best.items():
            share = rate * self._flops(self._model(width)) / self.peak
            self.note(f"best, {settings}: img/s", rate, name=f"best_w{width}_img_per_sec")
            self.note(f"best, {settings}: MFU", share, "14.1%", name=f"best_w{width}_mfu")

    def train(self) -> None:
        """Train on pictures for some minutes, compile included; leave weights and samples."""
        given, pairs = self.given, self._pictures()
        options = plain_training(
            **self._settings(given.width),
            device=str(self.device),
            precision="bf16",
            batch_size=given.batch_size,
            max_minutes=given.minutes,
            max_kimg=_PUBLISHED_IMG / 1000,
            learning_rate=given.learning_rate,
            final_learning_rate=given.learning_rate / 4,
            r1_gamma=given.gamma,
            final_r1_gamma=given.gamma / 10,
            flip=True,
            ema_kimg=given.ema_kimg,
            snapshot_kimg=given.snapshot_kimg,
            least_diversity=0.0,
        )

        def log(metrics: dict[str, float], seen_img: int) -> None:
            self.figures |= {f"train_{name}": value for name, value in metrics.items()}
            print(f"{seen_img:,} images", {name: round(value, 4) for name, value in metrics.items()}, flush=True)

        model = self._model(given.width, pairs.images.shape[2])
        with tempfile.TemporaryDirectory() as folder:
            result = train(pairs, class_spec(N_CLASSES), model, options, folder=Path(folder), log=log)
        save_generator(self.out / "ours", result.generator, basis_version="", trained_kimg=result.trained_kimg)
        sampler = Sampler(result.generator, device=self.device, batch_size=min(250, given.samples))
        classes, seeds = _balanced(given.samples)
        images = sampler.sample(Condition({FIELD: torch.eye(N_CLASSES)[torch.from_numpy(classes)]}), seeds)
        np.savez(self.out / "samples_ours.npz", images=images, classes=classes)
        self.note(f"ours, {given.minutes:g} minutes: thousand images", result.trained_kimg, name="train_kimg")

    def train_reference(self) -> None:
        """Do the same with the published code, its settings and its schedules."""
        given, pairs = self.given, self._pictures()
        torch.manual_seed(0)
        own, native = (self.figures.get(f"{name}_img_per_sec", 0.0) for name in ("reference", "reference_operators"))
        model = self._model(given.width, pairs.images.shape[2])
        start = time.monotonic()
        theirs = self._published(model, "own") if own >= native else None
        theirs = theirs or self._published(model, "reference")
        if not theirs:
            raise ConfigError("the published code does not run on this device.")
        data = batches(pairs, given.batch_size, mirror=True)
        while time.monotonic() - start < 60 * given.minutes:
            done = theirs.seen_img / _PUBLISHED_IMG
            theirs.step(
                data,
                gamma=cosine(_GAMMA, _FINAL_GAMMA, done),
                learning_rate=cosine(_RATE, _FINAL_RATE, done),
                beta2=cosine(0.9, 0.99, done),
                half_life_img=cosine(0.0, _HALF_LIFE_IMG, done),
            )
            if theirs.seen_img // given.batch_size % 20 == 0:
                clock(self.device)  # waits for the device: the minutes are those of finished steps
        clock(self.device)
        (self.out / "reference").mkdir(parents=True, exist_ok=True)
        weights = {f"w{k:03d}": weight.cpu().contiguous() for k, weight in enumerate(theirs.average.parameters())}
        save_file(weights, self.out / "reference" / "generator.safetensors")
        classes, seeds = _balanced(given.samples)
        images = np.concatenate(list(_drawn(theirs, classes, seeds)))
        np.savez(self.out / "samples_reference.npz", images=images, classes=classes)
        text = f"published code, {given.minutes:g} minutes: thousand images"
        self.note(text, theirs.seen_img / 1000, name="train_reference_kimg")

    def _failed(self, what: str, error: Exception) -> None:
        """Tell of an error in the log and, in one line, in the table."""
        traceback.print_exc()
        first = next(iter(str(error).splitlines()), "")
        self.table.append(f"{what}: {type(error).__name__}: {first[:150]}")

    def _model(self, width: int, resolution: int | None = None) -> ModelOptions:
        given = self.given
        return published_options(width, resolution=resolution or given.resolution, blocks=given.blocks)

    def _trainer(self, pairs: TrainingPairs, model: ModelOptions, **more: Any) -> Trainer:
        settings: dict[str, Any] = {"precision": "bf16", "r1_gamma": _GAMMA}
        return Trainer(pairs, class_spec(N_CLASSES), model, plain_training(**(settings | more)), self.device)

    def _settings(self, width: int) -> dict[str, Any]:
        """Return how to compile at a width, as `sweep` found it if it ran before."""
        mode = self.figures.get(f"best_w{width}_mode", self.compile)
        return {"compile": mode, "groups_together": self.figures.get(f"best_w{width}_groups_together", 1)}

    def _published(self, model: ModelOptions, operators: str) -> Published | None:
        """Return the published code, None where its operators do not work here: CUDA extensions have to be built."""
        given = self.given
        try:
            found = Published(given.reference, model, N_CLASSES, self.device, operators=operators, dtype=self.half)
            pairs = random_pairs(given.batch_size, model.resolution, N_CLASSES, self.device)
            images, classes = next(batches(pairs, given.batch_size))
            found.gradients(torch.randn(len(images), model.z_dim, device=self.device), images, classes, _GAMMA)
        except Exception as error:  # noqa: BLE001 - whatever a compiler may say
            self._failed(f"published code, {operators} operators", error)
            return None
        return found

    def _rates(self, steps: Mapping[str, Step], batch_size: int) -> dict[str, float]:
        given = self.given
        return rates(steps, images_per_step=batch_size, rounds=given.rounds, repeats=given.repeats, device=self.device)

    def _flops(self, model: ModelOptions) -> float:
        """Return our operations an image."""
        pairs = random_pairs(_N_NOISE, model.resolution, N_CLASSES, self.device)
        found = flops_per_image(self._trainer(pairs, model, batch_size=8, compile="off"))
        self.figures[f"w{model.width}_gflop_per_img"] = found / 1e9
        return found

    def _best_together(self, width: int) -> int:
        """Return how many groups of a grouped convolution are best computed as one, by the passes of one layer."""
        wide, edge = 2 * width, self.given.resolution
        layer = conv(wide, wide, 3, groups=max(wide // 16, 1)).to(self.device, torch.bfloat16)
        layer = layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # missing in torch's stubs
        x = torch.randn(self.given.batch_size, wide, edge, edge, device=self.device, dtype=torch.bfloat16)
        x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
        signal = x.detach().clone()

        def passes(groups: int) -> None:
            compute_groups_together(layer, groups)
            layer(x).backward(signal)

        found = self._rates({str(groups): partial(passes, groups) for groups in _TOGETHER}, len(x))
        text = ", ".join(f"{groups}: {1e6 / rate:.2f}" for groups, rate in found.items())
        print(f"grouped convolution of {wide} channels, us an image by groups computed together: {text}", flush=True)
        self.figures |= {f"grouped_w{width}_g{groups}_us_per_img": 1e6 / rate for groups, rate in found.items()}
        return int(max(found, key=lambda groups: found[groups]))

    def _pictures(self) -> TrainingPairs:
        """Return CIFAR-10 on the device, or noise where no file was named."""
        if not self.given.cifar:
            return random_pairs(_N_NOISE, self.given.resolution, N_CLASSES, self.device)
        found = read_cifar(self.given.cifar)
        rows = np.arange(len(found.images))
        one_hot = np.eye(N_CLASSES, dtype=np.float32)[found.classes]
        return TrainingPairs.of(found.images, rows, rows, of_image={FIELD: one_hot}).to(self.device)


def _candidates(
    widths: Sequence[int], together: Mapping[int, int], compile_mode: str
) -> Iterator[tuple[int, int, str, int]]:
    """Yield (width, batch size, compile mode, groups together), the most promising first."""
    if compile_mode == "off":
        yield from ((width, 8, "off", together[width]) for width in widths)
        return
    for batch_size, mode in ((512, "on"), (512, "graphs"), (1024, "on"), (256, "graphs"), (2048, "on")):
        yield from ((width, batch_size, mode, together[width]) for width in widths)
    yield from ((width, 512, "on", 1) for width in widths if together[width] > 1)


def _compiled_difference(model: ModelOptions, options: TrainingOptions, device: torch.device) -> float:
    """Return the largest relative difference of any gradient between a compiled and an eager step, in float32."""
    pairs = random_pairs(_N_NOISE, model.resolution, N_CLASSES, device)
    plain = {"precision": "fp32", "compile": "off", "batch_size": 16}
    trainer = Trainer(pairs, class_spec(N_CLASSES), model, TrainingOptions(**(vars(options) | plain)), device)
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


def _drawn(published: Published, classes: NDArray[np.int64], seeds: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    """Yield the pictures of the published average, on the latents that ours are drawn from."""
    with torch.no_grad():
        for start in range(0, len(seeds), 250):
            part = slice(start, start + 250)
            z = draw_z(list(seeds[part]), published.z_dim).to(published.device)
            one_hot = torch.eye(N_CLASSES)[torch.from_numpy(classes[part])].to(published.device)
            yield to_uint8(published.average(z, one_hot).float())


def _balanced(count: int) -> tuple[NDArray[np.int64], list[int]]:
    """Return as many of each class as of any other, and a seed for each picture."""
    return np.arange(count) % N_CLASSES, [derive_seed(f"sample {k}") for k in range(count)]


def _clear() -> None:
    """Forget compiled steps and the memory of nets that are gone."""
    torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


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
    add("--parts", help="check,compiled,sweep,compare,train,train-reference: those to run, in this order")
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
    add("--learning-rate", type=float, default=_RATE, help="of our training")
    add("--gamma", type=float, default=_GAMMA, help="of our training")
    add("--ema-kimg", type=float, default=20.0, help="of our training")
    add("--snapshot-kimg", type=float, default=250.0, help="of our training")
    add("--quick", action="store_true", help="a toy size on noise, in seconds")
    return parser


if __name__ == "__main__":
    sys.exit(main())
