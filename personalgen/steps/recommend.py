"""Brings what is known of users up to tonight, and says what each of them may like next and who is alike."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from personalgen.artifacts import atomic_path, write_json
from personalgen.evaluation.held_out_likes import HeldOutLikes, last_like_out, later_likes_out, likes_out_from
from personalgen.evaluation.recommendation import foretell
from personalgen.histories import History
from personalgen.recommenders.base import Matrix, Recommender
from personalgen.recommenders.factors import Svd
from personalgen.recommenders.neighbours import nearest
from personalgen.recommenders.popularity import Popularity
from personalgen.recommenders.stored import next_item_model
from personalgen.registry.run import Run
from personalgen.steps.buckets import RecommendJob, recommend_bucket, write_job
from personalgen.steps.data import NightData
from personalgen.steps.night import Night, run_stage
from personalgen.steps.state import Tonight, bring_up
from personalgen.steps.workspace import Workspace

RANKINGS, UNCHANGED, RECOMMENDATIONS = "rankings.json", "unchanged.parquet", "recommendations.parquet"
ITEM_NEIGHBOURS, USER_NEIGHBOURS = "item_neighbours.parquet", "user_neighbours.parquet"
OURS, POPULAR, LATELY = "next-item", "popularity", "popular-7-days"
_FEWEST_LATER = 100
"""Fewest likes since the night before for these to be what is held out."""


@dataclass(frozen=True)
class Recommended:
    """What is known of users tonight, by reference, and what they may like next."""

    stage: ClassVar[str] = "recommend"

    state: str
    """"updated", or "built" and why."""
    affinity: str
    """Folder of the affinity state."""
    recommender: str
    """Folder of the recommender: it has learnt from all events before as_of."""
    folder: str
    """Rankings, and tables of recommendations and neighbours."""
    night_before: str
    """Folder of the night that the state was gone on from; empty where it was built."""
    n_new_events: int
    n_users_replaced: int
    """Users whose earlier events are not what they were, or who are gone."""
    n_users_unchanged: int
    n_recommendations: int
    later_ndcg: float | None
    """NDCG@10 on the newest likes, fitted without them; None where nobody was asked about."""
    later_ndcg_of_popularity: float | None
    """The same of what is popular, ever or lately, whichever is better."""
    last_ndcg: float | None
    """NDCG@10 on everybody's last like."""
    last_ndcg_of_popularity: float | None

    @property
    def ndcg_share(self) -> float:
        """NDCG@10 on the newest likes over that of popularity; NaN where it is not known."""
        if self.later_ndcg is None or not self.later_ndcg_of_popularity:
            return float("nan")
        return self.later_ndcg / self.later_ndcg_of_popularity


def recommend(workspace: Workspace, night: Night) -> Recommended:
    """Return tonight's state of users, by reference, and what was made of it."""
    return run_stage(workspace, night, Recommended, lambda run: _recommend(workspace, night, run))


def unchanged_users(recommended: Recommended) -> frozenset[str]:
    """Return the users of whom nothing new is known since the night before."""
    return frozenset(pq.read_table(Path(recommended.folder) / UNCHANGED)["user_id"].to_pylist())


def _recommend(workspace: Workspace, night: Night, run: Run) -> Recommended:
    data, folder = NightData.of(workspace, night), night.path / "recommend"
    tonight = bring_up(workspace, night, data)
    change = tonight.change
    ids = np.array(data.history.user_ids, dtype=np.object_)
    _write(folder / UNCHANGED, {"user_id": pa.array(ids[change.unchanged], type=pa.string())})
    figures = _rankings(workspace, data, tonight, folder, run)
    n_recommendations = _tables(workspace, tonight, folder)
    run.set_tags({"state": tonight.how[:500]})
    return Recommended(
        state=tonight.how,
        affinity=str(tonight.affinity.folder),
        recommender=str(tonight.recommender_folder),
        folder=str(folder),
        night_before=tonight.before.night_folder if tonight.before else "",
        n_new_events=int(change.is_new.sum()),
        n_users_replaced=len(change.withdrawn_users),
        n_users_unchanged=int(change.unchanged.sum()),
        n_recommendations=n_recommendations,
        **{
            f"{task}_{name}": figures.get(task, {}).get(key)
            for task in ("later", "last")
            for name, key in (("ndcg", OURS), ("ndcg_of_popularity", POPULAR))
        },
    )


def _rankings(
    workspace: Workspace, data: NightData, tonight: Tonight, folder: Path, run: Run
) -> dict[str, dict[str, float]]:
    """Rank held-out likes by our model and the baselines, log that; return both's NDCG@10 by task."""
    options, found = workspace.settings.recommend, {}
    fits: dict[str, Callable[[History], Recommender]] = {
        OURS: lambda history: next_item_model(history, workspace.settings.recommender),
        POPULAR: lambda history: Popularity().fit(history),
        LATELY: lambda history: Popularity(days=7).fit(history),
        "svd": lambda history: Svd().fit(history),
    }
    table = {}
    for task, held_out in _tasks(workspace, data, tonight).items() if options.ranked_people else ():
        rankings = foretell(held_out, fits, most_people=options.ranked_people)
        rows = {name: one.metrics() for name, one in rankings.items()}
        run.log_metrics({f"{task}_{name}_{key}": value for name, row in rows.items() for key, value in row.items()})
        table[task] = rows
        if rows:
            ndcg = {name: row["ndcg_at_10"] for name, row in rows.items()}
            found[task] = {OURS: ndcg[OURS], POPULAR: max(ndcg[POPULAR], ndcg[LATELY])}
    run.log_dict(table, name=RANKINGS)
    write_json(folder / RANKINGS, table)
    return found


def _tasks(workspace: Workspace, data: NightData, tonight: Tonight) -> dict[str, HeldOutLikes]:
    """Return what is held out: the newest likes, since the night before where these are enough; everybody's last."""
    history, later = data.history, None
    if tonight.before:
        since = datetime.fromisoformat(tonight.before.as_of).timestamp()
        if ((history.timestamp >= since) & (history.weight > 0)).sum() >= _FEWEST_LATER:
            later = likes_out_from(history, since)
    return {
        "later": later or later_likes_out(history, workspace.settings.recommend.later_share),
        "last": last_like_out(history),
    }


def _tables(workspace: Workspace, tonight: Tonight, folder: Path) -> int:
    """Write who is recommended what and who is alike; return the number of recommendations."""
    options, model = workspace.settings.recommend, tonight.recommender
    job = RecommendJob(
        affinity=str(tonight.affinity.folder),
        recommender=str(tonight.recommender_folder),
        out=str(folder / "buckets"),
        top_items=options.top_items,
    )
    path = write_job(folder / "job.json", job)
    parts = workspace.over_buckets(recommend_bucket, path, tonight.affinity.buckets())
    tables = [pq.read_table(part) for part in parts if part]
    users = pa.concat_tables(tables).sort_by("user_id") if tables else None
    n_found = 0
    if users is not None:
        _write(folder / RECOMMENDATIONS, users)
        n_found = len(users["items"].combine_chunks().flatten())
        vectors = users["vector"].combine_chunks().flatten().to_numpy().reshape(len(users), -1)
        _neighbours(folder / USER_NEIGHBOURS, users["user_id"], vectors, options.neighbours, options.neighbours_up_to)
    items = pa.array(model.item_ids, type=pa.string())
    _neighbours(folder / ITEM_NEIGHBOURS, items, model.item_vectors(), options.neighbours, options.neighbours_up_to)
    shutil.rmtree(job.out, ignore_errors=True)
    return n_found


def _neighbours(path: Path, ids: pa.Array, vectors: Matrix, count: int, most: int) -> None:
    """Write the nearest rows of each row, as ids; none where there are more rows than are compared."""
    compared = vectors if len(vectors) <= most else vectors[:0]
    found, cosines = nearest(compared, count)
    rows, places = np.nonzero(found >= 0)
    columns = {
        "id": ids.take(pa.array(rows)),
        "rank": pa.array(places + 1, type=pa.int16()),
        "neighbour": ids.take(pa.array(found[rows, places])),
        "cosine": pa.array(cosines[rows, places]),
    }
    _write(path, columns)


def _write(path: Path, columns: "pa.Table | dict[str, pa.Array]") -> None:
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)
