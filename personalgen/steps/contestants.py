"""Ways to draw for people that are compared with tonight's model: baselines with nets of their own, and without.

Those with nets are trained on the same pictures, with the same budget and settings but for what makes them what they
are, from scratch; a training that was cut goes on, and one that is there is not done again, whatever the night.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personalgen.artifacts import digest_of
from personalgen.config import with_values
from personalgen.embeddings import PreferenceTable
from personalgen.embeddings.basis import Matrix
from personalgen.evaluation.nearest import unit_rows
from personalgen.histories import History
from personalgen.seeding import derive_seed
from personalgen.steps.data import NightData
from personalgen.steps.embed import Embedded
from personalgen.steps.night import Night
from personalgen.steps.train import save_model, train_job, training_facts, training_job
from personalgen.steps.workspace import Workspace

UNCONDITIONAL, BY_CLASS, CONCATENATION, CVAE = "unconditional", "class-conditional", "concatenation", "CVAE"
_PLAIN = {"train.mismatch_weight": 0.0, "train.contrast_weight": 0.0}
TRAINED: Mapping[str, Mapping[str, Any]] = {
    UNCONDITIONAL: _PLAIN | {"condition.fields": [], "model.group_size": 1},
    BY_CLASS: _PLAIN | {"condition.fields": ["labels"], "train.mismatch_weight": 1.0},
    CONCATENATION: _PLAIN | {"model.conditioning": "concatenate", "train.condition_jitter": 0.0},
    CVAE: _PLAIN | {"model.family": "vae", "train.feature_weight": 0.0},
}
"""What baselines set, beside the settings of the night. An unconditional net must not be shown groups of one person's
pictures: it cannot make four that belong together, and would be told apart by that alone."""
FOLDER = "contestants"


def train_contestant(workspace: Workspace, night: Night, embedded: Embedded, name: str) -> Path:
    """Return the folder of a baseline of `TRAINED`, which has seen `train.max_kimg` thousands of tonight's images."""
    settings = with_values(workspace.settings, {**TRAINED[name], "train.max_minutes": 0.0, "train.slice_kimg": 0.0})
    own = replace(workspace, settings=settings)
    job = training_job(own, night, embedded, None)
    folder = workspace.data / FOLDER / f"{name}-{digest_of(job.identity)[:16]}"
    if not (folder / "model" / "card.json").is_file():
        trained = train_job(job, folder, None, progress=workspace.report(name))
        facts = training_facts(night, NightData.of(own, night), embedded, None) | {"contestant": name}
        basis = embedded.train_basis
        save_model(folder, trained, embedded.folder(night, basis), basis_version=basis, facts=facts)
    return folder / "model"


def likes_of_users(data: NightData, users: NDArray[np.int64]) -> History:
    """Return what the conditions of these users know of their likes: earlier ones, of training items."""
    earlier = data.earlier_history().of(users)
    return earlier.where(earlier.weight > 0)


def drawn_likes(
    likes: History, weights: NDArray[np.float64], per_user: int, *, everybody: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return (n_users, per_user) items: random likes of each user by weight, of `everybody` where there is none.

    The same user gets the same ones whatever users stand beside.
    """
    found = np.empty((len(likes.user_ids), per_user), dtype=np.int64)
    for user, (start, stop) in enumerate(zip(likes.bounds[:-1], likes.bounds[1:], strict=True)):
        rng = np.random.default_rng(derive_seed(likes.user_ids[user], 0))
        items, own = everybody, np.ones(len(everybody))
        if stop > start:
            items, own = likes.item_index[start:stop], weights[start:stop]
        found[user] = rng.choice(items, per_user, replace=len(items) < per_user, p=own / own.sum())
    return found


def nearest_items(data: NightData, items: Matrix, table: PreferenceTable, per_user: int) -> NDArray[np.int64]:
    """Return (n_users, per_user) training items nearest to each preference, what is in the history left out.

    The upper bound of realism: pictures that are real, chosen by the same vector that generators are told. `items` are
    all (n_items, dim) of them, standardised like preferences.
    """
    history = data.earlier_history()
    place = {user_id: k for k, user_id in enumerate(history.user_ids)}
    users = np.array([place[user_id] for user_id in table.user_ids], dtype=np.int64)
    scores = unit_rows(table.vectors) @ unit_rows(items).T
    scores[:, ~data.train_items] = -np.inf
    own = history.of(users)
    scores[own.user_index, own.item_index] = -np.inf
    return np.asarray(np.argsort(-scores, axis=1, kind="stable")[:, :per_user], dtype=np.int64)
