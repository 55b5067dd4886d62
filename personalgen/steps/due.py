"""Measures what is new tonight since the champion was trained, for the rule by which a night trains or does not."""

from dataclasses import asdict
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from personalgen.artifacts import digest_of
from personalgen.catalogue import read
from personalgen.catalogue.rows import LiveRelease
from personalgen.conditions import ConditionSpec
from personalgen.histories import DAY_SEC
from personalgen.models import load_card
from personalgen.steps.data import NightData
from personalgen.steps.embed import Embedded
from personalgen.steps.night import Night
from personalgen.steps.workspace import Workspace
from personalgen.training.due import Due, SinceTraining, is_due
from personalgen.training.job import settings_identity

SETTINGS, N_LIKES = "settings_trained_with", "n_likes"
"""Facts of a card: digest of what the rule compares, and how many likes of training people there were."""


def training_due(workspace: Workspace, night: Night, embedded: Embedded) -> Due:
    """Return whether tonight trains, by the rule of `retrain`."""
    live = workspace.live()
    since = since_training(workspace, night, embedded, live) if live else None
    return is_due(since, workspace.settings.retrain)


def since_training(workspace: Workspace, night: Night, embedded: Embedded, live: LiveRelease) -> SinceTraining:
    """Return what is new since the live model was trained.

    A like is new that is dated since then; where more came than that, as late ones did, those are.
    """
    folder, data = workspace.model_folder(live.model_version_id), NightData.of(workspace, night)
    card, model = load_card(folder), read.model_by_id(workspace.engine, live.model_version_id)
    champion, facts = f"v{live.version}", card.facts
    known = all(name in facts for name in ("as_of", SETTINGS, N_LIKES)) and model.night_id is not None
    differs = _differs(champion, embedded, str(folder)) or (
        f"the card of {champion} does not say what it was trained on" if not known else ""
    )
    if differs or model.night_id is None:
        return SinceTraining(champion, 0, 0, 0, 0.0, differs)
    if facts[SETTINGS] != settings_digest(workspace, card.spec):
        return SinceTraining(champion, 0, 0, 0, 0.0, f"{champion} was trained with other settings")
    then, now = (datetime.fromisoformat(text).timestamp() for text in (str(facts["as_of"]), night.as_of))
    liked_at = data.history.timestamp[training_likes(data)]
    return SinceTraining(
        champion=champion,
        new_likes=max(int((liked_at >= then).sum()), len(liked_at) - int(facts[N_LIKES])),
        likes=len(liked_at),
        new_items=read.n_training_items_since(workspace.engine, model.night_id),
        days=(now - then) / DAY_SEC,
    )


def due_facts(workspace: Workspace, data: NightData, spec: ConditionSpec) -> dict[str, object]:
    """Return what a card says, so that later nights know what is new since."""
    return {SETTINGS: settings_digest(workspace, spec), N_LIKES: int(training_likes(data).sum())}


def settings_digest(workspace: Workspace, spec: ConditionSpec) -> str:
    """Return a digest of the settings that decide what a training on the same likes ends with."""
    settings = workspace.settings
    more = {"split": asdict(settings.split), "history_variants": settings.condition.history_variants}
    return digest_of({**settings_identity(spec, settings.model, settings.train), **more})


def training_likes(data: NightData) -> NDArray[np.bool_]:
    """Return (n_events,) True for likes of training items by training people, earlier and later ones."""
    history = data.history
    found = (history.weight > 0) & data.train_users[history.user_index] & data.train_items[history.item_index]
    return np.asarray(found, dtype=np.bool_)


def _differs(champion: str, embedded: Embedded, folder: str) -> str:
    """Return why tonight's training would not go on from the champion, in its basis; empty where it would."""
    if not embedded.start:
        return f"nets, basis, recommender or fields of {champion} are not those of the settings"
    if embedded.start != folder:
        return f"{champion} became live after tonight's people were embedded"
    return "the basis was fitted anew tonight" if embedded.is_new_basis else ""
