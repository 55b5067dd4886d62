"""A training as files: pairs, condition, nets and options, for processes and machines that have nothing else.

`pairs.safetensors` holds the tensors, `job.json`, written last, the rest with the digest of the pairs. The checkpoint
of the training lies beside them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from personalgen.artifacts import atomic_path, canonical_json, digest_of, read_json, write_json
from personalgen.conditions import Condition, ConditionSpec
from personalgen.errors import ArtifactError
from personalgen.models import ModelOptions
from personalgen.training.dataset import Behaviour, TrainingPairs
from personalgen.training.options import WITHOUT_EFFECT, TrainingOptions

JOB = "job.json"
PAIRS = "pairs.safetensors"
_FORMAT = 1


@dataclass(frozen=True)
class Job:
    """All that a training is a function of, but what it starts from: that is its first checkpoint."""

    pairs: TrainingPairs
    spec: ConditionSpec
    model: ModelOptions
    options: TrainingOptions

    @cached_property
    def identity(self) -> dict[str, str]:
        """Return what the training's result depends on, by name: settings as JSON, pairs and fields as digests."""
        return settings_identity(self.spec, self.model, self.options) | {"pairs": self.pairs.digest()}


def settings_identity(spec: ConditionSpec, model: ModelOptions, options: TrainingOptions) -> dict[str, str]:
    """Return what a training's result depends on beside its pairs, by name: settings as JSON, fields as a digest."""
    settings = {f"model.{name}": value for name, value in asdict(model).items()}
    settings |= {f"train.{name}": value for name, value in asdict(options).items() if name not in WITHOUT_EFFECT}
    return {name: canonical_json(value) for name, value in settings.items()} | {"fields": digest_of(spec.to_dict())}


def save_job(folder: Path, job: Job) -> Path:
    """Write the job to `folder`; return the path of its JSON."""
    tensors = {name: value.cpu().contiguous() for name, value in _tensors(job.pairs)}
    with atomic_path(folder / PAIRS) as temporary:
        save_file(tensors, temporary)
    behaviour = job.pairs.behaviour
    return write_json(
        folder / JOB,
        {
            "format": _FORMAT,
            "spec": job.spec.to_dict(),
            "model": job.model,
            "train": job.options,
            "of_pair": _names(job.pairs.of_pair),
            "of_image": _names(job.pairs.of_image),
            "behaviour": {"name": behaviour.name, "longest": behaviour.longest} if behaviour else None,
            "pairs_digest": job.identity["pairs"],
        },
    )


def load_job(folder: Path) -> Job:
    """Return the job in `folder`.

    Raises:
        ArtifactError: there is none, a file is damaged, or another version wrote it.
    """
    if not (folder / JOB).is_file():
        raise ArtifactError(
            f"{folder} is not the folder of a training job: it holds no {JOB}. Write one with `personalgen train "
            "--job-only`. Nothing was trained."
        )
    raw = read_json(folder / JOB)
    if raw.get("format") != _FORMAT:
        raise ArtifactError(
            f"{folder / JOB} has format {raw.get('format')}, this version reads {_FORMAT}. Write it again with "
            "`personalgen train --job-only`, or train it with the version that wrote it. Nothing was trained."
        )
    try:
        pairs = _pairs(raw, load_file(folder / PAIRS))
        spec, model = ConditionSpec.from_dict(raw["spec"]), ModelOptions(**raw["model"])
        job = Job(pairs, spec, model, TrainingOptions(**raw["train"]))
    except Exception as error:
        raise ArtifactError(
            f"{folder} does not hold a training job of this version: {error}. Write it again with `personalgen train "
            "--job-only`. Nothing was trained."
        ) from error
    if pairs.digest() != raw["pairs_digest"]:
        raise ArtifactError(
            f"{folder / PAIRS} is not what {folder / JOB} describes: one of them was not copied whole. Copy both "
            "again. Nothing was trained."
        )
    return job


def _tensors(pairs: TrainingPairs) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor under a stable name."""
    for place, value in vars(pairs).items():
        if isinstance(value, Condition):
            yield from ((f"{place}.value.{name}", tensor) for name, tensor in value.values.items())
            yield from ((f"{place}.mask.{name}", tensor) for name, tensor in value.masks.items())
        elif isinstance(value, Behaviour):
            yield from ((f"{place}.{name}", x) for name, x in vars(value).items() if isinstance(x, Tensor))
        elif isinstance(value, Tensor):
            yield place, value


def _names(condition: Condition) -> dict[str, list[str]]:
    """Return the names of values and masks in their order, which a file of tensors does not keep."""
    return {"values": list(condition.values), "masks": list(condition.masks)}


def _pairs(raw: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> TrainingPairs:
    """Return the pairs of a job's JSON and tensors."""
    conditions = {
        place: Condition(
            {name: tensors[f"{place}.value.{name}"] for name in raw[place]["values"]},
            {name: tensors[f"{place}.mask.{name}"] for name in raw[place]["masks"]},
        )
        for place in ("of_pair", "of_image")
    }
    parts: dict[str, Any] = {name: tensor for name, tensor in tensors.items() if "." not in name}
    if raw["behaviour"]:
        rows = {name.removeprefix("behaviour."): x for name, x in tensors.items() if name.startswith("behaviour.")}
        parts["behaviour"] = Behaviour(**(raw["behaviour"] | rows))
    return TrainingPairs(**(parts | conditions))
