"""Trains every combination of some settings on tonight's data, and measures each as a challenger is measured.

Nothing is registered and no user's images change: a sweep says which settings to give a night.
"""

import itertools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from personalgen.artifacts import canonical_json, digest_of, read_json, write_json
from personalgen.config import Settings, with_values
from personalgen.errors import ConfigError, DataError, LostProcessError, TrainingError
from personalgen.evaluation import Yardstick, measure
from personalgen.option_values import parse_value
from personalgen.registry.run import Run
from personalgen.steps.data import NightData
from personalgen.steps.embed import Embedded
from personalgen.steps.evaluate import finite_numbers
from personalgen.steps.night import Night
from personalgen.steps.train import recommender_facts, save_model, train_job, training_facts, training_job
from personalgen.steps.workspace import Workspace
from personalgen.steps.yardstick import pictures_of, yardstick_of
from personalgen.training import (
    Job,
    TrainingResult,
    seen_images,
)

STAGE = "sweep"
SECTIONS = ("train", "model")
_LAST, _RESULT = "last_metrics.json", "result.json"
_ENDS_A_RUN = "it ends a run and changes no result; --max-kimg says how far each combination is trained"
_REFUSED = {
    "train.max_minutes": _ENDS_A_RUN,
    "train.slice_kimg": _ENDS_A_RUN,
    "model.resolution": "tonight's pictures are prepared at one size; give it to a night of its own with --set",
}


@dataclass(frozen=True)
class Combination:
    """Settings of one training of a sweep."""

    values: Mapping[str, Any]
    """What was swept, by dotted key."""
    settings: Settings

    @property
    def key(self) -> str:
        """12 hex digits that name the combination, and its folder."""
        return digest_of([self.settings.digest(), canonical_json(self.values)])[:12]

    @property
    def pairs(self) -> list[str]:
        """The values as `--set` takes them."""
        return [f"{key}={_shown(value)}" for key, value in self.values.items()]


@dataclass(frozen=True)
class Swept:
    """One combination's training and what it reached."""

    values: dict[str, Any]
    pairs: list[str]
    """The same as `--set` takes it."""
    kimg: float
    """Thousands of images seen in this sweep."""
    figures: dict[str, float] = field(default_factory=dict)
    """The evaluation's figures on held-out people and items, beside diversity, rollbacks and img_per_sec."""
    folder: str = ""
    """Weights, card, companions and basis; empty where the training failed."""
    run_id: str = ""
    note: str = ""
    """Why a training failed, or why there are no figures."""


def combinations(settings: Settings, over: Sequence[str]) -> list[Combination]:
    """Return the settings of every combination of `over`: texts of the form KEY=VALUE,VALUE.

    Raises:
        ConfigError: a key cannot be swept or a value does not fit; nothing is started.
    """
    return [Combination(values, with_values(settings, values)) for values in combined(over)]


def sweep(
    workspace: Workspace, night: Night, embedded: Embedded, asked: Sequence[Combination], *, max_kimg: float = 0.0
) -> list[Swept]:
    """Return what every combination reached, by KID, the best first.

    Each is trained to its train.max_kimg, or to `max_kimg` of it, in a folder of its own, from what tonight's
    challenger starts from; where a model.* key is swept all start from scratch, since other nets cannot start there.
    The same sweep again goes on where it stopped, and with a larger `max_kimg` from where it ended.
    """
    with workspace.tracking.stage_run(STAGE, night.parent_run_id) as parent:
        bench = _Bench(workspace, night, embedded, parent)
        rows = [
            bench.swept(each, name=f"{STAGE} {k}/{len(asked)}", max_kimg=max_kimg) for k, each in enumerate(asked, 1)
        ]
        rows.sort(key=lambda row: row.figures.get("kid", float("inf")))
        parent.log_dict([asdict(row) for row in rows], name="sweep.json")
    return rows


def combined(over: Sequence[str]) -> list[dict[str, Any]]:
    """Return every combination of the values of texts KEY=VALUE,VALUE: the last key varies fastest.

    Raises:
        ConfigError: a text is of another form, or its key cannot be swept; all faults in one message.
    """
    if faults := list(_faults(over)):
        raise ConfigError("; ".join(faults) + ". Nothing was started.")
    choices = {_key(text): _values(text) for text in over}
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]


def _faults(over: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with each text."""
    if not over:
        yield "a sweep needs at least one --over key=value,value, for example --over train.r1_gamma=0.5,1,2"
    keys = [_key(text) for text in over]
    for text, key in zip(over, keys, strict=True):
        if not _values(text):
            yield f"--over {text!r} is not of the form key=value,value, for example --over train.r1_gamma=0.5,1,2"
        elif key.partition(".")[0] not in SECTIONS:
            yield (
                f"{key} cannot be swept: only train.* and model.* can, since combinations are compared on one night's "
                "data by one yardstick"
            )
        elif key in _REFUSED:
            yield f"{key} cannot be swept: {_REFUSED[key]}"
    yield from (f"{key} is given twice" for key in dict.fromkeys(keys) if keys.count(key) > 1)


def _key(text: str) -> str:
    return text.partition("=")[0].strip()


def _values(text: str) -> list[Any]:
    """Return the values behind the equals sign, each once: a TOML list without its brackets, or plain words."""
    listed = text.partition("=")[2].strip()
    if not listed:
        return []
    try:
        found = tomllib.loads(f"values = [{listed}]")["values"]
    except tomllib.TOMLDecodeError:
        found = [parse_value(part.strip()) for part in listed.split(",")]
    return list({canonical_json(value): value for value in found}.values())


def _shown(value: Any) -> str:
    """Return a value as `--set` reads it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_shown(item)}" for key, item in value.items()) + "}"
    return value if isinstance(value, str) else canonical_json(value)


@dataclass(frozen=True)
class _Bench:
    """What all combinations of a sweep share."""

    workspace: Workspace
    night: Night
    embedded: Embedded
    parent: Run

    @cached_property
    def yardstick(self) -> Yardstick | str:
        """Tonight's yardstick, or why there is none."""
        try:
            return yardstick_of(self.workspace, NightData.of(self.workspace, self.night))
        except DataError as error:
            return str(error)

    def swept(self, combination: Combination, *, name: str, max_kimg: float) -> Swept:
        """Return the combination's stored result, or train and measure it in a run of its own."""
        folder = self.night.path / STAGE / combination.key
        most = combination.settings.train.max_kimg
        goal = int(1000 * min(max_kimg or most, most))
        if (folder / _RESULT).is_file():
            stored = Swept(**read_json(folder / _RESULT))
            if 1000 * stored.kimg >= goal or not stored.folder:
                return stored
        try:
            with self.workspace.tracking.stage_run(f"{STAGE}-{combination.key}", self.parent.run_id) as run:
                run.set_tags({"mlflow.runName": " ".join(combination.pairs)})
                result = self._run(combination, folder, run, goal=goal, name=name)
        except LostProcessError:
            raise
        except ConfigError as error:  # such as a device that is not here: not stored, since elsewhere it may be
            return Swept(dict(combination.values), combination.pairs, seen_images(folder) / 1000, note=str(error))
        except TrainingError as error:
            result = Swept(dict(combination.values), combination.pairs, seen_images(folder) / 1000, note=str(error))
        write_json(folder / _RESULT, result)
        return result

    def _run(self, combination: Combination, folder: Path, run: Run, *, goal: int, name: str) -> Swept:
        """Return what training to `goal` images, or measuring what has seen them, gave."""
        run.log_params(combination.values)
        start = self._start(combination)
        own = replace(self.workspace, settings=combination.settings)
        job = training_job(own, self.night, self.embedded, start)
        run.log_input("training pairs", digest=job.identity["pairs"], source=self.night.prepared, context="training")
        trained = self._train(job, folder, run, start=start, goal=goal, name=name)
        data = NightData.of(self.workspace, self.night)
        facts = training_facts(self.night, data, self.embedded, start) | {"swept": dict(combination.values)}
        facts |= recommender_facts(own, job.spec)
        basis = self.embedded.train_basis
        save_model(folder, trained, self.embedded.folder(self.night, basis), basis_version=basis, facts=facts)
        figures, note = self._measure(folder / "model")
        figures |= _of_training(folder)
        run.log_metrics(figures, step=trained.seen_img)
        return Swept(
            values=dict(combination.values),
            pairs=combination.pairs,
            kimg=trained.seen_img / 1000,
            figures=figures,
            folder=str(folder / "model"),
            run_id=run.run_id,
            note=note,
        )

    def _start(self, combination: Combination) -> Path | None:
        """Return what every combination of the sweep starts from."""
        nets_differ = any(key.startswith("model.") for key in combination.values)
        return Path(self.embedded.start) if self.embedded.start and not nets_differ else None

    def _train(self, job: Job, folder: Path, run: Run, *, start: Path | None, goal: int, name: str) -> TrainingResult:
        """Train on from the checkpoint until `goal` images are seen."""

        def log(metrics: dict[str, float], seen_img: int) -> None:
            write_json(folder / _LAST, metrics)
            run.log_metrics(metrics, step=seen_img)

        rest = (goal - seen_images(folder)) / 1000
        # A killed sweep may have reached the goal and not measured it. It trains a batch more: 0 would be no limit.
        job = replace(job, options=replace(job.options, max_minutes=0.0, slice_kimg=max(rest, 1e-9)))
        return train_job(job, folder, start, log=log, progress=self.workspace.report(name))

    def _measure(self, model: Path) -> tuple[dict[str, float], str]:
        """Return the evaluation's figures, and why there are none or one is missing."""
        yardstick = self.yardstick
        if isinstance(yardstick, str):
            return {}, yardstick
        drawn = pictures_of(self.workspace, self.night, self.embedded, model, yardstick)
        options = self.workspace.settings.evaluation
        result = measure(drawn.features, yardstick, options=options, images=drawn.images)
        return finite_numbers(result), result.preference.npg_missing or ""


def _of_training(folder: Path) -> dict[str, float]:
    """Return the health and speed that the training last logged."""
    path = folder / _LAST
    last = read_json(path) if path.is_file() else {}
    return {name: last[name] for name in ("diversity", "rollbacks", "img_per_sec") if name in last}
