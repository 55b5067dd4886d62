"""Which fields tonight's model is told, and what a night knows of users before each event, and of pictures."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from personalgen.conditions import ConditionSpec
from personalgen.embeddings import (
    Basis,
    FieldRows,
    Foresight,
    Moments,
    asked_of_users,
    condition_spec,
    label_rows,
    label_vocabulary,
    sentence_rows,
    vectors_before_events,
    vectors_known,
)
from personalgen.embeddings.basis import Matrix
from personalgen.embeddings.fields import BEHAVIOUR, EXPECTED, LABELS, PREFERENCE, TEXT
from personalgen.errors import ConfigError
from personalgen.histories import DAY_SEC, History
from personalgen.models import load_card
from personalgen.recommenders import NextItemOptions
from personalgen.steps.data import NightData
from personalgen.steps.features import sentence_features
from personalgen.steps.workspace import Workspace
from personalgen.training import Behaviour


def spec_to_train(workspace: Workspace, data: NightData, start: Path | None) -> ConditionSpec:
    """Return what tonight's model is told: what its start was, the values of labels included, else what is set.

    Raises:
        ConfigError: labels are asked for, and no training item has one.
    """
    if start is not None:
        return load_card(start).spec
    options = workspace.settings.condition
    own = [labels for labels, train in zip(data.labels, data.train_items, strict=True) if train]
    vocabulary = label_vocabulary(own, options.label_values) if LABELS in options.fields else ()
    if LABELS in options.fields and not vocabulary:
        raise ConfigError(
            "condition.fields names labels, and no training item has any: source.columns.items.labels is "
            f"{list(workspace.settings.source.columns.items.labels)}. Name the label columns there, or leave the field "
            "out. Nothing was embedded."
        )
    return _spec(workspace, vocabulary)


def has_set_fields(workspace: Workspace, spec: ConditionSpec) -> bool:
    """Return whether a model of this specification is told what the settings ask for, whatever its labels' values."""
    labels = spec.find(LABELS)
    return _spec(workspace, labels.values if labels else ()) == spec


def _spec(workspace: Workspace, labels: tuple[str, ...]) -> ConditionSpec:
    """Return the specification of the settings, with the vocabulary `labels`."""
    embeddings = workspace.settings.embeddings
    return condition_spec(workspace.settings.condition, embeddings.dim, labels, next_item_dim=embeddings.next_item_dim)


def known_before(
    history: History,
    basis: Basis,
    features: Matrix,
    spec: ConditionSpec,
    events: NDArray[np.int64],
    options: NextItemOptions,
) -> dict[str, FieldRows]:
    """Return the fields of `spec` but behaviour that tell of users as they were known before each of the `events`.

    `options` are those of the recommenders that foretell what is expected.
    """
    found = {}
    if spec.find(PREFERENCE):
        vectors = vectors_before_events(history, basis, features)[events]
        found[PREFERENCE] = FieldRows(vectors, np.ones(len(events), dtype=np.bool_))
    if asked := asked_of_users(spec):
        items, moments = basis.item_vectors(features, history.item_ids), Moments.before_events(history, events)
        foresight = Foresight.of_others(history, options) if EXPECTED in asked else None
        found |= vectors_known(history, basis, items, moments, asked, foresight)
    return found


def behaviour_before(
    history: History, basis: Basis, features: Matrix, spec: ConditionSpec, events: NDArray[np.int64]
) -> Behaviour | None:
    """Return what users had done before each of the `events`, where `spec` asks for it."""
    entry = spec.find(BEHAVIOUR)
    if entry is None:
        return None
    start, stop = history.known_before()
    days = (history.timestamp - history.timestamp.min(initial=np.iinfo(np.int64).max)) / DAY_SEC
    return Behaviour(
        name=BEHAVIOUR,
        longest=entry.longest,
        item_features=torch.from_numpy(basis.item_vectors(features, history.item_ids)),
        item_of_event=torch.from_numpy(history.item_index),
        weight_of_event=torch.from_numpy(history.weight),
        day_of_event=torch.from_numpy(days.astype(np.float32)),
        start_of_pair=torch.from_numpy(start[events]),
        stop_of_pair=torch.from_numpy(stop[events]),
    )


def picture_fields(
    workspace: Workspace, data: NightData, spec: ConditionSpec, items: NDArray[np.int64]
) -> dict[str, FieldRows]:
    """Return the fields of `spec` that tell of pictures, a row for each of `items`.

    Raises:
        ConfigError: text is among them, and the extra `text` is missing.
    """
    found = {}
    if labels := spec.find(LABELS):
        found[LABELS] = label_rows([data.labels[item] for item in items.tolist()], labels.values)
    if spec.find(TEXT):
        found[TEXT] = _texts(workspace, data).rows(items)
    return found


def _texts(workspace: Workspace, data: NightData) -> FieldRows:
    """Return the vectors of all items' texts, computed once for each text."""
    return sentence_rows(sentence_features(workspace.data / "features", data.texts, workspace.report))
