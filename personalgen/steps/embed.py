"""Turns histories into preferences, in the basis of every model that tonight needs."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from personalgen.conditions import ConditionSpec
from personalgen.embeddings import (
    Basis,
    PreferenceTable,
    asked_of_users,
    fields_in,
    fit_basis,
    is_over,
    load_basis,
    load_preferences,
    rebased,
)
from personalgen.embeddings.fields import COLLABORATIVE
from personalgen.errors import ArtifactError, ConfigError
from personalgen.models import load_card
from personalgen.recommenders import NextItemOptions
from personalgen.registry.run import Run
from personalgen.steps.data import NightData
from personalgen.steps.fields import has_set_fields, spec_to_train
from personalgen.steps.night import Night, run_stage, stage_result
from personalgen.steps.preferences import HELD_BACK, TONIGHT, basis_folder, keep_or_fall_back, write_tables
from personalgen.steps.recommend import Recommended
from personalgen.steps.workspace import Workspace

NOBODY = "none"
"""What a card says of the people held out where there are none."""


@dataclass(frozen=True)
class Embedded:
    """Where tonight's preferences lie."""

    stage: ClassVar[str] = "embed"

    train_basis: str
    """Version of the basis that the challenger is trained on."""
    live_basis: str
    """Version of the basis of the live model; empty where nothing is live."""
    start: str
    """Folder of the generator that training starts from; empty means from scratch."""
    is_new_basis: bool
    """Whether it was fitted tonight: from scratch, or in the place of an old one."""
    n_users: int
    n_users_without_events: int
    dim: int
    fell_back: tuple[str, ...] = ()
    """Why users keep what the night before knew of them; empty where they do not."""

    def folder(self, night: Night, version: str) -> Path:
        """Return where the basis `version` and its vectors lie."""
        return basis_folder(night, version)


def embed(workspace: Workspace, night: Night, recommended: Recommended) -> Embedded:
    """Return tonight's preferences, by reference.

    Per basis: `preferences.parquet` holds every user from all events before as_of, or what the night before knew where
    vectors have moved by themselves (`drift.json`); `held_back.parquet` from earlier events on training items only,
    which is what an evaluation may know.
    """
    return run_stage(workspace, night, Embedded, lambda run: _embed(workspace, night, recommended, run))


def _embed(workspace: Workspace, night: Night, recommended: Recommended, run: Run) -> Embedded:
    data = NightData.of(workspace, night)
    live, start = live_folder(workspace), _start(workspace, night)
    live_basis = load_basis(live) if live else None
    spec = spec_to_train(workspace, data, start)
    old = _dated_basis(start, night) if start else None
    basis = old if old and night.kind == "generate" else _basis_to_train(workspace, night, data, spec, old)
    told = [(basis, spec, recommender_of(workspace, start))]
    if live and live_basis:
        told += [(live_basis, load_card(live).spec, recommender_of(workspace, live))]
    reasons: list[str] = []
    for each, recommender in {b.version: (b, options) for b, _, options in reversed(told)}.values():
        asked = asked_of_users(*(one for b, one, _ in told if b.version == each.version))
        write_tables(workspace, night, data, each, asked, recommender)
        drift, why = keep_or_fall_back(workspace, basis_folder(night, each.version), recommended)
        reasons += [reason for reason in why if reason not in reasons]
        run.log_metrics({f"drift_{each.version[:8]}_{name}": value for name, value in drift.items()})
    run.set_tags({"basis_version": basis.version, "fell_back": "; ".join(reasons)[:500]})
    return Embedded(
        train_basis=basis.version,
        live_basis=live_basis.version if live_basis else "",
        start=str(start or ""),
        is_new_basis=old is None or basis.version != old.version,
        n_users=len(data.history.user_ids),
        dim=basis.options.dim,
        n_users_without_events=len(data.history.user_ids) - len(np.unique(data.history.user_index)),
        fell_back=tuple(reasons),
    )


def _start(workspace: Workspace, night: Night) -> Path | None:
    """Return the generator that training starts from tonight; where nothing is trained, the live one."""
    if night.kind == "generate":
        return live_folder(workspace)
    start = start_folder(workspace)
    return None if night.from_scratch else start


def _dated_basis(model: Path, night: Night) -> Basis:
    """Return a model's basis, with the day it was fitted.

    Where nobody wrote it down, in bases of before, it counts as fitted on the night of the model, or tonight: from the
    next model on it is known.
    """
    basis = load_basis(model)
    facts = load_card(model).facts
    return replace(basis, fitted_as_of=basis.fitted_as_of or str(facts.get("as_of", night.as_of)))


def _basis_to_train(
    workspace: Workspace, night: Night, data: NightData, spec: ConditionSpec, old: Basis | None
) -> Basis:
    """Return what the challenger is trained on: the basis of its start, or a new one, turned onto an old start's.

    Raises:
        ConfigError: the start's basis is too old, and has too few items in common with a new one.
    """
    options = workspace.settings.embeddings
    if old and not is_over(old.fitted_as_of, night.as_of, options.epoch_days):
        return old
    features, next_item = data.features(workspace, options), workspace.settings.recommender
    new = fit_basis(
        data.training_history(),
        features,
        data.train_items,
        options,
        next_item=next_item if spec.find(COLLABORATIVE) else None,
    )
    new = replace(new, fitted_as_of=night.as_of)
    return rebased(new, old, features, data.history.item_ids) if old else new


def start_folder(workspace: Workspace) -> Path | None:
    """Return the generator that training starts from: the live one, else the configured snapshot, else None.

    One of other nets, embedding, condition or recommender is not a start: training is from scratch then, on a new
    basis. One for smaller pictures whose nets are the inner stages of the new ones is a start: it grows.

    Raises:
        ArtifactError: the configured snapshot is not there.
        ConfigError: the live model has seen people whom the settings hold out.
    """
    settings = workspace.settings
    folder = live = live_folder(workspace)
    if folder is None and settings.snapshot:
        folder = Path(settings.snapshot).resolve()
        if not (folder / "card.json").is_file():
            raise ArtifactError(f"snapshot = {settings.snapshot!r}: {folder} holds no card.json. Nothing was changed.")
    if folder is None:
        return None
    if live and settings.split.hold_out_users and not _held_people_out(folder):
        raise ConfigError(
            "split.hold_out_users is true, but the live model was trained with it false: it has seen the people who "
            "would judge it. Keep the setting false, or start in a home of its own with --set home=…. Nothing was "
            "embedded."
        )
    card = load_card(folder)
    same_nets = card.options == settings.model or card.options.grows_into(settings.model)
    fits = same_nets and load_basis(folder).options.identity() == settings.embeddings.identity()
    fits = fits and recommender_of(workspace, folder).identity() == settings.recommender.identity()
    return folder if fits and has_set_fields(workspace, card.spec) else None


def recommender_of(workspace: Workspace, model: Path | None) -> NextItemOptions:
    """Return the settings of the recommenders that a model was told by, tonight's for one without."""
    facts = load_card(model).facts if model else {}
    return NextItemOptions(**facts["recommender"]) if "recommender" in facts else workspace.settings.recommender


def _held_people_out(folder: Path) -> bool:
    """Return whether a night's generator was trained without the people of the judge and test split."""
    return bool(load_card(folder).facts.get("users_held_out") != NOBODY)


def live_folder(workspace: Workspace) -> Path | None:
    """Return the folder of the live generator, or None before the first release."""
    live = workspace.live()
    return workspace.model_folder(live.model_version_id) if live else None


def preferences(night: Night, embedded: Embedded, version: str, *, held_back: bool = False) -> PreferenceTable:
    """Return tonight's vectors in the basis `version`."""
    return load_preferences(embedded.folder(night, version) / (HELD_BACK if held_back else TONIGHT))


def preferences_for(
    workspace: Workspace, night: Night, embedded: Embedded, model: Path, *, held_back: bool = False
) -> PreferenceTable:
    """Return what tonight is known of users for the generator in the folder `model`, in its basis.

    What was not asked for when the night embedded, because somebody moved what is live since, is embedded now.
    """
    basis, asked = load_basis(model), asked_of_users(load_card(model).spec)
    folder = embedded.folder(night, basis.version)
    there = fields_in(folder / HELD_BACK) if (folder / HELD_BACK).is_file() else None
    if there is None or any(there.get(name, 0) < rows for name, rows in asked.items()):
        both = {name: max(asked.get(name, 0), (there or {}).get(name, 0)) for name in {*asked, *(there or {})}}
        recommended = stage_result(night, Recommended)
        data, options = NightData.of(workspace, night), recommender_of(workspace, model)
        write_tables(workspace, night, data, basis, dict(sorted(both.items())), options)
        keep_or_fall_back(workspace, folder, recommended)
    return preferences(night, embedded, basis.version, held_back=held_back)
