"""Trains tonight's challenger, from the champion or a snapshot where there is one."""

import logging
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from personalgen.artifacts import read_json, write_json
from personalgen.catalogue import read, write
from personalgen.conditions import Condition, ConditionSpec
from personalgen.embeddings import (
    FIELD,
    load_basis,
    save_basis,
    usual_dropout,
    variants_before_events,
)
from personalgen.embeddings.fields import COLLABORATIVE, EXPECTED
from personalgen.embeddings.preference import PreferenceTable
from personalgen.errors import LostProcessError, NotFoundError, TrainingError, UnfinishedError
from personalgen.evaluation.sheet import grid
from personalgen.generation.safety import Screen, blanked, load_screen
from personalgen.generation.sampler import Sampler
from personalgen.models import Generator, ModelCard, load_card, save_generator
from personalgen.registry.run import Run
from personalgen.seeding import derive_seed
from personalgen.steps.data import NightData
from personalgen.steps.due import due_facts, training_due
from personalgen.steps.embed import NOBODY, Embedded, preferences
from personalgen.steps.fields import behaviour_before, known_before, picture_fields, spec_to_train
from personalgen.steps.night import Night, drop_results, has_result, require_newest, run_stage, stage_result
from personalgen.steps.workspace import Workspace
from personalgen.training import (
    Job,
    TrainingPairs,
    TrainingResult,
    TrainingState,
    save_companions,
    save_job,
    save_start,
    share_job,
    start_from,
)
from personalgen.training import train as train_gan
from personalgen.training.due import Due

DUE = "due.json"
"""In a night's folder: whether it trains, and why."""

_ASKED = Due(train=True, because="it was asked for")
_GRID_USERS, _GRID_IMAGES = 8, 8


@dataclass(frozen=True)
class Trained:
    """Tonight's generator."""

    stage: ClassVar[str] = "train"

    folder: str
    """Weights, card, discriminator and basis."""
    generator_sha256: str
    basis_version: str
    run_id: str
    """The MLflow run that trained it."""
    n_pairs: int
    n_images: int
    kimg: float
    """Thousands of images seen tonight."""
    trained_kimg: float
    """Thousands of images seen by these weights, warm start included."""
    img_per_sec: float | None
    """None where the training was over before its speed could be told."""
    skipped: bool = False
    """Whether there is no generator, and so no challenger, of tonight: too little is new, or the training diverged."""
    because: str = ""
    """Why tonight trained, or did not."""


def train(workspace: Workspace, night: Night, embedded: Embedded, *, asked: bool = False) -> Trained:
    """Return tonight's challenger, or that nothing was trained: the rule of `retrain` decides (training/due.py).

    A killed training goes on from its last checkpoint. A retrain trains whatever the rule says. So does a night where
    somebody `asked`; where it has no challenger yet, its later stages are forgotten, and may be run again. A training
    that diverges for good ends no night: there is no challenger, and what is live draws tonight's images.

    Raises:
        ConfigError: somebody asked, and a later night is done. Nothing was changed.
        TrainingError: it diverged, and nothing is live that could draw.
        UnfinishedError: the time limit of the settings ended first.
    """
    if asked and (not has_result(night, Trained) or stage_result(night, Trained).skipped):
        _ask(workspace, night)
    return run_stage(workspace, night, Trained, lambda run: _by_rule(workspace, night, embedded, run))


def trained_tonight(night: Night) -> Trained:
    """Return what tonight trained.

    Raises:
        NotFoundError: train has not run, or nothing was to be trained.
    """
    found = stage_result(night, Trained)
    if found.skipped:
        raise NotFoundError(
            f"the night of {night.day} ({night.key[:12]}) trained nothing: {found.because}. "
            "`personalgen train --force` trains whatever the rule says. Nothing was changed."
        )
    return found


def _ask(workspace: Workspace, night: Night) -> None:
    """Settle that a night trains, and forget what it did without; cut anywhere, it is a night that trains."""
    require_newest(workspace, datetime.fromisoformat(night.as_of), read.newest_as_of(workspace.engine))
    write_json(night.path / DUE, asdict(_ASKED))
    write.reopen_night(workspace.engine, night.night_id)
    drop_results(night, since=Trained)


def _by_rule(workspace: Workspace, night: Night, embedded: Embedded, run: Run) -> Trained:
    """Train where it is due; what was settled once stays, however often the night is begun again."""
    due = _settled(workspace, night, embedded)
    if not due.train:
        run.set_tags({"training": "skipped", "because": due.because})
        return _skipped(embedded, run, due.because)
    because = due.because
    run.set_tags({"training": "done", "because": because})
    return _train_or_keep(workspace, night, embedded, run, because)


def _settled(workspace: Workspace, night: Night, embedded: Embedded) -> Due:
    """Return whether tonight trains, as it was settled before anything was trained."""
    path = night.path / DUE
    if not path.is_file():
        write_json(path, asdict(_due(workspace, night, embedded)))
    return Due(**read_json(path))


def _due(workspace: Workspace, night: Night, embedded: Embedded) -> Due:
    """Return whether tonight trains: a retrain does, and what `write_job` began elsewhere; the rule says of others."""
    if night.kind == "retrain":
        return _ASKED
    is_begun = (night.path / "train").is_dir()
    return Due(train=True, because="it was begun") if is_begun else training_due(workspace, night, embedded)


def _train_or_keep(workspace: Workspace, night: Night, embedded: Embedded, run: Run, because: str) -> Trained:
    """Train, or keep what is live where the training diverges for good."""
    try:
        return replace(_train(workspace, night, embedded, run), because=because)
    except LostProcessError:
        raise
    except TrainingError as error:
        if workspace.live() is None:
            raise
        logging.getLogger(__name__).warning("tonight has no challenger, what is live stays: %s", error)
        run.set_tags({"training": "diverged", "because": str(error)})
        return _skipped(embedded, run, str(error))


def _skipped(embedded: Embedded, run: Run, because: str) -> Trained:
    """Return that nothing was trained."""
    basis = embedded.train_basis
    return Trained("", "", basis, run.run_id, 0, 0, 0.0, 0.0, None, skipped=True, because=because)


def training_pairs(
    workspace: Workspace, data: NightData, basis_folder: Path, spec: ConditionSpec | None = None
) -> TrainingPairs:
    """Return (picture, what was known before the like) for every earlier like of a training item.

    The fields are those of `spec`, by default what the settings ask for.
    """
    basis, history = load_basis(basis_folder), data.training_history()
    spec = spec or spec_to_train(workspace, data, None)
    features, likes = data.features(workspace, basis.options), np.flatnonzero(history.weight > 0)
    images, image_of_pair = np.unique(history.item_index[likes], return_inverse=True)
    of_pair = known_before(history, basis, features, spec, likes, workspace.settings.recommender)
    of_image = picture_fields(workspace, data, spec, images)
    variants = {}
    if (count := workspace.settings.condition.history_variants) and spec.find(FIELD):
        seed = workspace.settings.train.seed
        variants[FIELD] = variants_before_events(history, basis, features, count=count, seed=seed)
    return TrainingPairs.of(
        np.asarray(data.prepared.images)[images],
        image_of_pair,
        history.user_index[likes],
        of_pair={name: rows.values for name, rows in of_pair.items()},
        of_image={name: rows.values for name, rows in of_image.items()},
        absent={name: ~rows.mask for name, rows in (of_pair | of_image).items()},
        behaviour=behaviour_before(history, basis, features, spec, likes),
        variants={name: rows[:, likes] for name, rows in variants.items()},
    )


def training_job(workspace: Workspace, night: Night, embedded: Embedded, start: Path | None) -> Job:
    """Return what tonight trains, as the settings say, where it starts from the generator in the folder `start`."""
    settings, data = workspace.settings, NightData.of(workspace, night)
    spec = spec_to_train(workspace, data, start)
    options = replace(settings.train, field_dropout=usual_dropout(spec) | settings.train.field_dropout)
    pairs = training_pairs(workspace, data, embedded.folder(night, embedded.train_basis), spec)
    return Job(pairs, spec, settings.model, options)


def write_job(workspace: Workspace, night: Night, embedded: Embedded) -> Path:
    """Write tonight's training and the state it starts from, or stands at, to the night's train folder; return that.

    `python -m personalgen.training FOLDER` trains it, on a machine that has the numeric stack alone.
    """
    start, folder = Path(embedded.start) if embedded.start else None, night.path / "train"
    job = training_job(workspace, night, embedded, start)
    save_job(folder, job)
    save_start(folder, job, lambda state: start_from(start, state) if start else None)
    return folder


def _train(workspace: Workspace, night: Night, embedded: Embedded, run: Run) -> Trained:
    settings, data = workspace.settings, NightData.of(workspace, night)
    basis_folder = embedded.folder(night, embedded.train_basis)
    start = Path(embedded.start) if embedded.start else None
    job, folder = training_job(workspace, night, embedded, start), night.path / "train"
    pairs = job.pairs
    run.log_input("training pairs", digest=job.identity["pairs"], source=night.prepared, context="training")
    looked_at = _grid_users(preferences(night, embedded, embedded.train_basis, held_back=True))
    screen = load_screen(settings.safety)
    speeds: list[float] = []

    def on_snapshot(average: Generator, kimg: float) -> dict[str, float]:
        run.log_image(_sample_grid(average, looked_at, screen), key="samples", step=int(kimg * 1000))
        return {}

    def log(metrics: dict[str, float], seen_img: int) -> None:
        if "img_per_sec" in metrics:
            speeds.append(metrics["img_per_sec"])
        run.log_metrics(metrics, step=seen_img)

    result = train_job(job, folder, start, on_snapshot=on_snapshot, log=log, progress=workspace.report(Trained.stage))
    if not result.finished:
        raise UnfinishedError(
            f"this run's share (train.max_minutes = {settings.train.max_minutes:g}, train.slice_kimg = "
            f"{settings.train.slice_kimg:g}; 0 is no limit) ended after {result.seen_img:,} of "
            f"{settings.train.max_kimg * 1000:,.0f} images. The state is kept and nothing was registered: run the same "
            "command again to go on, without --max-minutes and --max-kimg to go on to the end."
        )
    facts = training_facts(night, data, embedded, start) | {"field_dropout": job.options.field_dropout}
    facts |= recommender_facts(workspace, job.spec) | due_facts(workspace, data, job.spec)
    card = save_model(folder, result, basis_folder, basis_version=embedded.train_basis, facts=facts)
    return Trained(
        folder=str(folder / "model"),
        generator_sha256=card.generator_sha256,
        basis_version=embedded.train_basis,
        run_id=run.run_id,
        n_pairs=len(pairs.image_of_pair),
        n_images=len(pairs.images),
        kimg=settings.train.max_kimg,
        trained_kimg=result.trained_kimg,
        img_per_sec=float(np.mean(speeds)) if speeds else None,
    )


def train_job(job: Job, folder: Path, start: Path | None, **callbacks: Any) -> TrainingResult:
    """Train a job in a folder, from the generator in the folder `start`, with all processes of this team."""

    def warm_start(state: TrainingState) -> None:
        if start:
            start_from(start, state)

    share_job(job, folder)
    return train_gan(job, folder=folder, warm_start=warm_start, **callbacks)


def save_model(
    folder: Path, trained: TrainingResult, basis_folder: Path, *, basis_version: str, facts: dict[str, Any]
) -> ModelCard:
    """Write the model of a training's folder below it, with all that measuring, drawing and a next training need."""
    model = folder / "model"
    card = save_generator(
        model, trained.generator, basis_version=basis_version, trained_kimg=trained.trained_kimg, facts=facts
    )
    save_companions(model, folder)
    save_basis(model, load_basis(basis_folder))
    return card


def training_facts(night: Night, data: NightData, embedded: Embedded, start: Path | None) -> dict[str, Any]:
    """Return what the card says of the training."""
    held_out = [item for item, train in zip(data.history.item_ids, data.train_items, strict=True) if not train]
    return {
        "night_key": night.key,
        "source": night.source,
        "as_of": night.as_of,
        "started_from": start.name if start else "scratch",
        "started_from_sha256": load_card(start).generator_sha256 if start else "",
        "basis_version": embedded.train_basis,
        "items_held_out": held_out,
        "users_held_out": "judge and test split, by the hash of the id" if data.split.hold_out_users else NOBODY,
        "n_users_held_out": int((~data.train_users).sum()),
        "later_share_held_out": data.split.later_share,
    }


def recommender_facts(workspace: Workspace, spec: ConditionSpec) -> dict[str, Any]:
    """Return what the card says of the recommenders behind what was told of people, if there was one."""
    asked = spec.find(EXPECTED) or spec.find(COLLABORATIVE)
    return {"recommender": asdict(workspace.settings.recommender)} if asked else {}


def _grid_users(table: PreferenceTable) -> PreferenceTable:
    """Return the users whose samples are looked at over time: those with most events."""
    return table.rows(np.sort(np.argsort(-table.n_events, kind="stable")[:_GRID_USERS]))


def _sample_grid(
    generator: Generator, users: PreferenceTable, screen: Screen | None
) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """Return one row of images per user from latents that are the same at every snapshot; refused ones are blank."""
    condition: Condition = users.to_condition(generator.spec)
    rows = torch.arange(len(users.user_ids)).repeat_interleave(_GRID_IMAGES)
    seeds = [
        derive_seed(users.user_ids[k], variant) for k in range(len(users.user_ids)) for variant in range(_GRID_IMAGES)
    ]
    device = next(generator.parameters()).device
    images = Sampler(generator, device=device).sample(condition.take(rows), seeds)
    return grid(blanked(images, screen), _GRID_IMAGES)
