"""Writes what is known of users in a basis, tonight's from the state bucket by bucket, and keeps watch over drift."""

import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import numpy as np

from personalgen.affinity import AffinityState
from personalgen.artifacts import write_json
from personalgen.embeddings import (
    Basis,
    Foresight,
    PreferenceTable,
    embed_users,
    fields_in,
    load_preferences,
    save_basis,
    save_preferences,
)
from personalgen.embeddings.basis import Matrix
from personalgen.embeddings.drift import held_at, measure_drift
from personalgen.embeddings.fields import EXPECTED
from personalgen.embeddings.rated import load_rated
from personalgen.recommenders import NextItemOptions
from personalgen.recommenders.by_size import next_item_model
from personalgen.recommenders.stored import load_recommender, save_recommender
from personalgen.steps.buckets import EmbedJob, embed_bucket, write_job
from personalgen.steps.data import NightData
from personalgen.steps.night import Night
from personalgen.steps.rated import rated_in, write_rated
from personalgen.steps.recommend import Recommended, unchanged_users
from personalgen.steps.state import AFFINITY, kept_state, state_folder
from personalgen.steps.workspace import Workspace
from personalgen.tables.prepared import USERS

TONIGHT, HELD_BACK = "preferences.parquet", "held_back.parquet"
COMPUTED, DRIFT = "computed.parquet", "drift.json"
"""What tonight's vectors would have been, where last night's are used; and why, with the figures."""


def basis_folder(night: Night, version: str) -> Path:
    """Return where a night keeps the basis `version` and what is known of users in it."""
    return night.path / "embed" / version[:12]


def write_tables(
    workspace: Workspace,
    night: Night,
    data: NightData,
    basis: Basis,
    asked: Mapping[str, int],
    options: NextItemOptions,
) -> None:
    """Write a basis and both tables of what is known of users in it, the fields that are `asked` for among them."""
    folder, features = basis_folder(night, basis.version), data.features(workspace, basis.options)
    save_basis(folder, basis)
    rated = write_rated(workspace, night, folder, basis)
    save_preferences(folder / TONIGHT, _tonight(workspace, night, data, features, basis, asked, options, rated))
    foresight = Foresight.of(data.training_history(), options) if EXPECTED in asked else None
    history, now = data.earlier_history(), data.held_back_from()
    table = embed_users(history, basis, features, asked, now=now, foresight=foresight)
    save_preferences(folder / HELD_BACK, table)


def keep_or_fall_back(
    workspace: Workspace, folder: Path, recommended: Recommended
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Compare tonight's vectors in a folder with last night's, which replace them where they have moved by themselves.

    Returns the figures, and why users keep last night's; both empty where that night had no vectors in this basis.
    """
    served = Path(recommended.night_before or folder) / "embed" / folder.name / TONIGHT
    tonight = load_preferences(folder / TONIGHT)
    if not recommended.night_before or not served.is_file() or fields_in(served) != fields_in(folder / TONIGHT):
        write_json(folder / DRIFT, {"figures": {}, "fell_back": []})
        return {}, ()
    # A night that fell back is compared by what it computed: what it used is older than what was known then.
    computed = served.with_name(COMPUTED)
    before = load_preferences(computed if computed.is_file() else served)
    tells = EXPECTED in tonight.fields and recommended.ndcg_share is not None
    share = float(recommended.ndcg_share or 0) if tells else float("nan")
    # Who rated by last night moves without an event, too, once a rating is withdrawn, deleted or not heard any more.
    raters = {user_id for heard in (rated_in(folder), rated_in(served.parent)) if heard for user_id in heard.user_ids}
    unchanged = unchanged_users(recommended) - raters
    drift = measure_drift(before, tonight, unchanged, ndcg_share=share)
    reasons = drift.reasons(workspace.settings.drift)
    if reasons:
        save_preferences(folder / COMPUTED, tonight)
        save_preferences(folder / TONIGHT, held_at(load_preferences(served), tonight))
    else:
        (folder / COMPUTED).unlink(missing_ok=True)
    write_json(folder / DRIFT, {"figures": drift.metrics(), "fell_back": reasons})
    return drift.metrics(), reasons


def _tonight(
    workspace: Workspace,
    night: Night,
    data: NightData,
    features: Matrix,
    basis: Basis,
    asked: Mapping[str, int],
    options: NextItemOptions,
    rated: str,
) -> PreferenceTable:
    """Return what is known of every user: from the state, or from histories where it has another night or half-life.

    `rated` is the file of people's ratings of their own pictures, "" where there is none.
    """
    ratings = load_rated(Path(rated)) if rated else None
    history, now = data.history, int(datetime.fromisoformat(night.as_of).timestamp())
    kept = kept_state(workspace)
    is_own = kept is not None and kept.night == night.key
    affinity = AffinityState.open(state_folder(workspace) / AFFINITY) if is_own else None
    if kept is None or affinity is None or affinity.options.half_life_days != basis.options.half_life_days:
        foresight = Foresight.of(history, options) if EXPECTED in asked else None
        return embed_users(history, basis, features, asked, now=data.tonight(), foresight=foresight, rated=ratings)
    folder = basis_folder(night, basis.version)
    recommender = str(state_folder(workspace) / kept.recommender)
    if EXPECTED in asked and options.identity() != workspace.settings.recommender.identity():  # the kept one's settings
        recommender = str(save_recommender(folder / "recommender", next_item_model(history, options)))
    job = EmbedJob(
        affinity=str(affinity.folder),
        recommender=recommender,
        basis=str(folder),
        features=str(data.features_file(workspace, basis.options)),
        asked=dict(asked),
        users=str(data.prepared.folder / USERS),
        now=now,
        out=str(folder / "buckets"),
        rated=rated,
    )
    parts = workspace.over_buckets(embed_bucket, write_job(folder / "job.json", job), affinity.buckets())
    tables = [load_preferences(Path(part)) for part in parts if part]
    silent = np.setdiff1d(np.arange(len(history.user_ids)), history.user_index)
    nobody = history.where(np.zeros(len(history.weight), dtype=np.bool_)).of(silent)
    foresight = Foresight.by(load_recommender(Path(recommender)), len(silent)) if EXPECTED in asked else None
    now_of = np.full(len(silent), now, dtype=np.int64)
    tables.append(embed_users(nobody, basis, features, asked, now=now_of, foresight=foresight, rated=ratings))
    shutil.rmtree(job.out, ignore_errors=True)
    return PreferenceTable.joined(tables)
