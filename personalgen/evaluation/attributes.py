"""Reads what a picture shows, where a world's attributes say all of it: truth instead of a judge, for proofs.

The net learns from fresh renders of the world and from nothing else: no picture of the catalogue, so that it knows no
training item better than a held-out one, and no generated picture, so that no generator is graded by what it made. Its
own error is measured on renders that it did not learn from, and travels with it.

A net that has only seen clear pictures is sure of any blotch. So some renders are blurred beyond reading, and there it
has to say that every value is as likely as the others: what nobody can name is worth the same to everybody. A number is
read as one value, there that in the middle.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor, nn

from personalgen.artifacts import check_file, digest_of, read_json, sha256_file, write_bytes, write_json
from personalgen.bounds import check_options
from personalgen.errors import DataError
from personalgen.threads import torch_threads
from personalgen.worlds import Attributes, AttributeSpace, AttributeWorld, known_attributes

WEIGHTS, CARD = "estimator.safetensors", "estimator.json"
_ANGLE_WEIGHT, _NUMBER_WEIGHT = 2.0, 4.0
_BATCH = 500
"""Pictures read in one pass."""
_VERSION = 1
"""Raised whenever nets or losses mean something else than before: estimators that were kept are fitted anew."""
_N_SAMPLE = 64
"""Fresh renders that stand for how a world draws."""


@dataclass(frozen=True)
class EstimatorOptions:
    """How the net that reads attributes is made; 8,000 renders, seen four times, take it to 2 degrees in 15 seconds."""

    n_renders: int = 8000
    """Fresh renders learnt from."""

    n_checked: int = 2000
    """Other fresh renders on which the error is measured."""

    epochs: int = 4
    """Times each render is seen."""

    batch_size: int = 64
    """Renders per step."""

    learning_rate: float = 4e-3
    """Highest step of AdamW, in one cycle up and down."""

    width: int = 32
    """Channels at half the resolution; doubled twice."""

    noise: float = 0.1
    """Most noise on a render, as a standard deviation in [-1, 1]: generated pictures are never as clean as renders."""

    lost_share: float = 0.125
    """Share of each batch that is blurred to 2x2 blotches, of which no category can be told; the angles still can."""

    threads: int = 1
    """Torch threads of training and reading."""

    seed: int = 0
    """Seed of the renders, the weights and the order."""

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be learnt from, all in one message."""
        counts = ("n_checked", "epochs", "width", "threads")
        check_options(
            "estimator",
            self,
            least=dict.fromkeys(counts, 1) | {"batch_size": 2, "n_renders": self.batch_size, "noise": 0, "seed": 0},
            above={"learning_rate": 0},
            shares=("lost_share",),
        )


@dataclass(frozen=True)
class EstimatorError:
    """How well pictures are read whose attributes are known."""

    accuracy: Mapping[str, float]
    """Share of pictures whose most probable value is the true one, by category."""
    mean_degrees: Mapping[str, float]
    """Mean distance from the true angle, by angle."""
    mean_absolute: Mapping[str, float] = field(default_factory=dict)
    """Mean distance from the true value, by number."""

    def metrics(self) -> dict[str, float]:
        """Return flat names and numbers."""
        accuracies = {f"{name}_accuracy": value for name, value in self.accuracy.items()}
        degrees = {f"{name}_error_degrees": value for name, value in self.mean_degrees.items()}
        return accuracies | degrees | {f"{name}_error": value for name, value in self.mean_absolute.items()}


class AttributeNet(nn.Module):
    """Three strided convolutions and one layer for all attributes.

    It gives logits of each category, a vector for each angle, and the logit of each number.
    Where on the 4x4 grid a feature lies is kept: shapes of one outline are told apart by it, and averaging over the
    grid needs twice the time for the same error.
    """

    def __init__(self, space: AttributeSpace, width: int) -> None:
        super().__init__()
        self.sizes = [len(values) for values in space.categories.values()] + [2] * len(space.angles)
        self.sizes += [1] * len(space.numbers)
        self.body = nn.Sequential(*_block(3, width, kernel=5), *_block(width, 2 * width), *_block(2 * width, 4 * width))
        self.head = nn.Linear(4 * width * 16, sum(self.sizes))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return one tensor per attribute, in the order of the space, of (B, 3, R, R) images in [-1, 1]."""
        features = F.adaptive_avg_pool2d(self.body(x), 4).flatten(1)
        return torch.split(self.head(features), self.sizes, dim=1)


class AttributeEstimator:
    """A fitted net for pictures of one size, with its own error."""

    def __init__(
        self, space: AttributeSpace, net: AttributeNet, *, image_px: int, error: EstimatorError, threads: int = 1
    ) -> None:
        self.space, self.net, self.image_px, self.error, self.threads = space, net.eval(), image_px, error, threads

    def read(self, images: NDArray[np.uint8]) -> Attributes:
        """Return what (n, R, R, 3) uint8 pictures show.

        Raises:
            DataError: the pictures are of another size than those learnt from.
        """
        if images.shape[1:] != (self.image_px, self.image_px, 3):
            raise DataError(
                f"The estimator reads pictures of {self.image_px} x {self.image_px} px, found an array {images.shape}. "
                "Fit one for this size. Nothing was measured."
            )
        with torch.inference_mode(), torch_threads(self.threads):
            return _read(self.net, self.space, images)


def fit_estimator(
    world: AttributeWorld, *, image_px: int, options: EstimatorOptions | None = None
) -> AttributeEstimator:
    """Return an estimator fitted on fresh renders of `world`; the same on one machine for the same arguments."""
    options = options or EstimatorOptions()
    learnt, checked = (
        world.fresh(n, 2 * options.seed + k) for k, n in enumerate((options.n_renders, options.n_checked))
    )
    with torch.random.fork_rng(devices=[]), torch_threads(options.threads):
        torch.manual_seed(options.seed)
        net = AttributeNet(world.space, options.width)
        _train(net, learnt, image_px, options)
        with torch.inference_mode():
            read = _read(net.eval(), world.space, checked.render(image_px))
    error = reading_error(read, known_attributes(checked.items(), world.space))
    return AttributeEstimator(world.space, net, image_px=image_px, error=error, threads=options.threads)


def reading_error(read: Attributes, known: Attributes) -> EstimatorError:
    """Return how far what was read is from what is known, picture for picture."""
    right = {name: read.categories[name].argmax(1) == value.argmax(1) for name, value in known.categories.items()}
    turned = {name: (read.angles[name] - value + 180) % 360 - 180 for name, value in known.angles.items()}
    missed = {name: read.numbers[name] - value for name, value in known.numbers.items()}
    return EstimatorError(
        accuracy={name: float(hits.mean()) for name, hits in right.items()},
        mean_degrees={name: float(np.abs(angle).mean()) for name, angle in turned.items()},
        mean_absolute={name: float(np.abs(distance).mean()) for name, distance in missed.items()},
    )


def cached_estimator(
    folder: Path, world: AttributeWorld, *, image_px: int, options: EstimatorOptions | None = None
) -> AttributeEstimator:
    """Return the estimator that `fit_estimator` gives, from `folder` where it was fitted before, else written there.

    Another size, other options, and a world that draws or labels its pictures otherwise than it did are fitted anew.

    Raises:
        ArtifactError: the weights in the folder are not those of its card.
    """
    options = options or EstimatorOptions()
    made_of = digest_of([_VERSION, world.space, _sample_digest(world, image_px), image_px, asdict(options)])
    if (folder / CARD).is_file():
        card = read_json(folder / CARD)
        if card["made_of"] == made_of:
            return _loaded(folder, card, world.space, image_px, options)
    estimator = fit_estimator(world, image_px=image_px, options=options)
    path = write_bytes(folder / WEIGHTS, save({k: v.contiguous() for k, v in estimator.net.state_dict().items()}))
    write_json(folder / CARD, {"made_of": made_of, "sha256": sha256_file(path), "error": asdict(estimator.error)})
    return estimator


def _sample_digest(world: AttributeWorld, image_px: int) -> str:
    """Return a digest of how some fresh renders look and what they are labelled."""
    sample = world.fresh(_N_SAMPLE, 0)
    pixels = hashlib.blake2b(sample.render(image_px).tobytes()).hexdigest()
    return digest_of([pixels, sample.items().labels])


def _loaded(
    folder: Path, card: Mapping[str, Any], space: AttributeSpace, image_px: int, options: EstimatorOptions
) -> AttributeEstimator:
    net = AttributeNet(space, options.width)
    net.load_state_dict(load(check_file(folder / WEIGHTS, card["sha256"]).read_bytes()))
    error = EstimatorError(**card["error"])
    return AttributeEstimator(space, net, image_px=image_px, error=error, threads=options.threads)


def _block(inputs: int, outputs: int, *, kernel: int = 3) -> tuple[nn.Module, ...]:
    """Return a convolution that halves the edge, with its normalisation."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride=2, padding=kernel // 2, bias=False)
    return conv, nn.BatchNorm2d(outputs), nn.ReLU()


def _train(net: AttributeNet, world: AttributeWorld, image_px: int, options: EstimatorOptions) -> None:
    """Fit the net to a world's own pictures, mirrored half of the time: a mirrored picture shows the same."""
    images, known = _to_input(world.render(image_px)), known_attributes(world.items(), world.space)
    targets = [torch.from_numpy(value).float() for value in known.categories.values()]
    targets += [_as_vector(value) for value in known.angles.values()]
    targets += [torch.from_numpy(value).float()[:, None] for value in known.numbers.values()]
    steps, n_lost = len(images) // options.batch_size, round(options.lost_share * options.batch_size)
    optimizer = torch.optim.AdamW(net.parameters(), lr=options.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.learning_rate, total_steps=options.epochs * steps)
    for _ in range(options.epochs):
        for rows in torch.randperm(len(images))[: steps * options.batch_size].view(steps, -1):
            batch, truth = images[rows], [target[rows] for target in targets]
            batch[:n_lost] = _blotches(batch[:n_lost])
            for share in truth[: len(known.categories)]:
                share[:n_lost] = 1 / share.shape[1]
            loss = _loss(net(_spoilt(batch, options.noise)), truth, world.space)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def _blotches(images: Tensor) -> Tensor:
    """Return the images blurred to 2x2 pixels and back."""
    return F.interpolate(F.adaptive_avg_pool2d(images, 2), size=images.shape[2:], mode="bilinear")


def _spoilt(images: Tensor, noise: float) -> Tensor:
    """Return the images, each mirrored or not, with noise of its own strength."""
    chance = torch.rand(2, len(images), 1, 1, 1)
    mirrored = torch.where(chance[0] < 0.5, images.flip(3), images)
    spoilt = mirrored + noise * chance[1] * torch.randn_like(mirrored)
    return spoilt.contiguous(memory_format=torch.channels_last)


def _loss(outputs: tuple[Tensor, ...], targets: list[Tensor], space: AttributeSpace) -> Tensor:
    """Return the sum of what each attribute was missed by."""
    of_kind: list[Callable[[Tensor, Tensor], Tensor]] = [F.cross_entropy] * len(space.categories)
    of_kind += [_turned] * len(space.angles) + [_missed] * len(space.numbers)
    losses = [loss(output, target) for loss, output, target in zip(of_kind, outputs, targets, strict=True)]
    return torch.stack(losses).sum()


def _turned(output: Tensor, target: Tensor) -> Tensor:
    """Return one less the cosine of the distance between angles, as often as it counts."""
    return _ANGLE_WEIGHT * (1 - (F.normalize(output, dim=1) * target).sum(1).mean())


def _missed(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean distance of a number, as often as it counts."""
    return _NUMBER_WEIGHT * (output.sigmoid() - target).abs().mean()


def _read(net: AttributeNet, space: AttributeSpace, images: NDArray[np.uint8]) -> Attributes:
    passes = [net(_to_input(images[k : k + _BATCH])) for k in range(0, len(images), _BATCH)]
    outputs = iter([torch.cat(parts).double() for parts in zip(*passes, strict=True)])
    return Attributes(
        {name: next(outputs).softmax(1).numpy() for name in space.categories},
        {name: _degrees(next(outputs)) for name in space.angles},
        {name: next(outputs)[:, 0].sigmoid().numpy() for name in space.numbers},
    )


def _degrees(vectors: Tensor) -> NDArray[np.float64]:
    """Return (n,) angles in [0, 360) of (n, 2) vectors."""
    degrees: NDArray[np.float64] = torch.rad2deg(torch.atan2(vectors[:, 1], vectors[:, 0])).numpy() % 360
    return degrees


def _to_input(images: NDArray[np.uint8]) -> Tensor:
    """Return (n, 3, R, R) float32 in [-1, 1], channels last."""
    return torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1


def _as_vector(degrees: NDArray[np.float64]) -> Tensor:
    """Return (n, 2) unit vectors of angles."""
    radians = torch.from_numpy(np.radians(degrees)).float()
    return torch.stack([radians.cos(), radians.sin()], dim=1)
