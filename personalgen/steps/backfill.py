"""Draws what a past day would have drawn: its preferences, by its model. What users see now, and what is known, stays.

A backfill reads the source before that day's instant, embeds who did something that day in the basis of the model, and
adds the images that are missing. It knows no state and no watermark, and is a night of its own kind: nothing of it
stands for a user.
"""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from personalgen.artifacts import read_json
from personalgen.catalogue import read, write
from personalgen.catalogue.engine import analyze
from personalgen.embeddings import (
    Foresight,
    PreferenceTable,
    asked_of_users,
    embed_users,
    fields_in,
    load_basis,
    load_preferences,
    save_basis,
    save_preferences,
)
from personalgen.embeddings.drift import as_it_was
from personalgen.embeddings.fields import EXPECTED
from personalgen.embeddings.rated import RatedPictures
from personalgen.generation.options import OperatingPoint
from personalgen.generation.plan import Plan, make_plan, read_plan, write_plan
from personalgen.generation.safety import load_screen
from personalgen.models import ModelCard, load_card
from personalgen.recommenders.by_size import next_item_model
from personalgen.registry.run import Run
from personalgen.steps.data import NightData
from personalgen.steps.delete_night import finish_deletions, tables_needed
from personalgen.steps.embed import recommender_of
from personalgen.steps.erased_ids import people_not_read
from personalgen.steps.forget import finish_erasures
from personalgen.steps.generate import PLAN, Generated, draw_plan, existing_images, plan_path
from personalgen.steps.night import Night, from_json, run_stage, stage_result
from personalgen.steps.own_identity import own_identity
from personalgen.steps.past_days import PastDay
from personalgen.steps.preferences import TONIGHT, basis_folder
from personalgen.steps.prepare import (
    begin_again,
    begin_night,
    catalogue_quarantine,
    night_folder,
    night_key,
    require_own_source,
    source_of,
)
from personalgen.steps.rated import rated_in, write_rated
from personalgen.steps.restore import with_known_run
from personalgen.steps.told import Told, told_by
from personalgen.steps.watch import tell_night
from personalgen.steps.workspace import Workspace
from personalgen.tables import prepare_tables


@dataclass(frozen=True)
class LookedBack:
    """What was known on a past day of whom."""

    stage: ClassVar[str] = "look_back"

    folder: str
    """The basis, and the vectors in it."""
    n_users: int
    """Who did something that day, or ever before it where everybody is drawn for; silent people are left out."""


@dataclass(frozen=True)
class Backfilled:
    """A day that was backfilled, in numbers."""

    stage: ClassVar[str] = "backfill"

    summary: dict[str, Any]


def prepare_past(workspace: Workspace, past: PastDay, *, flow_run_id: str | None = None) -> Night:
    """Return the night of a past day: tables as the source tells them of that instant, sealed.

    Nobody's entry in the catalogue changes. The same content, instant, settings, model and people give the same night.

    Raises:
        SourceError, DataError: as `prepare`.
        ConfigError: the home serves another source.
    """
    with workspace.journal.stage(Night.stage):
        night = _prepare_past(workspace, past, flow_run_id)
    tell_night(workspace, night)
    return night


def _prepare_past(workspace: Workspace, past: PastDay, flow_run_id: str | None) -> Night:
    finish_erasures(workspace)
    finish_deletions(workspace)
    settings, model = workspace.settings, read.model_by_id(workspace.engine, past.model_version_id)
    tables = prepare_tables(
        source_of(workspace),
        limits=settings.limits,
        image_px=load_card(workspace.model_folder(past.model_version_id)).options.resolution,
        out_root=workspace.data / "prepared",
        as_of=past.as_of,
        now=workspace.now(),
        forgotten=people_not_read(workspace),
        identity=own_identity(workspace),
        progress=lambda stage, done: workspace.progress(stage, done, 0),
    )
    require_own_source(workspace)
    point = OperatingPoint(**past.operating_point).digest()
    of_kind = ("backfill", model.generator_sha256, point, past.since.isoformat(), past.everybody)
    key = night_key(tables, settings.source.name, settings.digest(), of_kind)
    known, path = read.night_by_key(workspace.engine, key), night_folder(workspace, key) / "prepare.json"
    if known is None or not path.is_file():
        return begin_night(workspace, tables, catalogue_quarantine, key=key, flow_run_id=flow_run_id, kind="backfill")
    if known.status != "done":
        begin_again(workspace, known, flow_run_id)
        return with_known_run(workspace, from_json(Night, read_json(path)))
    return from_json(Night, read_json(path))


def look_back(workspace: Workspace, night: Night, past: PastDay) -> LookedBack:
    """Return what was known that day of those who are drawn for, by reference, in the basis of the day's model."""
    return run_stage(workspace, night, LookedBack, lambda _: _look_back(workspace, night, past))


def draw_past(workspace: Workspace, night: Night, past: PastDay, looked_back: LookedBack) -> Generated:
    """Return what was drawn; images of exactly these conditions that exist are not made again, and nobody's move."""
    return run_stage(workspace, night, Generated, lambda run: _draw_past(workspace, night, past, looked_back, run))


def conclude_past(workspace: Workspace, night: Night, past: PastDay, generated: Generated) -> Backfilled:
    """Return the day in numbers, mark its night as done, and drop tables that no other night needs."""
    backfilled = run_stage(workspace, night, Backfilled, lambda _: _concluded(workspace, night, past, generated))
    analyze(workspace.engine)
    counts = backfilled.summary
    write.finish_night(workspace.engine, night.night_id, status="done", counts=counts, at=workspace.now())
    return backfilled


def past_summary(night: Night, *, already_done: bool) -> dict[str, Any]:
    """Return a backfilled day in numbers."""
    return {**stage_result(night, Backfilled).summary, "already_done": already_done}


def drop_tables(workspace: Workspace, night: Night) -> None:
    """Remove the night's tables, pictures of all items among them, unless another night is made of the same ones."""
    if Path(night.prepared) not in tables_needed(workspace, but=night.path):
        shutil.rmtree(night.prepared, ignore_errors=True)


def _look_back(workspace: Workspace, night: Night, past: PastDay) -> LookedBack:
    data, model = NightData.of(workspace, night), workspace.model_folder(past.model_version_id)
    history, basis = data.history, load_basis(model)
    folder = basis_folder(night, basis.version)
    save_basis(folder, basis)
    write_rated(workspace, night, folder, basis)
    rated = rated_in(folder)
    asked, users = asked_of_users(load_card(model).spec), _who(workspace, data, past, rated)
    recommender = next_item_model(history, recommender_of(workspace, model)) if EXPECTED in asked else None
    table = embed_users(
        history.of(users),
        basis,
        data.features(workspace, basis.options),
        asked,
        now=data.tonight()[users],
        foresight=Foresight.by(recommender, len(users)) if recommender else None,
        rated=rated,
    )
    for then in _of_that_instant(workspace, night, folder.name, asked):
        table = as_it_was(then, table, load_card(model).spec)
    save_preferences(folder / TONIGHT, table)
    return LookedBack(str(folder), len(users))


def _of_that_instant(
    workspace: Workspace, night: Night, basis: str, asked: Mapping[str, int]
) -> Iterator[PreferenceTable]:
    """Yield what the nights of this instant used in a basis, where they kept it with all that is `asked` for."""
    for key in read.nights_done_at(workspace.engine, datetime.fromisoformat(night.as_of)):
        path = night_folder(workspace, key) / "embed" / basis / TONIGHT
        if path.is_file() and asked.items() <= fields_in(path).items():
            yield load_preferences(path)


def _who(workspace: Workspace, data: NightData, past: PastDay, rated: RatedPictures | None) -> NDArray[np.int64]:
    """Return the places in the history of whom the day is drawn for: the catalogue knows them, and they may get images.

    Time alone moves nobody, so whoever did nothing that day, nor rated, has the picture of the last day on which they
    did.
    """
    history, since = data.history, -np.inf if past.everybody else past.since.timestamp()
    users = history.user_index[history.timestamp >= since]
    if rated is not None:
        place = {user_id: k for k, user_id in enumerate(history.user_ids)}
        raters = rated.of(np.flatnonzero(rated.seconds >= since)).user_ids
        users = np.append(users, [place[user_id] for user_id in raters if user_id in place])
    users = np.unique(users).astype(np.int64)
    known = read.user_keys(workspace.engine, [history.user_ids[user] for user in users.tolist()])
    return users[[history.user_ids[user] in known for user in users.tolist()]]


def _draw_past(workspace: Workspace, night: Night, past: PastDay, looked_back: LookedBack, run: Run) -> Generated:
    point = OperatingPoint(**past.operating_point)
    model = read.model_by_id(workspace.engine, past.model_version_id)
    folder = workspace.model_folder(past.model_version_id)
    card, screen = load_card(folder), load_screen(workspace.settings.safety)
    told = told_by(workspace, night, load_preferences(Path(looked_back.folder) / TONIGHT), folder)
    path = plan_path(night, card, point, PLAN)
    plan = read_plan(path)
    if plan is None:
        plan = _plan_past(workspace, told, card, point, rule=None if screen is None else screen.rule)
        write_plan(path, plan)
    summary, _ = draw_plan(workspace, night, model, point, told, plan, screen, run_id=run.run_id, move=False)
    return Generated(
        version=past.version,
        n_assets=summary.n_assets,
        n_users=len(plan),
        n_new=len(plan),
        n_changed=0,
        n_unchanged=plan.n_unchanged,
        n_shards=summary.n_shards,
        n_bytes=summary.n_bytes,
        encoder=summary.encoder,
        operating_point_digest=point.digest(),
        n_refused=summary.n_refused,
        safety=workspace.settings.safety.filter,
    )


def _plan_past(workspace: Workspace, told: Told, card: ModelCard, point: OperatingPoint, *, rule: str | None) -> Plan:
    """Return who lacks the image of that day; who may not get images by now is left out."""
    user_ids, rows = told.table.user_ids, told.table.condition_rows(card.spec)
    known = read.user_keys(workspace.engine, user_ids)
    keys = np.array([known.get(user_id, -1 - k) for k, user_id in enumerate(user_ids)], dtype=np.int64)
    everybody = make_plan(keys, user_ids, tonight=rows, current=np.full_like(rows, np.nan), min_shift=0)
    plan = everybody.keep(everybody.user_keys > 0)
    _, settled = existing_images(workspace, told, card, point, plan.user_keys, plan.rows, rule)
    return replace(plan.keep(~settled), n_new=int((~settled).sum()), n_unchanged=int(settled.sum()))


def _concluded(workspace: Workspace, night: Night, past: PastDay, generated: Generated) -> Backfilled:
    counts = read.night_counts(workspace.engine, night.night_id)
    summary = {
        "kind": night.kind,
        "day": str(past.day),
        "as_of": night.as_of,
        "model_name": workspace.settings.store.model_name,
        "version": past.version,
        "images_made": counts.n_created,
        "images_refused": generated.n_refused,
        "users_drawn_for": generated.n_users,
        "users_with_an_image": generated.n_unchanged,
        "events": night.n_interactions,
    }
    return Backfilled(summary)
