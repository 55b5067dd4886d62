"""Forgets a person: subtracted from what was learnt, taken out of every table that nights keep, with a ledger line."""

import shutil
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from personalgen.affinity import AffinityState
from personalgen.artifacts import atomic_path, digest_of, read_manifest, seal_folder
from personalgen.catalogue import read, write
from personalgen.catalogue.facts import ForgottenFacts
from personalgen.errors import ArtifactError
from personalgen.histories import History
from personalgen.recommenders.base import Forgetting
from personalgen.recommenders.by_size import NextItemModel
from personalgen.recommenders.stored import load_recommender
from personalgen.steps.recommend import RECOMMENDATIONS, USER_NEIGHBOURS
from personalgen.steps.state import AFFINITY, Kept, history_of, kept_state, publish, save_new, state_folder
from personalgen.steps.vote import forget_in_pairs
from personalgen.steps.workspace import Workspace
from personalgen.training.job import PAIRS

_TABLES = {
    "embed/**/*.parquet": ("user_id",),
    "recommend/**/*.parquet": ("user_id",),
    f"recommend/{RECOMMENDATIONS}": ("id",),
    f"recommend/{USER_NEIGHBOURS}": ("id", "found"),
}
"""Tables below a night's folder, and the columns in which they may name a person."""
_MADE_AGAIN = (f"train/{PAIRS}", "plan-*.parquet", "manual-*.parquet", "embed/*/recommender")
"""What a night makes again if it is needed: what to train on, whom to draw for, and what a model was told by."""
_MARK = "forgetting.tmp"
"""Stands in a prepared folder while it is rewritten: its seal does not fit then."""


@dataclass(frozen=True)
class ForgottenPerson:
    """What was done, and when the rest will be."""

    ledger_id: int
    removed: dict[str, int]
    """How many of each kind of thing were rewritten without the person, or deleted."""
    recommender: str
    """When the recommender will have forgotten the person; empty where it had learnt nothing."""
    n_assets: int
    """Images of the person that still lie in shards; nobody is shown them."""


def forget(workspace: Workspace, user_id: str, *, reason: str, actor: str) -> ForgottenPerson:
    """Forget a person, whom no later night reads again; the command may be repeated, and goes on where it was cut.

    Raises:
        NotFoundError: the catalogue knows no such user.
    """
    engine = workspace.engine
    read.user_key(engine, user_id)  # raises for whom nobody knows
    removed: Counter[str] = Counter()
    when = _from_state(workspace, user_id, removed)
    for path in sorted((workspace.data / "prepared").glob("*/manifest.json")):
        removed["prepared tables"] += _from_prepared(path.parent, user_id)
    for pattern, columns in _TABLES.items():
        for path in sorted((workspace.data / "nights").glob(f"*/{pattern}")):
            removed["tables of nights"] += _from_table(path, user_id, columns)
    for pattern in _MADE_AGAIN:
        for path in sorted((workspace.data / "nights").glob(f"*/{pattern}")):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            removed["files that are made again"] += 1
    removed["blind pairs"] += forget_in_pairs(workspace, user_id)
    kept = kept_state(workspace)
    facts = ForgottenFacts(
        user_id=user_id,
        actor=actor,
        reason=reason,
        statistics_exact=kept is not None and digest_of(user_id) in kept.subtracted and when is not Forgetting.NEXT_FIT,
        removed={kind: count for kind, count in removed.items() if count},
    )
    ledger_id = write.record_forgotten(engine, facts, at=workspace.now())
    line = next(one for one in read.forgotten(engine) if one.forgotten_id == ledger_id)
    return ForgottenPerson(ledger_id, dict(line.removed), when or "", read.count_assets(engine, user_id))


def _from_state(workspace: Workspace, user_id: str, removed: "Counter[str]") -> Forgetting | None:
    """Take a person out of the state; return when the recommender will have forgotten, None where it knew nothing.

    A state that no night would go on from is deleted: the next one builds it without the person.
    """
    folder, kept = state_folder(workspace), kept_state(workspace)
    if not folder.is_dir():
        return None
    found = _whole_state(workspace, kept) if kept else None
    if kept is None or found is None:
        shutil.rmtree(folder)
        removed["state, which the next night builds"] = 1
        return Forgetting.NEXT_FIT
    affinity, history, model = found
    when, name, subtracted = None, kept.recommender, kept.subtracted
    person = history.where(history.user_index == _place(history, user_id))
    if len(person.weight):
        when = model.forget(person)
        name, subtracted = save_new(folder, model), (*subtracted, digest_of(user_id))
    parts = tuple(part.folder for part in affinity.forget([user_id]).parts)
    publish(workspace, replace(kept, recommender=name, parts=parts, subtracted=subtracted), None)
    removed["affinity state"] = 1
    return when


def _whole_state(workspace: Workspace, kept: Kept) -> tuple[AffinityState, History, NextItemModel] | None:
    """Return what the manifest names, or None where it is not all there, or a night was cut."""
    folder = state_folder(workspace)
    try:
        affinity = AffinityState.open(folder / AFFINITY)
        affinity.require_whole()
        history, model = history_of(workspace, kept), load_recommender(folder / kept.recommender)
    except (ArtifactError, OSError):
        return None
    return (affinity, history, model) if tuple(part.folder for part in affinity.parts) == kept.parts else None


def _place(history: History, user_id: str) -> int:
    return history.user_ids.index(user_id) if user_id in history.user_ids else -1


def _from_prepared(folder: Path, user_id: str) -> bool:
    """Rewrite a sealed folder without the person, and seal it again; return whether the person was there."""
    mark = folder / _MARK
    was_cut, found = mark.exists(), False
    for path in sorted(folder.glob("*.parquet")):
        if _names(path, user_id, ("user_id",)).any():
            mark.touch()
            found = _from_table(path, user_id, ("user_id",))
    if mark.exists():
        seal_folder(folder, read_manifest(folder) or {})
        mark.unlink()
    return found or was_cut


def _names(path: Path, user_id: str, columns: tuple[str, ...]) -> NDArray[np.bool_]:
    """Return which rows of a table name the person."""
    table = pq.read_table(path, columns=[name for name in columns if name in pq.read_schema(path).names])
    own = np.zeros(len(table) if table.column_names else 0, dtype=np.bool_)
    for name in table.column_names:
        own |= pc.fill_null(pc.equal(table[name].cast(pa.string()), user_id), fill_value=False).to_numpy()
    return own


def _from_table(path: Path, user_id: str, columns: tuple[str, ...]) -> bool:
    """Rewrite a table without the rows that name the person; return whether there were any."""
    own = _names(path, user_id, columns)
    if not own.any():
        return False
    table = pq.read_table(path)
    with atomic_path(path) as temporary:
        pq.write_table(table.filter(pa.array(~own)), temporary, compression="zstd")
    return True
