"""Shows what the night did: a contact sheet, one HTML page, and a summary that terminals and programs read."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from personalgen.artifacts import write_json
from personalgen.catalogue import health, read, write
from personalgen.evaluation import (
    Figure,
    Interval,
    ReportPicture,
    ReportPlot,
    SheetRow,
    contact_sheet,
    curve_svg,
    write_png,
    write_report,
)
from personalgen.evaluation.series_plot import series_svg
from personalgen.generation.safety import blanked, load_screen
from personalgen.generation.sampler import Sampler
from personalgen.generation.shards import FOLDER
from personalgen.histories import History
from personalgen.models import load_card, load_generator
from personalgen.registry.run import Run
from personalgen.steps.data import NightData
from personalgen.steps.embed import Embedded
from personalgen.steps.evaluate import Evaluated
from personalgen.steps.extremes import EXTREMES
from personalgen.steps.generate import Generated, operating_point
from personalgen.steps.health import series_of
from personalgen.steps.night import Night, run_stage, stage_result
from personalgen.steps.operating_points import CURVE, read_curve
from personalgen.steps.promote import Decided
from personalgen.steps.recommend import Recommended
from personalgen.steps.register import Registered
from personalgen.steps.release import Released
from personalgen.steps.score import Scored
from personalgen.steps.told import told_of
from personalgen.steps.train import Trained
from personalgen.steps.workspace import Workspace
from personalgen.steps.yardstick import draw
from personalgen.tables.prepared import QUARANTINE
from personalgen.worlds import find_world

_FIGURES = ("kid", "fit_", "npg", "before_", "ndcg")
"""How the facts begin that the page shows as figures, with their controls, in a table of their own."""
SHEET, SHOWN, HTML = "contact_sheet.png", "contact_sheet.json", "report.html"
"""Below a report's folder; SHOWN is the list of ids that stand in the sheet."""
_SHEET_USERS, _SHEET_HISTORY, _SHEET_IMAGES = 8, 6, 6


@dataclass(frozen=True)
class Reported:
    """Where the night's pages lie, and the night in numbers."""

    stage: ClassVar[str] = "report"

    html: str
    sheet: str
    """History beside generated images for 8 users; empty where no model could draw."""
    summary: dict[str, Any]


def report(
    workspace: Workspace,
    night: Night,
    embedded: Embedded,
    evaluated: Evaluated,
    decided: Decided,
    generated: Generated,
    released: Released,
) -> Reported:
    """Return the night's report, and mark the night as done."""
    results = (embedded, evaluated, decided, generated, released)
    reported = run_stage(workspace, night, Reported, lambda run: _report(workspace, night, run, *results))
    write.finish_night(workspace.engine, night.night_id, status="done", counts=reported.summary, at=workspace.now())
    return reported


def _report(
    workspace: Workspace,
    night: Night,
    run: Run,
    embedded: Embedded,
    evaluated: Evaluated,
    decided: Decided,
    generated: Generated,
    released: Released,
) -> Reported:
    folder = workspace.data / "reports" / f"{night.day}-{night.key[:8]}"
    sheet = _sheet(workspace, night, embedded, decided, folder) if decided.model_version_id else None
    recommended = stage_result(night, Recommended)
    known = _known(recommended, embedded)
    summary = known | _summary(workspace, night, evaluated, decided, generated, released)
    pictures = (
        []
        if sheet is None
        else [
            ReportPicture(
                "History and generated pictures",
                sheet,
                "Left: what this user liked last. Right: made for this user, nothing else.",
            )
        ]
    )
    if (night.path / EXTREMES).is_file():
        best_and_worst = np.asarray(Image.open(night.path / EXTREMES).convert("RGB"))
        pictures.append(
            ReportPicture(
                "Whom it suits best, middling and worst",
                best_and_worst,
                "People whom training never saw, by how well the judge says that pictures suit them. Left: what they "
                "liked last. Right: what was drawn knowing only their earlier likes of training pictures.",
            )
        )
    world = workspace.settings.world.name
    html = write_report(
        folder / HTML,
        title=f"Night of {night.day}",
        subtitle=f"{night.source} · events before {night.as_of}",
        figures=[*_figures(Path(evaluated.table)), *recommendation_figures(recommended)],
        plots=[*_plots(night, evaluated), *_health_plots(workspace)],
        pictures=pictures,
        counts={name.replace("_", " "): value for name, value in summary.items() if not name.startswith(_FIGURES)},
        card=_card_facts(workspace, decided, evaluated),
        simulated=f"Users and events of this source were made up. {find_world(world).licence}" if world else "",
    )
    run.log_artifact(html)
    if sheet is not None:
        run.log_image(sheet, key="contact_sheet")
    return Reported(html=str(html), sheet=str(folder / SHEET) if sheet is not None else "", summary=summary)


def _plots(night: Night, evaluated: Evaluated) -> list[ReportPlot]:
    """Return the curve of knobs, where more than one point was measured."""
    curve, point = read_curve(night.path / CURVE), evaluated.operating_point
    if len(curve) < 2:
        return []
    svg = curve_svg(curve, (point["guidance"], point["truncation_psi"]))
    caption = f"Guidance · truncation of each point; lines are intervals. Chosen: {evaluated.point_because}."
    return [ReportPlot("Fit against fidelity over the knobs of sampling", svg, caption)]


def _health_plots(workspace: Workspace) -> list[ReportPlot]:
    """Return what the source's tables looked like over the last nights."""
    svg = series_svg(series_of(health.health(workspace.engine)))
    caption = "One picture a check, the newest night at the right; dashed lines bound what is not odd."
    return [ReportPlot("What the source looked like, night by night", svg, caption)] if svg else []


def _card_facts(workspace: Workspace, decided: Decided, evaluated: Evaluated) -> dict[str, Any]:
    """Return what a reader wants to know of the model that draws: what it is, what it has seen, and where it stands."""
    if not decided.model_version_id:
        return {}
    card = load_card(workspace.model_folder(decided.model_version_id))
    point = operating_point(workspace, decided)
    facts = {
        "model": f"{workspace.settings.store.model_name} v{decided.version}",
        "weights": card.generator_sha256[:16],
        "family": f"{card.options.family}, {card.options.resolution} px",
        "told": ", ".join(card.spec.names) or "nothing",
        "thousand images seen": round(card.trained_kimg, 3),
        "people held out": card.facts.get("users_held_out", "unknown"),
        "pictures held out": len(card.facts.get("items_held_out", ())),
        "basis": card.basis_version[:16],
        "drawn at": f"guidance {point.guidance:g}, truncation {point.truncation_psi:g}",
    }
    because = evaluated.point_because if decided.promote else ""
    return facts | ({"why there": because} if because else {})


def summary(workspace: Workspace, night: Night, *, already_done: bool = False) -> dict[str, Any]:
    """Return the night in numbers: what the command line prints."""
    reported, live = stage_result(night, Reported), workspace.live()
    version = live.version if live else 0
    return {
        **reported.summary,
        "promoted": reported.summary["promoted"] and version == reported.summary["live_version"],
        "live_version": version,
        "day": night.day,
        "source": night.source,
        "already_done": already_done,
        "version": _version(night),
        "model_name": workspace.settings.store.model_name,
        "shards": f"{workspace.shard_root.url}/{FOLDER}",
        "quarantine": str(Path(night.prepared) / QUARANTINE),
        "report": reported.html,
        "sheet": reported.sheet,
    }


def _version(night: Night) -> int:
    """Return the version of tonight's challenger, or of what is live where there is none."""
    if night.kind == "generate":
        return stage_result(night, Decided).version
    return stage_result(night, Registered).version


def _known(recommended: Recommended, embedded: Embedded) -> dict[str, Any]:
    """Return what became of the state of users, in numbers; of what was kept from last night, only what was."""
    kept = {"vectors_kept": "; ".join(embedded.fell_back), "tables_kept": recommended.tables_kept}
    return {
        "state": recommended.state,
        "new_events": recommended.n_new_events,
        "users_replaced": recommended.n_users_replaced,
        "recommendations": recommended.n_recommendations,
        "ndcg": recommended.later_ndcg,
        "ndcg_of_popularity": recommended.later_ndcg_of_popularity,
        **{name: value for name, value in kept.items() if value},
    }


def recommendation_figures(recommended: Recommended) -> tuple[Figure, ...]:
    """Return how well the night's recommender foretells what people like next, beside what is popular."""
    rows = (
        ("the newest likes", recommended.later_ndcg, recommended.later_ndcg_of_popularity),
        ("everybody's last like", recommended.last_ndcg, recommended.last_ndcg_of_popularity),
    )
    reading = "Of all items, fitted without these likes; above the control it knows more than what is popular."
    return tuple(
        Figure(f"NDCG@10 on {what}", value, control, "what is popular", reading) for what, value, control in rows
    )


def _summary(
    workspace: Workspace, night: Night, evaluated: Evaluated, decided: Decided, generated: Generated, released: Released
) -> dict[str, Any]:
    """Return the night in numbers, in the order in which people ask."""
    counts, scored = read.night_counts(workspace.engine, night.night_id), stage_result(night, Scored)
    return {
        "images_made": counts.n_created,
        "images_refused": generated.n_refused,
        "safety_filter": generated.safety,
        "images_scored": scored.n_scored,
        "mean_score": scored.mean,
        "users_new": generated.n_new,
        "users_changed": generated.n_changed,
        "users_unchanged": generated.n_unchanged,
        "live_version": released.live_version,
        **_training(night),
        "promoted": released.moved,
        "gate": "; ".join(decided.reasons),
        "events": night.n_interactions,
        "rows_quarantined": night.n_quarantined,
        "events_after_as_of": night.n_after_as_of,
        "events_opted_out": night.n_opted_out_events,
        "events_unlisted": night.n_unlisted_events,
        "encoder": generated.encoder,
        "before_is": evaluated.before_is,
        "kid": evaluated.challenger.get("kid"),
        "kid_floor": evaluated.challenger.get("kid_floor"),
        "kid_before": evaluated.before.get("kid"),
        "fit_gain": evaluated.challenger.get("fit_gain"),
        "fit_gain_low": evaluated.challenger.get("fit_gain_low"),
        "fit_gain_high": evaluated.challenger.get("fit_gain_high"),
        "fit_generated": evaluated.challenger.get("fit_generated"),
        "fit_shuffled": evaluated.challenger.get("fit_shuffled"),
        "fit_real_gain": evaluated.challenger.get("fit_real_gain"),
        "npg": evaluated.challenger.get("npg"),
        "npg_before": evaluated.before.get("npg"),
        "fit_gain_before": evaluated.before.get("fit_gain"),
    }


def _training(night: Night) -> dict[str, Any]:
    """Return whether tonight trained, and why, or why not."""
    if night.kind == "generate":
        return {"training": "this night only generates", "trained": False}
    trained = stage_result(night, Trained)
    return {"training": trained.because, "trained": not trained.skipped}


def _sheet(workspace: Workspace, night: Night, embedded: Embedded, decided: Decided, folder: Path) -> NDArray[np.uint8]:
    """Write and return the contact sheet of the model that drew tonight."""
    data = NightData.of(workspace, night)
    model = workspace.model_folder(decided.model_version_id)
    generator, _ = load_generator(model)
    told = told_of(workspace, night, embedded, model)
    rows = _shown_users(told.table.n_events)
    shown = told.table.rows(rows)
    options = workspace.settings.generation
    sampler = Sampler(generator, batch_size=options.batch_size, operating_point=operating_point(workspace, decided))
    drawn = draw(sampler, [told(rows, variant) for variant in range(_SHEET_IMAGES)])
    images = blanked(drawn, load_screen(workspace.settings.safety)).reshape(
        len(rows), _SHEET_IMAGES, generator.resolution, generator.resolution, 3
    )
    pictures = np.asarray(data.prepared.images)
    sheet = contact_sheet(
        [
            SheetRow(
                f"{user_id} · {n_events} event{'' if n_events == 1 else 's'}",
                list(pictures[liked_items(data.history, int(row), _SHEET_HISTORY)]),
                generated,
            )
            for user_id, n_events, row, generated in zip(shown.user_ids, shown.n_events, rows, images, strict=True)
        ]
    )
    write_json(folder / SHOWN, list(shown.user_ids))  # before the sheet: whom it shows is always known
    write_png(folder / SHEET, sheet)
    return np.asarray(sheet)


def _shown_users(n_events: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return 8 users spread over the activity of those with events, from few to many."""
    order = np.argsort(n_events, kind="stable")
    order = order[n_events[order] > 0]
    picked = np.unique(np.linspace(0, len(order) - 1, _SHEET_USERS).round().astype(np.int64)) if len(order) else order
    return np.asarray(order[picked], dtype=np.int64)


def liked_items(history: History, user: int, count: int) -> NDArray[np.int64]:
    """Return the newest `count` liked items of a user, newest first."""
    own = history.item_index[(history.user_index == user) & (history.weight > 0)]
    return np.asarray(own[::-1][:count], dtype=np.int64)


def _figures(path: Path) -> Sequence[Figure]:
    """Return the evaluation's table as it was stored."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [
        Figure(
            name=f"{row['name']} ({row['model']})",
            value=_number(row["value"]),
            control=_number(row["control"]),
            control_name=row["control_name"],
            reading=row["reading"],
        )
        for row in rows
    ]


def _number(value: Any) -> Interval | float | None:
    return Interval(**value) if isinstance(value, dict) else value
