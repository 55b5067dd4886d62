"""Everything a training needs to go on: nets, average, optimizers, clock and random state; saved without pickle."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from personalgen.artifacts import atomic_path, canonical_json
from personalgen.conditions import ConditionSpec
from personalgen.embeddings.content import TAP_CHANNELS
from personalgen.errors import ArtifactError
from personalgen.models import (
    FeatureDiscriminator,
    Generator,
    ImageEncoder,
    build_discriminator,
    build_generator,
    ema_copy,
    load_generator,
)
from personalgen.models.card import stored
from personalgen.training.checkpoints import CHECKPOINT, newest_whole, write_checkpoint
from personalgen.training.contrast import PreferenceContrast
from personalgen.training.job import Job
from personalgen.training.team import Team

COMPANIONS = "companions.safetensors"
_COMPANIONS = ("discriminator", "feature_discriminator", "contrast", "image_encoder")
"""Nets that learn beside a generator; one that goes on without them has to wait for fresh ones."""
_WITH_THE_GENERATOR = ("generator", "image_encoder")
"""Nets that the generator's optimizer moves; the other one moves its opponents."""
BETAS = (0.0, 0.99)
_VAE_BETAS = (0.9, 0.99)
"""Momentum helps a bound and harms a game."""

N = TypeVar("N", bound=nn.Module)


@dataclass
class TrainingState:
    """The mutable state of one training."""

    nets: dict[str, nn.Module]
    """All that learns, by name: the generator and, as the family has them, its opponents or its encoder."""
    average: Generator
    """The generator's moving average: the weights that are used."""
    optimizers: dict[str, torch.optim.Adam]
    """"generator" and, in an adversarial family, "opponents"."""
    rng: torch.Generator
    """The only source of random numbers, on the training's device: it is where in the data the training stands, too."""
    identity: Mapping[str, str]
    """What the training's result depends on (`Job.identity`): a checkpoint of another training is not taken."""
    seen_img: int = 0
    start_kimg: float = 0.0
    """Images seen by the weights that this training started from."""
    rollbacks: int = 0
    """How often this training went back to a checkpoint because it diverged or collapsed."""

    @property
    def generator(self) -> Generator:
        """The net that is trained."""
        return cast("Generator", self.nets["generator"])


def new_state(job: Job, *, device: torch.device) -> TrainingState:
    """Return the state that a job begins with, freshly initialised: the weights depend on nets and seed alone."""
    options = job.options
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        nets = {name: _on(device, net) for name, net in _nets(job)}
    parts = {"generator": _WITH_THE_GENERATOR, "opponents": tuple(nets.keys() - set(_WITH_THE_GENERATOR))}
    learning = {
        part: [p for name, net in nets.items() if name in names for p in net.parameters() if p.requires_grad]
        for part, names in parts.items()
    }
    betas = _VAE_BETAS if job.model.family == "vae" else BETAS
    kind = {"fused": True} if device.type == "cuda" else {"foreach": True}
    optimizers = {
        part: torch.optim.Adam(weights, lr=options.learning_rate, betas=betas, **kind)
        for part, weights in learning.items()
        if weights
    }
    for optimizer in optimizers.values():
        _give_moments(optimizer)
    average = ema_copy(cast("Generator", nets["generator"]))
    rng = torch.Generator(device).manual_seed(options.seed)
    return TrainingState(nets, average, optimizers, rng, identity=job.identity)


def _nets(job: Job) -> Iterator[tuple[str, nn.Module]]:
    """Yield what learns, by name."""
    model, spec, options = job.model, job.spec, job.options
    yield "generator", build_generator(model, spec)
    if model.family == "vae":
        yield "image_encoder", ImageEncoder(model, spec)
        return
    yield "discriminator", build_discriminator(model, spec)
    if options.feature_weight:
        yield (
            "feature_discriminator",
            FeatureDiscriminator(
                TAP_CHANNELS,
                spec,
                style_dim=model.style_dim,
                group_size=model.group_size,
                conditioning=model.conditioning,
            ),
        )
    of_people = job.pairs.fields_of_people
    known = ConditionSpec(tuple(entry for entry in spec.fields if entry.name in of_people))
    if options.contrast_weight and known.fields:
        yield "contrast", PreferenceContrast(known, model.style_dim)


def _on(device: torch.device, net: N) -> N:
    """Return the net on the device with channels last, in which convolutions run fastest."""
    for parameter in net.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return net.to(device)


def save_checkpoint(folder: Path, state: TrainingState) -> Path:
    """Write the whole state to one file, atomically; return its path. The checkpoint before it is kept beside it."""
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in _tensors(state)}
    tensors["rng"] = state.rng.get_state()
    meta = {name: str(getattr(state, name)) for name in ("seen_img", "start_kimg", "rollbacks")}
    meta["training"] = canonical_json(state.identity)
    return write_checkpoint(folder, tensors, meta)


def broken_parts(state: TrainingState) -> list[str]:
    """Return which nets and optimizers hold a number that is not finite, by name."""
    bad = (name for name, value in _tensors(state) if not bool(value.isfinite().all()))
    return sorted({name.split(".")[0] for name in bad})


def load_checkpoint(folder: Path, state: TrainingState) -> bool:
    """Fill `state` from the newest whole checkpoint in `folder`; return False where there is none.

    On another kind of device than the one that wrote it, the training goes on with other random numbers.

    Raises:
        ArtifactError: the checkpoint belongs to another training.
    """
    found = newest_whole(folder)
    if found is None:
        return False
    path, saved, meta = found.path, found.tensors, found.meta
    if differences := list(_differences(json.loads(meta.get("training", "{}")), state.identity)):
        raise ArtifactError(
            f"{path} belongs to another training: {'; '.join(differences)}. Go on with what wrote it, or train in "
            "another folder. Nothing was changed."
        )
    own = dict(_tensors(state))
    shapes = {name: value.shape for name, value in saved.items() if name != "rng"}
    if {name: value.shape for name, value in own.items()} != shapes:
        name, there, here = _first_difference(shapes, {name: value.shape for name, value in own.items()})
        raise ArtifactError(
            f"{path} belongs to nets of another shape: {name} is {there} there and {here} here. Train with the options "
            "that wrote it, or delete it to train from the start."
        )
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(saved[name])
    state.seen_img, state.start_kimg = int(meta["seen_img"]), float(meta["start_kimg"])
    state.rollbacks = int(meta["rollbacks"])
    _go_on_drawing(state, saved["rng"])
    return True


def _differences(there: Mapping[str, str], here: Mapping[str, str]) -> Iterator[str]:
    """Yield in which way two trainings are not the same."""
    if not there:
        yield "an earlier version wrote it, and it does not say of what"
        return
    for name in sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name)):
        if "." in name:
            yield f"{name} was {there.get(name, 'not known')} and is {here.get(name, 'not known')}"
        else:
            yield f"its {name} are others"


def _first_difference(saved: dict[str, torch.Size], own: dict[str, torch.Size]) -> tuple[str, str, str]:
    """Return the first tensor that is not the same in both, and what it is in either."""
    name = next(name for name in sorted(saved.keys() | own.keys()) if saved.get(name) != own.get(name))
    there, here = (str(tuple(shapes[name])) if name in shapes else "missing" for shapes in (saved, own))
    return name, there, here


def follow_first(state: TrainingState, team: Team) -> None:
    """Make the state of every member of a team that of the first one."""
    if team.size == 1:
        return
    for _, value in _tensors(state):
        team.follow_first(value)
    random = state.rng.get_state()
    clock = torch.tensor([state.seen_img, state.start_kimg, state.rollbacks], dtype=torch.float64)
    team.follow_first(random)
    team.follow_first(clock)
    state.rng.set_state(random)
    state.seen_img, state.start_kimg, state.rollbacks = int(clock[0]), float(clock[1]), int(clock[2])


def save_companions(folder: Path, checkpoint_folder: Path, *, half: bool = False) -> Path:
    """Copy what learned beside the generator from a checkpoint to `folder`, so that a later training starts from both.

    With `half`, weights are stored as float16.
    """
    prefixes = tuple(f"{name}." for name in _COMPANIONS)
    with safe_open(checkpoint_folder / CHECKPOINT, framework="pt") as stream:
        names = [name for name in stream.keys() if name.startswith(prefixes)]  # noqa: SIM118 - not a mapping
        tensors = {name: stream.get_tensor(name) for name in names}
    path = folder / COMPANIONS
    with atomic_path(path) as temporary:
        save_file({name: stored(value, half=half) for name, value in tensors.items()}, temporary)
    return path


def start_from(folder: Path, state: TrainingState) -> None:
    """Fill the nets of `state` from a trained model's folder: a warm start of all that learns.

    Layers go by name and shape. A net for larger pictures takes the stages it shares with one for smaller pictures
    and starts the others fresh: growing is a training that starts from a smaller model. Nets that the folder lacks
    start fresh.
    """
    generator, card = load_generator(folder)
    _fill(state.generator, generator.state_dict())
    _fill(state.average, generator.state_dict())
    state.start_kimg = card.trained_kimg
    path = folder / COMPANIONS
    saved = load_file(path) if path.is_file() else {}
    for name in _COMPANIONS:
        if net := state.nets.get(name):
            prefix = f"{name}."
            _fill(net, {key.removeprefix(prefix): value for key, value in saved.items() if key.startswith(prefix)})


def _fill(net: nn.Module, saved: dict[str, Tensor]) -> None:
    """Copy what has the same name and shape."""
    own = net.state_dict()
    net.load_state_dict(
        own | {key: value for key, value in saved.items() if key in own and own[key].shape == value.shape}
    )


def _tensors(state: TrainingState) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor of the state under a stable name."""
    for name, part in {**state.nets, "average": state.average}.items():
        yield from ((f"{name}.{key}", value) for key, value in part.state_dict().items())
    for name, optimizer in state.optimizers.items():
        for k, parameter in enumerate(optimizer.param_groups[0]["params"]):
            for key, value in sorted(optimizer.state[parameter].items()):
                yield f"{name}_optimizer.{k}.{key}", value


def _go_on_drawing(state: TrainingState, saved: Tensor) -> None:
    """Take up the random numbers of a checkpoint; where another kind of device drew them, begin others."""
    if len(saved) == len(state.rng.get_state()):
        state.rng.set_state(saved)
    else:
        state.rng.manual_seed(state.rng.initial_seed() + 1_000_003 * state.rollbacks + state.seen_img)


def _give_moments(optimizer: torch.optim.Adam) -> None:
    """Give Adam its (zero) moments before the first step, so that every checkpoint has all of them."""
    for parameter in optimizer.param_groups[0]["params"]:
        device = parameter.device if optimizer.defaults["fused"] else torch.device("cpu")
        optimizer.state[parameter] = {
            "step": torch.zeros((), dtype=torch.float32, device=device),
            "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
            "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
        }
