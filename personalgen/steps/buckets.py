"""The work on one bucket of users, from files to files, so that any process on any machine that sees them can do it.

A job file names what is read and where results go; it is the same for all buckets. What a bucket's work writes is whole
or absent, and the same however often and wherever it is done.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from personalgen.affinity import AffinityRows, AffinityState
from personalgen.artifacts import atomic_path, read_json, write_json
from personalgen.embeddings import Foresight, load_basis, save_preferences
from personalgen.embeddings.buckets import embed_rows, recent_history
from personalgen.embeddings.fields import EXPECTED
from personalgen.embeddings.matrix_columns import from_lists, to_lists
from personalgen.embeddings.rated import load_rated
from personalgen.histories import History
from personalgen.recommenders.base import Matrix
from personalgen.recommenders.by_size import NextItemModel
from personalgen.recommenders.neighbours import highest
from personalgen.recommenders.stored import load_recommender

_CHUNK_SCORES = 1 << 24


@dataclass(frozen=True)
class RecommendJob:
    """What is recommended to whom."""

    affinity: str
    """Folder of the affinity state."""
    recommender: str
    """Folder of the recommender, which knows tonight's items."""
    out: str
    """Folder of the results."""
    top_items: int


@dataclass(frozen=True)
class EmbedJob:
    """What users are told of in which basis."""

    affinity: str
    recommender: str
    """Folder of the recommender behind what is expected, which knows tonight's items."""
    basis: str
    """Folder of the basis."""
    features: str
    """(n_items, n_features) features of tonight's items, as .npy."""
    asked: dict[str, int]
    """Fields, besides the preference, and the most rows of each."""
    users: str
    """The users' table, which tells their segments."""
    now: int
    """Seconds since 1970."""
    out: str
    rated: str = ""
    """People's ratings of their own pictures; "" where there is none."""


def write_job(path: Path, job: RecommendJob | EmbedJob) -> str:
    """Write a job file; return its path."""
    return str(write_json(path, asdict(job)))


def recommend_bucket(job: str, bucket: int) -> str:
    """Write the best items that users of a bucket have not seen, and users' vectors; return the file, "" for nobody.

    Columns: user_id, items (places in the recommender's), scores, highest first, NaN where nothing is recommended, and
    vector. Only items with a score above zero are; whoever liked nothing has none.
    """
    told = RecommendJob(**read_json(Path(job)))
    state, model = AffinityState.open(Path(told.affinity)), load_recommender(Path(told.recommender))
    item_of_key = places_of_keys(state, model.item_ids)
    if (rows := state.bucket(bucket)) is None:
        return ""
    recent = recent_history(rows, item_of_key, model.item_ids, landmark=state.landmark)
    items, scores = _best(model, rows, recent, item_of_key, told.top_items)
    columns = {
        "user_id": pa.array(recent.user_ids, type=pa.string()),
        "vector": to_lists(model.user_vectors(recent), pa.float32()),
    }
    if items.shape[1]:  # a list has at least one entry
        columns |= {"items": to_lists(items, pa.int64()), "scores": to_lists(scores, pa.float32())}
    path = Path(told.out) / f"{bucket:04d}.parquet"
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns), temporary)
    return str(path)


def recommended_in(path: Path) -> tuple[tuple[str, ...], NDArray[np.int64], Matrix, Matrix]:
    """Return what `recommend_bucket` wrote: ids, (n, k) items and scores, and (n, dim) vectors."""
    table = pq.read_table(path)
    items, scores = (
        from_lists(table[name], kind) if name in table.column_names else np.zeros((len(table), 0), dtype=kind)
        for name, kind in (("items", np.int64), ("scores", np.float32))
    )
    return tuple(table["user_id"].to_pylist()), items, scores, from_lists(table["vector"], np.float32)


def embed_bucket(job: str, bucket: int) -> str:
    """Write the preferences of a bucket's users; return the file, "" for nobody."""
    told = EmbedJob(**read_json(Path(job)))
    state, model = AffinityState.open(Path(told.affinity)), load_recommender(Path(told.recommender))
    basis = load_basis(Path(told.basis))
    item_of_key = places_of_keys(state, model.item_ids)
    if (rows := state.bucket(bucket)) is None:
        return ""
    recent = recent_history(
        rows,
        item_of_key,
        model.item_ids,
        landmark=state.landmark,
        segment_of=_segments(told) if basis.segments else None,
    )
    items = basis.item_vectors(np.load(told.features, mmap_mode="r", allow_pickle=False), model.item_ids)
    foresight = Foresight.by(model, len(rows.users)) if EXPECTED in told.asked else None
    table = embed_rows(
        rows,
        recent,
        basis,
        items,
        item_of_key,
        told.asked,
        now=told.now,
        landmark=state.landmark,
        foresight=foresight,
        rated=load_rated(Path(told.rated)) if told.rated else None,
    )
    return str(save_preferences(Path(told.out) / f"{bucket:04d}.parquet", table))


def _segments(job: EmbedJob) -> dict[str, str | None]:
    """Return the segment of each user who has one."""
    table = pq.read_table(job.users, columns=["user_id", "segment"])
    pairs = zip(table["user_id"].to_pylist(), table["segment"].to_pylist(), strict=True)
    return {user_id: segment for user_id, segment in pairs if segment}


def places_of_keys(state: AffinityState, item_ids: tuple[str, ...]) -> NDArray[np.int64]:
    """Return the place among tonight's items of each item that the state knows, -1 of one that is gone."""
    place = {item_id: k for k, item_id in enumerate(item_ids)}
    return np.array([place.get(item_id, -1) for item_id in state.known_items().tolist()], dtype=np.int64)


def _best(
    model: NextItemModel, rows: AffinityRows, recent: History, item_of_key: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], Matrix]:
    """Return (n_users, count) items that were not seen, highest score first, and the scores, NaN where none is left."""
    n_users, n_items = len(recent.user_ids), len(recent.item_ids)
    count = min(count, n_items)
    items, best = np.zeros((n_users, count), dtype=np.int64), np.full((n_users, count), np.nan, dtype=np.float32)
    chunk = max(_CHUNK_SCORES // max(n_items, 1), 1)
    seen = [(side, side.user()) for side in (rows.liked, rows.disliked)]
    for start in range(0, n_users if count else 0, chunk):
        stop = min(start + chunk, n_users)
        scores = model.scores(recent.of(np.arange(start, stop)))
        for side, user in seen:
            own = slice(side.bounds[start], side.bounds[stop])
            scores[user[own] - start, item_of_key[side.item[own]]] = -np.inf
        top = highest(scores, count)
        value = np.take_along_axis(scores, top, axis=1)
        items[start:stop], best[start:stop] = top, np.where(value > 0, value, np.nan)
    return items, best
