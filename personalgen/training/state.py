"""Everything a training needs to go on: nets, average, optimizers, clock and random state; saved without pickle."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from personalgen.artifacts import atomic_path
from personalgen.conditions import ConditionSpec
from personalgen.errors import ArtifactError
from personalgen.models import Discriminator, FeatureDiscriminator, Generator, ModelOptions, ema_copy, load_generator
from personalgen.training.options import TrainingOptions

CHECKPOINT = "checkpoint.safetensors"
DISCRIMINATORS = "discriminators.safetensors"
BETAS = (0.0, 0.99)


@dataclass
class TrainingState:
    """The mutable state of one training."""

    generator: Generator
    average: Generator
    pixel: Discriminator | None
    feature: FeatureDiscriminator | None
    g_optimizer: torch.optim.Adam
    d_optimizer: torch.optim.Adam
    seen_img: int = 0
    start_kimg: float = 0.0
    """Images seen by the weights that this training started from."""
    history: list[dict[str, float]] = field(default_factory=list)

    def discriminators(self) -> nn.ModuleDict:
        """Return the discriminators that take part."""
        parts = {"pixel": self.pixel, "feature": self.feature}
        return nn.ModuleDict({name: part for name, part in parts.items() if part is not None})


def new_state(
    model: ModelOptions, spec: ConditionSpec, options: TrainingOptions, *, channels: list[int], device: torch.device
) -> TrainingState:
    """Return a freshly initialised state; `channels` are the widths of the frozen feature maps."""
    torch.manual_seed(options.seed)
    layout = torch.channels_last
    generator = Generator(model, spec).to(device, memory_format=layout)
    pixel = Discriminator(model, spec).to(device, memory_format=layout) if options.pixel_weight else None
    feature = None
    if options.feature_weight:
        feature = FeatureDiscriminator(channels, spec, style_dim=model.style_dim).to(device, memory_format=layout)
    parts = [part for part in (pixel, feature) if part is not None]
    trainable = [p for part in parts for p in part.parameters() if p.requires_grad]
    return TrainingState(
        generator=generator, average=ema_copy(generator), pixel=pixel, feature=feature,
        g_optimizer=torch.optim.Adam(generator.parameters(), lr=options.learning_rate, betas=BETAS, foreach=True),
        d_optimizer=torch.optim.Adam(trainable, lr=options.learning_rate, betas=BETAS, foreach=True),
    )


def save_checkpoint(folder: Path, state: TrainingState) -> Path:
    """Write the whole state to one file, atomically; return its path."""
    tensors = {name: value.detach().contiguous().cpu() for name, value in _tensors(state)}
    tensors["rng"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["rng_cuda"] = torch.cuda.get_rng_state()
    meta = {"seen_img": str(state.seen_img), "start_kimg": str(state.start_kimg), "history": json.dumps(state.history)}
    path = folder / CHECKPOINT
    with atomic_path(path) as temporary:
        save_file({name: value.clone() for name, value in tensors.items()}, temporary, metadata=meta)
    return path


def load_checkpoint(folder: Path, state: TrainingState) -> bool:
    """Fill `state` and the random generators from the checkpoint in `folder`; return False where there is none.

    Raises:
        ArtifactError: the checkpoint belongs to other nets or is damaged.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return False
    try:
        with safe_open(path, framework="pt") as stream:
            saved = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a mapping
            meta = stream.metadata()
    except Exception as error:
        raise ArtifactError(f"{path} cannot be read ({error}). Delete it to train from the start.") from error
    _prepare_optimizers(state)
    own = dict(_tensors(state))
    if set(own) != set(saved) - {"rng", "rng_cuda"}:
        raise ArtifactError(f"{path} belongs to nets of another shape. Delete it to train from the start.")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(saved[name])
    torch.set_rng_state(saved["rng"])
    if "rng_cuda" in saved and torch.cuda.is_available():
        torch.cuda.set_rng_state(saved["rng_cuda"])
    state.seen_img, state.start_kimg = int(meta["seen_img"]), float(meta["start_kimg"])
    state.history = json.loads(meta["history"])
    return True


def save_discriminators(folder: Path, checkpoint_folder: Path) -> Path:
    """Copy the discriminators of a checkpoint to `folder`, so that a later training can start from both players."""
    with safe_open(checkpoint_folder / CHECKPOINT, framework="pt") as stream:
        names = [name for name in stream.keys() if name.startswith(("pixel.", "feature."))]  # noqa: SIM118 - not a mapping
        tensors = {name: stream.get_tensor(name) for name in names}
    path = folder / DISCRIMINATORS
    with atomic_path(path) as temporary:
        save_file(tensors, temporary)
    return path


def start_from(folder: Path, state: TrainingState) -> None:
    """Fill the nets of `state` from a trained model's folder: a warm start of both players.

    Layers go by name and shape. A net for larger pictures takes the stages it shares with one for smaller pictures and starts
    the others fresh: growing is a training that starts from a smaller model. Without discriminators in the folder, they
    start fresh.
    """
    generator, card = load_generator(folder)
    _fill(state.generator, generator.state_dict())
    _fill(state.average, generator.state_dict())
    state.start_kimg = card.trained_kimg
    path = folder / DISCRIMINATORS
    saved = load_file(path) if path.is_file() else {}
    for name, net in state.discriminators().items():
        _fill(net, {key.removeprefix(f"{name}."): value.float() for key, value in saved.items() if key.startswith(f"{name}.")})


def _fill(net: nn.Module, saved: dict[str, Tensor]) -> None:
    """Copy what has the same name and shape."""
    own = net.state_dict()
    net.load_state_dict(own | {key: value for key, value in saved.items() if key in own and own[key].shape == value.shape})


def _tensors(state: TrainingState) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor of the state under a stable name."""
    parts = {"generator": state.generator, "average": state.average, "pixel": state.pixel, "feature": state.feature}
    for name, part in parts.items():
        if part is not None:
            yield from ((f"{name}.{key}", value) for key, value in part.state_dict().items())
    for name, optimizer in (("g_optimizer", state.g_optimizer), ("d_optimizer", state.d_optimizer)):
        for k, parameter in enumerate(optimizer.param_groups[0]["params"]):
            for key, value in sorted(optimizer.state.get(parameter, {}).items()):
                yield f"{name}.{k}.{key}", value


def _prepare_optimizers(state: TrainingState) -> None:
    """Give Adam its (zero) moments before the first step, so that a checkpoint can be copied into them."""
    for optimizer in (state.g_optimizer, state.d_optimizer):
        for parameter in optimizer.param_groups[0]["params"]:
            optimizer.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32),
                "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
            }
