"""Measures tonight's challenger beside the champion (or the snapshot it started from), on people and items held out."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from personalgen.artifacts import write_json
from personalgen.embeddings import PreferenceTable
from personalgen.errors import DataError
from personalgen.evaluation import (
    Comparison,
    Evaluation,
    Figure,
    Pictures,
    Yardstick,
    build_yardstick,
    compare,
    comparison_figures,
    evaluation_figures,
    judge_features,
    measure,
    select_held_out,
)
from personalgen.generation.sampler import Sampler
from personalgen.models import load_generator
from personalgen.registry.run import Run
from personalgen.seeding import derive_seed
from personalgen.steps.data import NightData
from personalgen.steps.embed import Embedded, preferences_for
from personalgen.steps.night import Night, run_stage
from personalgen.steps.train import Trained
from personalgen.steps.workspace import Workspace

Numbers = dict[str, float]


@dataclass(frozen=True)
class Evaluated:
    """What the models of tonight reached; empty mappings where nothing was measured."""

    stage: ClassVar[str] = "evaluate"

    challenger: Numbers
    """Figures of tonight's challenger, by name."""
    before: Numbers
    """Figures, tonight, of what it started from."""
    before_is: str
    """"champion", "snapshot" or "" where training was from scratch."""
    paired: Numbers
    """Challenger less `before`, user by user and item by item."""
    missing: str
    """Why there is no evaluation, or why one figure of it is missing; else empty."""
    judge: str
    table: str
    """The figures with their controls, as JSON."""
    champion_id: int = 0
    """Catalogue id of the live model that was measured beside the challenger; 0 where nothing was live."""


def evaluate(workspace: Workspace, night: Night, embedded: Embedded, trained: Trained) -> Evaluated:
    """Return tonight's measurement; with too little held-out data it is missing, which is no error: the gate holds."""
    return run_stage(workspace, night, Evaluated, lambda run: _evaluate(workspace, night, embedded, trained, run))


def _evaluate(workspace: Workspace, night: Night, embedded: Embedded, trained: Trained, run: Run) -> Evaluated:
    data, table = NightData.of(workspace, night), night.path / "evaluation.json"
    live = workspace.live()
    champion_id = live.model_version_id if live else 0
    try:
        yardstick = yardstick_of(workspace, data)
    except DataError as error:
        write_json(table, [])
        return Evaluated({}, {}, "", {}, str(error), "", str(table), champion_id)
    features = {"challenger": features_of(workspace, night, embedded, Path(trained.folder), yardstick)}
    before_is = "champion" if live else "snapshot" if embedded.start else ""
    if before_is:
        start = workspace.model_folder(champion_id) if live else Path(embedded.start)
        features["before"] = features_of(workspace, night, embedded, start, yardstick)
    options = workspace.settings.evaluation
    results = {name: measure(found, yardstick, options=options) for name, found in features.items()}
    paired = compare(features["challenger"], features["before"], yardstick, options=options) if before_is else None
    _log(run, results, paired)
    write_json(table, _rows(results, paired))
    fit = results["challenger"].preference
    return Evaluated(
        challenger=finite_numbers(results["challenger"]),
        before=finite_numbers(results["before"]) if before_is else {},
        before_is=before_is,
        paired=_paired_numbers(paired),
        missing=fit.npg_missing or "",
        judge=yardstick.judge.name,
        table=str(table),
        champion_id=champion_id,
    )


def yardstick_of(workspace: Workspace, data: NightData) -> Yardstick:
    """Return the held-out users and items, judged by a net that training never saw."""
    options, history = workspace.settings.evaluation, data.history
    selection = select_held_out(
        user_ids=history.user_ids,
        judged_users=data.judged_users,
        item_split=data.item_split,
        user_index=history.user_index,
        item_index=history.item_index,
        weight=history.weight,
        later=data.later,
        options=options,
    )
    images = np.asarray(data.prepared.images)[selection.item_index]
    return build_yardstick(selection, Pictures(_judged(workspace, images), images), options=options)


def features_of(
    workspace: Workspace, night: Night, embedded: Embedded, folder: Path, yardstick: Yardstick
) -> NDArray[np.float32]:
    """Return (n_users, k, d) judge features of a model's pictures for held-out users; models share users and z.

    Each is told what its own specification asks for, at the settings' operating point as far as it has the fields.
    """
    generator, _ = load_generator(folder)
    users = yardstick.selection.user_index
    table = preferences_for(workspace, night, embedded, folder, held_back=True).rows(users)
    k = workspace.settings.evaluation.images_per_user
    point = workspace.settings.generation.operating_point.among(generator.spec.names)
    images = draw(Sampler(generator, operating_point=point), table, k)
    return _judged(workspace, images).reshape(len(users), k, -1)


def draw(sampler: Sampler, table: PreferenceTable, per_user: int) -> NDArray[np.uint8]:
    """Return (n_users * per_user, R, R, 3) pictures, the first `per_user` variants of each user."""
    rows = torch.arange(len(table.user_ids)).repeat_interleave(per_user)
    seeds = [derive_seed(user_id, variant) for user_id in table.user_ids for variant in range(per_user)]
    return sampler.sample(table.to_condition(sampler.generator.spec).take(rows), seeds)


def _judged(workspace: Workspace, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    options = workspace.settings.evaluation
    report, done = workspace.report("judge features"), [0]

    def progress(_stage: str, count: int) -> None:
        done[0] += count
        report(done[0], len(images))

    return judge_features(
        images, px=options.feature_px, batch_size=options.batch_size, threads=options.threads, progress=progress
    )


def finite_numbers(result: Evaluation) -> Numbers:
    """Return the finite figures of one model; what is missing has no key."""
    return {name: value for name, value in result.metrics().items() if math.isfinite(value)}


def _paired_numbers(paired: Comparison | None) -> Numbers:
    return {name: float(value) for name, value in asdict(paired).items()} if paired else {}


def _log(run: Run, results: dict[str, Evaluation], paired: Comparison | None) -> None:
    """Log every figure under the model's name."""
    for name, result in results.items():
        run.log_metrics({f"{name}_{key}": value for key, value in finite_numbers(result).items()})
    run.log_metrics({f"paired_{key}": value for key, value in _paired_numbers(paired).items()})


def _rows(results: dict[str, Evaluation], paired: Comparison | None) -> list[dict[str, Any]]:
    """Return the report's tables as JSON-like rows."""
    tables: list[tuple[str, tuple[Figure, ...]]] = [
        (name, evaluation_figures(result)) for name, result in results.items()
    ]
    if paired:
        tables.append(("challenger less before", comparison_figures(paired)))
    return [{"model": name, **asdict(figure)} for name, figures in tables for figure in figures]
