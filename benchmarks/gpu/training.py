"""The same minutes of training on pictures, for ours and for the published code; leaves weights and samples."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from benchmarks.cifar import read_cifar
from benchmarks.gpu.bench import (
    FINAL_GAMMA,
    FINAL_RATE,
    GAMMA,
    HALF_LIFE_IMG,
    N_CLASSES,
    N_NOISE,
    PUBLISHED_IMG,
    RATE,
    Bench,
)
from benchmarks.published import FIELD, Published, batches, class_spec, plain_training, random_pairs
from benchmarks.rates import clock
from personalgen import training
from personalgen.conditions import Condition
from personalgen.errors import ConfigError
from personalgen.generation.sampler import Sampler, to_uint8
from personalgen.models import save_generator
from personalgen.seeding import derive_seed, draw_z
from personalgen.training import TrainingPairs
from personalgen.training.schedules import cosine


def train(bench: Bench) -> None:
    """Train on pictures for some minutes, compile included; leave weights and samples."""
    given, pairs = bench.given, _pictures(bench)
    options = plain_training(
        **bench.settings(given.width),
        device=str(bench.device),
        precision="bf16",
        batch_size=given.batch_size,
        max_minutes=given.minutes,
        max_kimg=PUBLISHED_IMG / 1000,
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
        bench.figures |= {f"train_{name}": value for name, value in metrics.items()}
        print(f"{seen_img:,} images", {name: round(value, 4) for name, value in metrics.items()}, flush=True)

    model = bench.model(given.width, pairs.images.shape[2])
    with tempfile.TemporaryDirectory() as folder:
        job = training.Job(pairs, class_spec(N_CLASSES), model, options)
        result = training.train(job, folder=Path(folder), log=log)
    save_generator(bench.out / "ours", result.generator, basis_version="", trained_kimg=result.trained_kimg)
    sampler = Sampler(result.generator, device=bench.device, batch_size=min(250, given.samples))
    classes, seeds = _balanced(given.samples)
    images = sampler.sample(Condition({FIELD: torch.eye(N_CLASSES)[torch.from_numpy(classes)]}), seeds)
    np.savez(bench.out / "samples_ours.npz", images=images, classes=classes)
    bench.note(f"ours, {given.minutes:g} minutes: thousand images", result.trained_kimg, name="train_kimg")


def train_reference(bench: Bench) -> None:
    """Do the same with the published code, its settings and its schedules."""
    given, pairs = bench.given, _pictures(bench)
    torch.manual_seed(0)
    own, native = (bench.figures.get(f"{name}_img_per_sec", 0.0) for name in ("reference", "reference_operators"))
    model = bench.model(given.width, pairs.images.shape[2])
    start = time.monotonic()
    theirs = bench.published(model, "own") if own >= native else None
    theirs = theirs or bench.published(model, "reference")
    if not theirs:
        raise ConfigError("the published code does not run on this device.")
    data = batches(pairs, given.batch_size, mirror=True)
    while time.monotonic() - start < 60 * given.minutes:
        done = theirs.seen_img / PUBLISHED_IMG
        theirs.step(
            data,
            gamma=cosine(GAMMA, FINAL_GAMMA, done),
            learning_rate=cosine(RATE, FINAL_RATE, done),
            beta2=cosine(0.9, 0.99, done),
            half_life_img=cosine(0.0, HALF_LIFE_IMG, done),
        )
        if theirs.seen_img // given.batch_size % 20 == 0:
            clock(bench.device)  # waits for the device: the minutes are those of finished steps
    clock(bench.device)
    (bench.out / "reference").mkdir(parents=True, exist_ok=True)
    weights = {f"w{k:03d}": weight.cpu().contiguous() for k, weight in enumerate(theirs.average.parameters())}
    save_file(weights, bench.out / "reference" / "generator.safetensors")
    classes, seeds = _balanced(given.samples)
    images = np.concatenate(list(_drawn(theirs, classes, seeds)))
    np.savez(bench.out / "samples_reference.npz", images=images, classes=classes)
    text = f"published code, {given.minutes:g} minutes: thousand images"
    bench.note(text, theirs.seen_img / 1000, name="train_reference_kimg")


def _pictures(bench: Bench) -> TrainingPairs:
    """Return CIFAR-10 on the device, or noise where no file was named."""
    if not bench.given.cifar:
        return random_pairs(N_NOISE, bench.given.resolution, N_CLASSES, bench.device)
    found = read_cifar(bench.given.cifar)
    rows = np.arange(len(found.images))
    one_hot = np.eye(N_CLASSES, dtype=np.float32)[found.classes]
    return TrainingPairs.of(found.images, rows, rows, of_image={FIELD: one_hot}).to(bench.device)


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
