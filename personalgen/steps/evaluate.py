"""Measures tonight's challenger beside the champion (or the snapshot it started from), on people and items held out."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from personalgen.artifacts import write_json
from personalgen.errors import DataError
from personalgen.evaluation import (
    Comparison,
    Evaluation,
    Figure,
    compare,
    comparison_figures,
    evaluation_figures,
    measure,
    segment_figures,
    segment_rows,
    write_png,
)
from personalgen.generation.options import OperatingPoint
from personalgen.generation.safety import load_screen
from personalgen.registry.run import Run
from personalgen.steps.data import NightData
from personalgen.steps.embed import Embedded
from personalgen.steps.extremes import EXTREMES, extremes_sheet
from personalgen.steps.night import Night, run_stage
from personalgen.steps.operating_points import CURVE, curve_numbers, operating_point_of
from personalgen.steps.similarity import similarities, similarity_figures, similarity_numbers
from personalgen.steps.train import Trained
from personalgen.steps.workspace import Workspace
from personalgen.steps.yardstick import pictures_of, yardstick_of

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
    champion_point: int = 0
    """Digest of the operating point at which that one was live, and measured; 0 likewise."""
    operating_point: dict[str, Any] = field(default_factory=dict)
    """Where the challenger was drawn, and where it is released if it is promoted; empty where nothing was measured."""
    point_because: str = ""
    """Why there; empty where it is the settings' point and no other was tried."""


def evaluate(workspace: Workspace, night: Night, embedded: Embedded, trained: Trained) -> Evaluated:
    """Return tonight's measurement; with too little held-out data it is missing, which is no error: the gate holds."""
    return run_stage(workspace, night, Evaluated, lambda run: _evaluate(workspace, night, embedded, trained, run))


def _evaluate(workspace: Workspace, night: Night, embedded: Embedded, trained: Trained, run: Run) -> Evaluated:
    if trained.skipped:
        return _missing(workspace, night, f"nothing was trained tonight: {trained.because}")
    try:
        return _measured(workspace, night, embedded, trained, run)
    except DataError as error:
        return _missing(workspace, night, str(error))


def _missing(workspace: Workspace, night: Night, why: str) -> Evaluated:
    """Return that nothing was measured, and why."""
    table, live = night.path / "evaluation.json", workspace.live()
    write_json(table, [])
    champion = (live.model_version_id, live.operating_point_digest) if live else (0, 0)
    return Evaluated({}, {}, "", {}, why, "", str(table), *champion)


def _measured(workspace: Workspace, night: Night, embedded: Embedded, trained: Trained, run: Run) -> Evaluated:
    data, table = NightData.of(workspace, night), night.path / "evaluation.json"
    live = workspace.live()
    champion_id = live.model_version_id if live else 0
    yardstick = yardstick_of(workspace, data)
    chosen = operating_point_of(workspace, night, embedded, Path(trained.folder), yardstick)
    point, curve, why, yardstick = chosen.point, chosen.curve, chosen.why, chosen.yardstick
    drawn = {"challenger": pictures_of(workspace, night, embedded, Path(trained.folder), yardstick, point=point)}
    before_is = "champion" if live else "snapshot" if embedded.start else ""
    if before_is:
        start = workspace.model_folder(champion_id) if live else Path(embedded.start)
        served = OperatingPoint(**live.operating_point) if live else None
        drawn["before"] = pictures_of(workspace, night, embedded, start, yardstick, point=served)
    options = workspace.settings.evaluation
    results = {
        name: measure(found.features, yardstick, options=options, images=found.images) for name, found in drawn.items()
    }
    paired = None
    if before_is:
        paired = compare(drawn["challenger"].features, drawn["before"].features, yardstick, options=options)
    alike = similarities(workspace, yardstick, drawn["challenger"])
    _log(run, results, paired)
    run.log_metrics({f"challenger_{name}": value for name, value in similarity_numbers(alike).items()})
    for step, at in enumerate(curve):
        run.log_metrics({f"curve_{name}": value for name, value in curve_numbers(at).items()}, step=step)
    run.set_tags({"operating_point": why[:500]} if why else {})
    users = yardstick.selection.user_index.tolist()
    segments = [data.history.segments[user] for user in users] if data.history.segments else [None] * len(users)
    fit = results["challenger"].preference
    found = segment_figures(np.array(fit.per_user), segments, confidence=options.confidence)
    write_json(table, _rows(results, paired, [*similarity_figures(alike), *segment_rows(found, fit.gain)]))
    write_json(night.path / CURVE, [curve_numbers(at) for at in curve])
    screen = load_screen(workspace.settings.safety)
    write_png(night.path / EXTREMES, extremes_sheet(data, yardstick, drawn["challenger"], fit.per_user, screen))
    return Evaluated(
        challenger=finite_numbers(results["challenger"]),
        before=finite_numbers(results["before"]) if before_is else {},
        before_is=before_is,
        paired=_paired_numbers(paired),
        missing=fit.npg_missing or "",
        judge=yardstick.judge.name,
        table=str(table),
        champion_id=champion_id,
        champion_point=live.operating_point_digest if live else 0,
        operating_point=asdict(point),
        point_because=why,
    )


def finite_numbers(result: Evaluation) -> Numbers:
    """Return the finite figures of one model; what is missing has no key."""
    return {name: value for name, value in result.metrics().items() if math.isfinite(value)}


def _paired_numbers(paired: Comparison | None) -> Numbers:
    return paired.metrics() if paired else {}


def _log(run: Run, results: dict[str, Evaluation], paired: Comparison | None) -> None:
    """Log every figure under the model's name."""
    for name, result in results.items():
        run.log_metrics({f"{name}_{key}": value for key, value in finite_numbers(result).items()})
    run.log_metrics({f"paired_{key}": value for key, value in _paired_numbers(paired).items()})


def _rows(results: dict[str, Evaluation], paired: Comparison | None, more: Sequence[Figure]) -> list[dict[str, Any]]:
    """Return the report's tables as JSON-like rows; `more` are figures of the challenger alone."""
    tables: list[tuple[str, tuple[Figure, ...]]] = [
        (name, evaluation_figures(result)) for name, result in results.items()
    ]
    tables.insert(1, ("challenger", tuple(more)))
    if paired:
        tables.append(("challenger less before", comparison_figures(paired)))
    return [{"model": name, **asdict(figure)} for name, figures in tables for figure in figures]
