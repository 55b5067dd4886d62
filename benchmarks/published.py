"""R3GAN's published code, run from a checkout that the user names, beside our nets with the same weights.

Nothing of that code is kept here or fetched: its modules are imported from the path and driven through their interface.
"""

import copy
import importlib
import math
import sys
import warnings
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.torch_version import TorchVersion

from personalgen.conditions import Condition, ConditionSpec, FieldSpec
from personalgen.errors import ConfigError
from personalgen.models import ModelOptions, build_discriminator, build_generator
from personalgen.models.bottleneck import Bottleneck, BottleneckDiscriminator, BottleneckGenerator
from personalgen.training import TrainingOptions, TrainingPairs
from personalgen.training.augment import flip
from personalgen.training.objectives import Adversarial, StepInputs

FIELD = "label"
_PER_GROUP = 16
_CHOSEN = (
    ("FusedOperators", "BiasedActivation"),
    ("Resamplers", "InterpolativeUpsampler"),
    ("Resamplers", "InterpolativeDownsampler"),
)
_SUFFIX = {"own": "CUDA", "reference": "Reference"}
_STANDINS: Mapping[str, Mapping[str, Any]] = {
    "pkg_resources": {"parse_version": TorchVersion},
    "distutils": {},
    "distutils.util": {"strtobool": lambda text: text.lower() in {"1", "true", "yes"}},
    "requests": {},
}
"""Packages that the checkout imports and newer machines lack, each with what is asked of it."""


def published_options(width: int, *, resolution: int = 32, blocks: int = 2) -> ModelOptions:
    """Return the options of the published net at one width for all stages."""
    return ModelOptions(
        resolution=resolution,
        z_dim=64,
        style_dim=64,
        width=width,
        max_width=width,
        discriminator_width=width,
        blocks=blocks,
        group_size=1,
        block="bottleneck",
        conditioning="concatenate",
    )


def plain_training(**more: Any) -> TrainingOptions:
    """Return settings of the published loss alone, without anything that the published step does not do."""
    plain: dict[str, Any] = {"feature_weight": 0, "mismatch_weight": 0, "contrast_weight": 0}
    plain |= {"condition_dropout": 0, "condition_jitter": 0}
    same: dict[str, Any] = {"augment": 0.0, "flip": False, "threads": 1, "warmup_kimg": 0}
    return TrainingOptions(**(plain | same | more))


def class_spec(n_classes: int) -> ConditionSpec:
    """Return the specification of one label."""
    return ConditionSpec((FieldSpec(FIELD, "label", n_classes),))


def random_pairs(n_images: int, resolution: int, n_classes: int, device: torch.device) -> TrainingPairs:
    """Return noise with random classes: what speed is measured on."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n_images, resolution, resolution, 3), dtype=np.uint8)
    classes = np.eye(n_classes, dtype=np.float32)[rng.integers(0, n_classes, n_images)]
    rows = np.arange(n_images)
    return TrainingPairs.of(images, rows, rows, of_image={FIELD: classes}).to(device)


def batches(pairs: TrainingPairs, batch_size: int, *, mirror: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield random (B, 3, R, R) images, with `mirror` half of them mirrored, and (B, n_classes) classes for ever."""
    rng = torch.Generator(pairs.device).manual_seed(0)
    while True:
        batch = pairs.draw(batch_size, 1, rng=rng)
        mirrored = torch.rand(batch_size, generator=rng, device=pairs.device) < (0.5 if mirror else 0.0)
        yield flip(batch.images, mirrored), batch.condition.values[FIELD]


class Gradients(NamedTuple):
    """Outputs of one step, and what it hands the optimizers."""

    images: Tensor
    logits: Tensor
    """Of real and made images, one behind the other."""
    generator: list[Tensor]
    discriminator: list[Tensor]


class Published:
    """The published nets, trainer, optimizers and average, put together as the published loop does."""

    def __init__(
        self,
        checkout: Path,
        model: ModelOptions,
        n_classes: int,
        device: torch.device,
        *,
        operators: str = "own",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Build the nets; in bfloat16 all stages but those at 4x4, as published.

        "own" operators are those that the code takes by itself (on a GPU CUDA extensions, which it compiles at first
        use); "reference" are its own ones of native torch operators.

        Raises:
            ConfigError: there is no such checkout, or it cannot be imported.
        """
        modules = _modules(checkout)
        networks: Any = modules["Networks"]
        for home, name in _CHOSEN:
            setattr(networks, name, getattr(modules[home], name + _SUFFIX[operators]))
        widths = list(model.generator_widths)
        self.generator: nn.Module = networks.Generator(
            NoiseDimension=model.z_dim, ConditionEmbeddingDimension=model.style_dim, **_sizes(widths, model, n_classes)
        )
        self.discriminator: nn.Module = networks.Discriminator(
            ConditionEmbeddingDimension=widths[0], **_sizes(widths[::-1], model, n_classes)
        )
        for net, at_4_px in ((self.generator, 0), (self.discriminator, len(widths) - 1)):
            net.to(device, torch.float64 if dtype == torch.float64 else torch.float32).requires_grad_(
                requires_grad=False
            )
            for k, stage in enumerate(cast("Any", net).MainLayers):
                stage.DataType = torch.float32 if dtype == torch.bfloat16 and k == at_4_px else dtype
        self.trainer = modules["Trainer"].AdversarialTraining(self.generator, self.discriminator)
        self.average = copy.deepcopy(self.generator).eval()
        self.optimizers = {
            net: torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.0, 0.9), eps=1e-8)
            for net in (self.discriminator, self.generator)
        }
        self.device, self.z_dim, self.seen_img = device, model.z_dim, 0

    def step(
        self,
        data: Iterator[tuple[Tensor, Tensor]],
        *,
        gamma: float,
        learning_rate: float = 2e-4,
        beta2: float = 0.9,
        half_life_img: float = 5000.0,
    ) -> None:
        """Train D on one batch, then G on the next, and move the average."""
        batch_size = 0
        for net in (self.discriminator, self.generator):
            images, classes = next(data)
            batch_size, optimizer = len(images), self.optimizers[net]
            z = torch.randn(batch_size, self.z_dim, device=self.device)
            self._accumulate(net, z, images, classes, gamma)
            optimizer.param_groups[0] |= {"lr": learning_rate, "betas": (0.0, beta2)}
            optimizer.step()
        self.seen_img += batch_size
        beta = 0.5 ** (batch_size / max(half_life_img, 1e-8))
        with torch.no_grad():
            for average, weight in zip(self.average.parameters(), self.generator.parameters(), strict=True):
                average.copy_(weight.lerp(average, beta))

    def gradients(self, z: Tensor, images: Tensor, classes: Tensor, gamma: float) -> Gradients:
        """Return outputs and gradients of both players before any of them moves."""
        with torch.no_grad():
            made = self.generator(z, classes)
            logits = torch.cat([self.discriminator(x, classes) for x in (images, made)])
        for net in (self.discriminator, self.generator):
            self._accumulate(net, z, images, classes, gamma)
        return Gradients(made, logits, *(_gradients(net.parameters()) for net in (self.generator, self.discriminator)))

    def stir(self) -> None:
        """Give other values to weights that start at zero, so that all of a net shows in its outputs."""
        rng = torch.Generator().manual_seed(0)
        for weight in chain(self.generator.parameters(), self.discriminator.parameters()):
            if not weight.any():
                fan_in = weight[0].numel() if weight.ndim > 1 else 100
                weight.copy_(torch.randn(weight.shape, generator=rng) * 0.5 / math.sqrt(fan_in))

    @torch.no_grad()
    def copy_into(self, generator: nn.Module, discriminator: nn.Module) -> None:
        """Give our nets these weights."""
        for theirs, ours in ((self.generator, generator), (self.discriminator, discriminator)):
            for source, target in zip(theirs.parameters(), in_published_order(ours), strict=True):
                target.copy_(source.view_as(target))

    def _accumulate(self, net: nn.Module, z: Tensor, images: Tensor, classes: Tensor, gamma: float) -> None:
        """Leave the gradients of one player's loss in its parameters."""
        self.optimizers[net].zero_grad(set_to_none=True)
        net.requires_grad_(requires_grad=True)
        if net is self.generator:
            self.trainer.AccumulateGeneratorGradients(z, images, classes)
        else:
            self.trainer.AccumulateDiscriminatorGradients(z, images, classes, gamma)
        net.requires_grad_(requires_grad=False)


def disagreement(
    checkout: Path,
    model: ModelOptions,
    device: torch.device,
    *,
    dtype: torch.dtype,
    batch_size: int,
    operators: str = "reference",
    gamma: float = 2.0,
) -> dict[str, float]:
    """Return relative differences |ours - theirs| / |theirs| of outputs and gradients at the same weights and inputs.

    Of gradients there are two: of all weights as one vector, and the largest of any tensor. Where an input of a leaky
    ReLU rounds to the other side of zero, a whole term of a gradient changes: in float32 a tensor of few numbers may
    then differ by 1e-4, in float64 none does (which one of their own operators does not take).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = Published(checkout, model, 10, device, operators=operators, dtype=dtype)
    theirs.stir()
    spec = class_spec(10)
    generator = build_generator(model, spec).to(device, dtype)
    discriminator = build_discriminator(model, spec).to(device, dtype)
    theirs.copy_into(generator, discriminator)
    rng = torch.Generator().manual_seed(0)
    shape = (batch_size, 3, model.resolution, model.resolution)
    z, images = (torch.randn(size, generator=rng).to(device, dtype) for size in ((batch_size, model.z_dim), shape))
    classes = torch.eye(10)[torch.arange(batch_size) % 10].to(device, dtype)
    condition = Condition({FIELD: classes})
    with torch.no_grad():
        made = generator(z, condition)
        logits = torch.cat([discriminator(x, condition) for x in (images, made)])
    objective = Adversarial(
        generator=generator,
        discriminator=discriminator,
        feature_discriminator=None,
        contrast=None,
        frozen=None,
        options=plain_training(),
        latent_group=1,
        penalised=True,
        conditional=True,
        dtype=dtype,
    )
    zero, views = torch.zeros((), device=device), torch.zeros(2, batch_size, 10, device=device)
    person = torch.arange(batch_size, device=device)
    weight = torch.tensor(gamma, device=device)
    loss, _ = objective(StepInputs(images, condition, condition, person, z, views, zero, weight, zero))
    loss.backward()
    nets = (generator, discriminator)
    ours = Gradients(made, logits, *(_gradients(in_published_order(net)) for net in nets))
    return _differences(ours, theirs.gradients(z, images, classes, gamma))


def in_published_order(net: nn.Module) -> Iterator[Tensor]:
    """Yield the weights of one of our nets in the order in which the published code registers its own."""
    if isinstance(net, BottleneckGenerator):
        yield net.basis
        yield from _weights(net.to_basis, net.base, net.stages, net.to_rgb, net.encoder)
    elif isinstance(net, BottleneckDiscriminator):
        yield from _weights(net.from_rgb, net.stages, net.last)
        yield net.basis
        yield from _weights(net.flatten, net.encoder)


def _differences(ours: Gradients, theirs: Gradients) -> dict[str, float]:
    found = {"images": _relative(ours.images, theirs.images), "logits": _relative(ours.logits, theirs.logits)}
    for name, own, other in (
        ("generator", ours.generator, theirs.generator),
        ("discriminator", ours.discriminator, theirs.discriminator),
    ):
        pairs = [(a, b.view_as(a)) for a, b in zip(own, other, strict=True)]
        vectors = (torch.cat([tensor.flatten() for tensor in side]) for side in zip(*pairs, strict=True))
        found[f"{name}_gradient"] = _relative(*vectors)
        found[f"{name}_worst_tensor"] = max(_relative(a, b) for a, b in pairs)
    return found


def _relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).double().norm() / b.double().norm().clamp(min=1e-300))


def _gradients(weights: Iterator[Any]) -> list[Tensor]:
    return [cast("Tensor", weight.grad) for weight in weights]


def _weights(*modules: nn.Module) -> Iterator[Tensor]:
    """Yield the weights below modules; of a block first its matrices, then its biases."""
    for module in modules:
        if isinstance(module, Bottleneck):
            yield from (layer.weight for layer in (module.expand, module.grouped, module.project))
            yield from (cast("Tensor", layer.bias) for layer in (module.expand, module.grouped))
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            yield module.weight
        else:
            yield from _weights(*module.children())


def _sizes(widths: list[int], model: ModelOptions, n_classes: int) -> dict[str, Any]:
    """Return the arguments that both published nets take."""
    groups = [model.expansion * width // math.gcd(model.expansion * width, _PER_GROUP) for width in widths]
    return {
        "WidthPerStage": widths,
        "CardinalityPerStage": groups,
        "BlocksPerStage": [model.blocks] * len(widths),
        "ExpansionFactor": model.expansion,
        "ConditionDimension": n_classes,
    }


def _modules(checkout: Path) -> dict[str, ModuleType]:
    """Return the modules of the checkout.

    Raises:
        ConfigError: there is no such checkout, or it cannot be imported.
    """
    if not (checkout / "R3GAN" / "Networks.py").is_file():
        raise ConfigError(
            f"{checkout} holds no R3GAN/Networks.py. Clone https://github.com/brownvc/R3GAN and name its folder. "
            "Nothing was measured."
        )
    if str(checkout) not in sys.path:
        sys.path.insert(0, str(checkout))
    names = ("Networks", "Trainer", "FusedOperators", "Resamplers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for name, content in _STANDINS.items():
                _stand_in(name, content)
            return {name: importlib.import_module(f"R3GAN.{name}") for name in names}
        except ImportError as error:
            raise ConfigError(f"{checkout} cannot be imported: {error}. Nothing was measured.") from error


def _stand_in(name: str, content: Mapping[str, Any]) -> None:
    """Put a module with `content` where the package `name` is missing."""
    try:
        importlib.import_module(name)
    except ImportError:
        module = ModuleType(name)
        vars(module).update(content)
        sys.modules[name] = module
