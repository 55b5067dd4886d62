"""A generator on disk: `generator.safetensors` and `card.json`; nothing is unpickled."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from personalgen.artifacts import check_file, read_json, sha256_file, weights_key, write_bytes, write_json
from personalgen.conditions import ConditionSpec
from personalgen.errors import ArtifactError, PersonalgenError
from personalgen.models.families import build_generator
from personalgen.models.generator import Generator
from personalgen.models.options import ModelOptions

WEIGHTS = "generator.safetensors"
CARD = "card.json"


@dataclass(frozen=True)
class ModelCard:
    """What must be known of a generator to use it; stored beside its weights."""

    generator_sha256: str
    """Digest of generator.safetensors: the model's identity."""
    options: ModelOptions
    spec: ConditionSpec
    basis_version: str
    """The embedding basis whose vectors this generator understands; others are refused."""
    trained_kimg: float
    """Thousands of images seen, warm start included."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Free: command, splits, figures, licence."""

    @property
    def generator_digest(self) -> int:
        """63 bits of the weights' digest, the key under which assets are stored."""
        return weights_key(self.generator_sha256)


def save_generator(
    folder: Path,
    generator: Generator,
    *,
    basis_version: str,
    trained_kimg: float,
    facts: Mapping[str, Any] | None = None,
    half: bool = False,
) -> ModelCard:
    """Write weights, then card, atomically; return the card.

    With `half`, weights are stored as float16: half the bytes, differences of about 1/1000, another identity.
    """
    state = {name: stored(value, half=half) for name, value in generator.state_dict().items()}
    path = write_bytes(folder / WEIGHTS, save(state))
    card = ModelCard(
        generator_sha256=sha256_file(path),
        options=generator.options,
        spec=generator.spec,
        basis_version=basis_version,
        trained_kimg=trained_kimg,
        facts=dict(facts or {}),
    )
    write_json(folder / CARD, {**asdict(card), "spec": card.spec.to_dict()})
    return card


def stored(value: Tensor, *, half: bool) -> Tensor:
    """Return a tensor as files hold it: numbers in float32 or float16, counts as they are."""
    kind = torch.float16 if half else torch.float32
    return value.detach().to("cpu", kind if value.is_floating_point() else value.dtype).contiguous()


def load_card(folder: Path) -> ModelCard:
    """Return the card in `folder`.

    Raises:
        ArtifactError: there is none, or this version cannot read it.
    """
    raw = read_json(folder / CARD)
    try:
        parsed = {"options": ModelOptions(**raw["options"]), "spec": ConditionSpec.from_dict(raw["spec"])}
        return ModelCard(**{**raw, **parsed})
    except (KeyError, TypeError, PersonalgenError) as error:
        raise ArtifactError(
            f"{folder / CARD} is not a model card of this version: {error}. Nothing was loaded."
        ) from error


def load_generator(folder: Path, *, device: torch.device | str = "cpu") -> tuple[Generator, ModelCard]:
    """Return the generator in evaluation mode and its card, after checking the weights' digest.

    Raises:
        ArtifactError: a file is missing, or the weights are not those of the card.
    """
    card = load_card(folder)
    path = check_file(folder / WEIGHTS, card.generator_sha256)
    generator = build_generator(card.options, card.spec)
    try:
        generator.load_state_dict(load(path.read_bytes()))
    except RuntimeError as error:
        raise ArtifactError(f"{path} does not hold the weights that {folder / CARD} describes: {error}") from error
    return generator.to(device).eval(), card
