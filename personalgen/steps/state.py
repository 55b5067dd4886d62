"""What is kept of users from night to night, brought up to tonight by what has changed since the night before.

`data/state` holds the affinity state and the recommender, and a manifest, written last, that says which night they are
of. What changed is found by comparing that night's tables with tonight's, event by event, so that late, corrected and
withdrawn events count exactly. Where the state cannot be gone on from it is built from all events, and the reason said.
"""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from personalgen.affinity import AffinityOptions, AffinityState
from personalgen.artifacts import digest_of, read_json, write_json
from personalgen.catalogue import write
from personalgen.embeddings.fields import KNOWN_EVENTS
from personalgen.errors import ArtifactError
from personalgen.histories import History, HistoryChange
from personalgen.recommenders.by_size import NextItemModel, next_item_model
from personalgen.recommenders.next_item import LinearNextItem
from personalgen.recommenders.stored import load_recommender, save_recommender
from personalgen.steps.data import NightData
from personalgen.steps.night import Night
from personalgen.steps.workspace import Workspace
from personalgen.tables import load_prepared

MANIFEST, AFFINITY = "state.json", "affinity"
_FORMAT, _MOST_PARTS, _MOST_BUCKETS, _BATCH = 1, 30, 4096, 1 << 20
_RECOMMENDER = "next-item-"
_OTHER_SIZE = 4
"""How many times more, or fewer, buckets than the state has would be needed to build it again."""


@dataclass(frozen=True)
class Kept:
    """What the manifest says."""

    night: str
    """Key of the night that the state is of."""
    night_folder: str
    """Where that night's results lie."""
    as_of: str
    prepared: str
    """The tables that the state was made of."""
    recommender: str
    """Folder of the recommender, below that of the state."""
    parts: tuple[str, ...]
    """Parts of the affinity state: others than these mean that a night was cut."""
    subtracted: tuple[str, ...] = ()
    """Digests of the ids of users whom the state has forgotten since; coefficients have not been solved again."""


@dataclass(frozen=True)
class Tonight:
    """The state as of tonight."""

    affinity: AffinityState
    recommender: NextItemModel
    recommender_folder: Path
    change: HistoryChange
    """Since the night before; since nothing where the state was built."""
    before: Kept | None
    """The night before, where the state was gone on from."""
    how: str
    """"updated", or "built" and why."""


def state_folder(workspace: Workspace) -> Path:
    """Return where the state lies."""
    return workspace.data / "state"


def kept_state(workspace: Workspace) -> Kept | None:
    """Return what the manifest says, or None where there is no state that this version reads."""
    path = state_folder(workspace) / MANIFEST
    raw = read_json(path) if path.is_file() else {}
    return _kept(raw) if raw.get("format") == _FORMAT else None


def bring_up(workspace: Workspace, night: Night, data: NightData) -> Tonight:
    """Return the state as of tonight; a night that did this before finds it done."""
    folder = state_folder(workspace)
    before, why = _gone_on_from(workspace, night)
    earlier, why = _earlier(workspace, night, data, before) if before else (None, why)
    before = before if earlier is not None else None
    change = HistoryChange.between(_nobody(data.history) if earlier is None else earlier, data.history)
    affinity = _affinity(workspace, night, change, is_new=before is None)
    name = _recommender(workspace, change, before)
    kept = Kept(
        night.key, night.folder, night.as_of, night.prepared, name, tuple(part.folder for part in affinity.parts)
    )
    publish(workspace, kept, before)
    write.complete_forgotten(workspace.engine, night.night_id, at=workspace.now())
    how = f"built: {why}" if why else "updated"
    return Tonight(affinity, load_recommender(folder / name), folder / name, change, before, how)


def publish(workspace: Workspace, kept: Kept, before: Kept | None) -> None:
    """Write the manifest, and remove recommenders that it does not name."""
    folder = state_folder(workspace)
    write_json(folder / MANIFEST, {"format": _FORMAT, **asdict(kept), "before": before and asdict(before)})
    for path in folder.glob(f"{_RECOMMENDER}*"):
        if path.name != kept.recommender:
            shutil.rmtree(path)


def event_batches(history: History, chosen: NDArray[np.bool_]) -> Iterator[pa.RecordBatch]:
    """Yield the chosen events as an affinity state takes them."""
    users, items = pa.array(history.user_ids, type=pa.string()), pa.array(history.item_ids, type=pa.string())
    rows = np.flatnonzero(chosen)
    for start in range(0, len(rows), _BATCH):
        own = rows[start : start + _BATCH]
        columns = {
            "user_id": users.take(pa.array(history.user_index[own])),
            "item_id": items.take(pa.array(history.item_index[own])),
            "timestamp": history.timestamp[own],
            "weight": history.weight[own],
        }
        yield pa.RecordBatch.from_pydict(columns)


def _gone_on_from(workspace: Workspace, night: Night) -> tuple[Kept | None, str]:
    """Return the night whose state tonight goes on from by the manifest, or None and why it has to be built."""
    path = state_folder(workspace) / MANIFEST
    raw: dict[str, Any] = read_json(path) if path.is_file() else {}
    if not raw:
        return None, "there was none"
    if raw.get("format") != _FORMAT:
        return None, f"another version wrote the state (format {raw.get('format')}, this one reads {_FORMAT})"
    kept = _kept(raw)
    if kept.night == night.key:  # done before, and cut before the stage's result was written
        if raw["before"] is None:
            return None, "there was none"  # as the first attempt said: a cut night ends like one that was not
        kept = _kept(raw["before"])
    if datetime.fromisoformat(kept.as_of) > datetime.fromisoformat(night.as_of):
        return None, f"it was of a later night, up to {kept.as_of}"
    return kept, ""


def _earlier(workspace: Workspace, night: Night, data: NightData, kept: Kept) -> tuple[History | None, str]:
    """Return the history that the state holds, or None and why it cannot be gone on from."""
    try:
        earlier = history_of(workspace, kept)
    except (ArtifactError, OSError) as error:
        return None, f"the tables it was made of cannot be read: {error}"
    try:
        affinity = AffinityState.open(state_folder(workspace) / AFFINITY)
        affinity.require_whole()
    except ArtifactError as error:
        return None, str(error)
    parts = [part for part in affinity.parts if night.key not in part.nights]
    if tuple(part.folder for part in parts) != kept.parts:
        return None, "a night was cut while it changed the state"
    wanted = affinity_options(workspace, len(data.history.user_ids))
    if (affinity.options.half_life_days, affinity.options.n_recent) != (wanted.half_life_days, wanted.n_recent):
        return None, f"embeddings.half_life_days is {wanted.half_life_days:g}, not {affinity.options.half_life_days:g}"
    if not 1 / _OTHER_SIZE < wanted.n_buckets / affinity.options.n_buckets < _OTHER_SIZE:
        return None, f"{len(data.history.user_ids):,} users need {wanted.n_buckets} buckets"
    return earlier, ""


def affinity_options(workspace: Workspace, n_users: int) -> AffinityOptions:
    """Return the layout of a state of so many users."""
    settings = workspace.settings
    n_buckets = 1
    while n_buckets * settings.buckets.users < n_users and n_buckets < _MOST_BUCKETS:
        n_buckets *= 2
    return AffinityOptions(settings.embeddings.half_life_days, KNOWN_EVENTS, n_buckets)


def _affinity(workspace: Workspace, night: Night, change: HistoryChange, *, is_new: bool) -> AffinityState:
    """Return the affinity state with what has changed."""
    folder, as_of = state_folder(workspace) / AFFINITY, datetime.fromisoformat(night.as_of)
    batches = event_batches(change.now, change.is_new)
    if is_new:
        options = affinity_options(workspace, len(change.now.user_ids))
        return AffinityState.build(folder, batches, as_of=as_of, options=options)
    state = AffinityState.open(folder)
    if not change.is_new.any() and not change.withdrawn_users:
        return state
    replaced = change.withdrawn_users or None
    state = state.add(batches, as_of=as_of, night=night.key, replaced=replaced)
    return state.compacted() if len(state.parts) > _MOST_PARTS else state


def _recommender(workspace: Workspace, change: HistoryChange, before: Kept | None) -> str:
    """Return the name of the folder with the recommender that has learnt what changed."""
    folder, options = state_folder(workspace), workspace.settings.recommender
    old = _loaded(folder / before.recommender) if before else None
    if (
        not isinstance(old, LinearNextItem)
        or old.options.identity() != options.identity()
        or len(change.now.item_ids) > options.most_items
    ):
        return save_new(folder, next_item_model(change.now, options))
    if before and _is_same(old, change) and not before.subtracted:
        return before.recommender
    old.options = options
    return save_new(folder, old.follow(change).solve())


def save_new(folder: Path, model: NextItemModel) -> str:
    """Write a recommender to a folder of its own below that of the state, which counts once the manifest names it."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=_RECOMMENDER, dir=folder))
    save_recommender(made, model)
    return made.name


def _is_same(old: LinearNextItem, change: HistoryChange) -> bool:
    """Return whether there is nothing to learn."""
    return old.item_ids == change.now.item_ids and not change.is_new.any() and not change.withdrawn_users


def _loaded(folder: Path) -> NextItemModel | None:
    """Return the recommender of a folder, or None where there is none that this version reads."""
    try:
        return load_recommender(folder)
    except (ArtifactError, OSError):
        return None


def history_of(workspace: Workspace, kept: Kept) -> History:
    """Return the history that the state holds: that of its tables without whom it has forgotten since."""
    history = NightData(load_prepared(kept.prepared), workspace.settings.split).history
    gone = [
        k for k, user_id in enumerate(history.user_ids) if kept.subtracted and digest_of(user_id) in kept.subtracted
    ]
    return history.where(~np.isin(history.user_index, gone)) if gone else history


def _nobody(history: History) -> History:
    """Return the same people without an event."""
    return history.where(np.zeros(len(history.weight), dtype=np.bool_))


def _kept(raw: dict[str, Any]) -> Kept:
    own = {entry.name: raw[entry.name] for entry in fields(Kept)}
    return Kept(**own | {name: tuple(raw[name]) for name in ("parts", "subtracted")})
