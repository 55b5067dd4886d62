"""Everything a training needs to go on: nets, average, optimizers, clock and random state; saved without pickle."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from personalgen.artifacts import atomic_path
from personalgen.conditions import ConditionSpec
from personalgen.embeddings.content import TAP_CHANNELS
from personalgen.errors import ArtifactError
from personalgen.models import (
    Discriminator,
    FeatureDiscriminator,
    Generator,
    ModelOptions,
    build_discriminator,
    build_generator,
    ema_copy,
    load_generator,
)
from personalgen.training.options import TrainingOptions

CHECKPOINT = "checkpoint.safetensors"
DISCRIMINATORS = "discriminators.safetensors"
_JUDGES = ("discriminator.", "feature_discriminator.")
BETAS = (0.0, 0.99)

N = TypeVar("N", bound=nn.Module)


@dataclass
class TrainingState:
    """The mutable state of one training."""

    generator: Generator
    average: Generator
    discriminator: Discriminator
    feature_discriminator: FeatureDiscriminator | None
    g_optimizer: torch.optim.Adam
    d_optimizer: torch.optim.Adam
    seen_img: int = 0
    start_kimg: float = 0.0
    """Images seen by the weights that this training started from."""


def new_state(
    model: ModelOptions, spec: ConditionSpec, options: TrainingOptions, *, device: torch.device
) -> TrainingState:
    """Return a freshly initialised state; the weights depend on the seed alone."""
    torch.manual_seed(options.seed)
    generator = _on(device, build_generator(model, spec))
    discriminator = _on(device, build_discriminator(model, spec))
    feature_discriminator = None
    if options.feature_weight:
        feature_discriminator = _on(
            device, FeatureDiscriminator(TAP_CHANNELS, spec, style_dim=model.style_dim, group_size=model.group_size)
        )
    judged = [net for net in (discriminator, feature_discriminator) if net is not None]
    learning = [p for net in judged for p in net.parameters() if p.requires_grad]
    return TrainingState(
        generator=generator,
        average=ema_copy(generator),
        discriminator=discriminator,
        feature_discriminator=feature_discriminator,
        g_optimizer=torch.optim.Adam(generator.parameters(), lr=options.learning_rate, betas=BETAS, foreach=True),
        d_optimizer=torch.optim.Adam(learning, lr=options.learning_rate, betas=BETAS, foreach=True),
    )


def _on(device: torch.device, net: N) -> N:
    """Return the net on the device with channels last, in which convolutions run fastest."""
    for parameter in net.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return net.to(device)


def save_checkpoint(folder: Path, state: TrainingState) -> Path:
    """Write the whole state to one file, atomically; return its path."""
    tensors = {name: value.detach().contiguous().cpu() for name, value in _tensors(state)}
    tensors["rng"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["rng_cuda"] = torch.cuda.get_rng_state()
    meta = {"seen_img": str(state.seen_img), "start_kimg": str(state.start_kimg)}
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
    shapes = {name: value.shape for name, value in saved.items() if name not in {"rng", "rng_cuda"}}
    if {name: value.shape for name, value in own.items()} != shapes:
        raise ArtifactError(f"{path} belongs to nets of another shape. Delete it to train from the start.")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(saved[name])
    torch.set_rng_state(saved["rng"])
    if "rng_cuda" in saved and torch.cuda.is_available():
        torch.cuda.set_rng_state(saved["rng_cuda"])
    state.seen_img, state.start_kimg = int(meta["seen_img"]), float(meta["start_kimg"])
    return True


def save_discriminators(folder: Path, checkpoint_folder: Path, *, half: bool = False) -> Path:
    """Copy the discriminators of a checkpoint to `folder`, so that a later training can start from both players.

    With `half`, weights are stored as float16.
    """
    with safe_open(checkpoint_folder / CHECKPOINT, framework="pt") as stream:
        names = [name for name in stream.keys() if name.startswith(_JUDGES)]  # noqa: SIM118 - not a mapping
        tensors = {name: stream.get_tensor(name) for name in names}
    path = folder / DISCRIMINATORS
    with atomic_path(path) as temporary:
        save_file({name: value.half() if half else value for name, value in tensors.items()}, temporary)
    return path


def start_from(folder: Path, state: TrainingState) -> None:
    """Fill the nets of `state` from a trained model's folder: a warm start of both players.

    Layers go by name and shape. A net for larger pictures takes the stages it shares with one for smaller pictures
    and starts the others fresh: growing is a training that starts from a smaller model. Discriminators that the
    folder lacks start fresh.
    """
    generator, card = load_generator(folder)
    _fill(state.generator, generator.state_dict())
    _fill(state.average, generator.state_dict())
    state.start_kimg = card.trained_kimg
    path = folder / DISCRIMINATORS
    saved = load_file(path) if path.is_file() else {}
    for prefix, net in zip(_JUDGES, (state.discriminator, state.feature_discriminator), strict=True):
        if net is not None:
            _fill(net, {key.removeprefix(prefix): value for key, value in saved.items() if key.startswith(prefix)})


def _fill(net: nn.Module, saved: dict[str, Tensor]) -> None:
    """Copy what has the same name and shape."""
    own = net.state_dict()
    net.load_state_dict(
        own | {key: value for key, value in saved.items() if key in own and own[key].shape == value.shape}
    )


def _tensors(state: TrainingState) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor of the state under a stable name."""
    parts = {
        "generator": state.generator,
        "average": state.average,
        "discriminator": state.discriminator,
        "feature_discriminator": state.feature_discriminator,
    }
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
