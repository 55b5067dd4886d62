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
from personalgen.catalogue import write
from personalgen.catalogue.facts import Ranked
from personalgen.embeddings.drift import MIN_PEOPLE
from personalgen.evaluation.held_out_likes import HeldOutLikes, last_like_out, later_likes_out, likes_out_from
from personalgen.evaluation.recommendation import foretell
from personalgen.histories import History
from personalgen.recommenders import RecommendOptions
from personalgen.recommenders.base import Matrix, Recommender
from personalgen.recommenders.by_size import next_item_model
from personalgen.recommenders.factors import Svd
from personalgen.recommenders.neighbours import nearest
from personalgen.recommenders.popularity import Popularity
from personalgen.registry.run import Run
from personalgen.steps.buckets import RecommendJob, recommend_bucket, recommended_in, write_job
from personalgen.steps.data import NightData
from personalgen.steps.night import Night, run_stage
from personalgen.steps.state import Tonight, bring_up
from personalgen.steps.workspace import Workspace

RANKINGS, UNCHANGED, RECOMMENDATIONS = "rankings.json", "unchanged.parquet", "recommendations.parquet"
ITEM_NEIGHBOURS, USER_NEIGHBOURS = "item_neighbours.parquet", "user_neighbours.parquet"
OURS, POPULAR, LATELY, PEOPLE = "next-item", "popularity", "popular-7-days", "n_people"
_FEWEST_LATER = 100
"""Fewest likes since the night before for these to be what is held out."""


@dataclass(frozen=True)
class Recommended:
    """What is known of users tonight, by reference, and what they may like next."""

    stage: ClassVar[str] = "recommend"

    state: str
    """"updated", or "built" and why."""
    folder: str
    """Rankings, and tables of recommendations and neighbours."""
    night_before: str
    """Folder of the night that the state was gone on from; empty where it was built."""
    n_new_events: int
    n_users_replaced: int
    """Users whose earlier events are not what they were, or who are gone."""
    n_users_unchanged: int
    n_recommendations: int
    """Rows that analysts see."""
    tables_kept: bool
    """Whether those of the night before stand, because what is popular foretold the newest likes far better."""
    later_ndcg: float | None
    """NDCG@10 on the newest likes, fitted without them; None where nobody was asked about."""
    later_ndcg_of_popularity: float | None
    """The same of what is popular, ever or lately, whichever is better."""
    last_ndcg: float | None
    """NDCG@10 on everybody's last like."""
    last_ndcg_of_popularity: float | None
    ndcg_share: float | None
    """NDCG@10 on the newest likes over that of popularity; None where fewer than 20 people tell."""


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
    share = _ndcg_share(figures)
    tables = _tables(workspace, tonight, folder)
    is_kept = tonight.before is not None and share < workspace.settings.drift.min_ndcg_share
    n_recommendations = 0 if is_kept else _catalogue(workspace, night, tables)
    run.set_tags({"state": tonight.how[:500]})
    return Recommended(
        state=tonight.how,
        folder=str(folder),
        night_before=tonight.before.night_folder if tonight.before else "",
        n_new_events=int(change.is_new.sum()),
        n_users_replaced=len(change.withdrawn_users),
        n_users_unchanged=int(change.unchanged.sum()),
        n_recommendations=n_recommendations,
        tables_kept=is_kept,
        ndcg_share=share if np.isfinite(share) else None,
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
            found[task] = {OURS: ndcg[OURS], POPULAR: max(ndcg[POPULAR], ndcg[LATELY]), PEOPLE: rows[OURS][PEOPLE]}
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


def _ndcg_share(figures: dict[str, dict[str, float]]) -> float:
    """Return NDCG@10 on the newest likes over that of popularity; NaN where too few people tell."""
    later = figures.get("later", {})
    enough = later.get(PEOPLE, 0) >= MIN_PEOPLE and later[POPULAR] > 0
    return later[OURS] / later[POPULAR] if enough else float("nan")


def _tables(workspace: Workspace, tonight: Tonight, folder: Path) -> dict[str, Ranked]:
    """Return who is recommended what and who is alike, after writing that to the night's folder."""
    options, model = workspace.settings.recommend, tonight.recommender
    job = RecommendJob(
        affinity=str(tonight.affinity.folder),
        recommender=str(tonight.recommender_folder),
        out=str(folder / "buckets"),
        top_items=options.top_items,
    )
    parts = workspace.over_buckets(recommend_bucket, write_job(folder / "job.json", job), tonight.affinity.buckets())
    found = [recommended_in(Path(part)) for part in parts if part]
    users = tuple(user_id for ids, *_ in found for user_id in ids)
    places, scores, vectors = (
        np.concatenate([rows[k] for rows in found]) if found else np.zeros((0, 0), dtype=kind)
        for k, kind in ((1, np.int64), (2, np.float32), (3, np.float32))
    )
    tables = {
        RECOMMENDATIONS: Ranked(owner_ids=users, found_ids=model.item_ids, found_index=places, scores=scores),
        USER_NEIGHBOURS: _neighbours(users, vectors, options),
        ITEM_NEIGHBOURS: _neighbours(model.item_ids, model.item_vectors(), options),
    }
    for name, ranked in tables.items():
        _write(folder / name, _columns(ranked))
    shutil.rmtree(job.out, ignore_errors=True)
    return tables


def _neighbours(ids: tuple[str, ...], vectors: Matrix, options: RecommendOptions) -> Ranked:
    """Return the nearest rows of each row; nobody's where there are more rows than are compared."""
    if len(ids) > options.neighbours_up_to:
        return Ranked(
            owner_ids=(), found_ids=(), found_index=np.zeros((0, 0), int), scores=np.zeros((0, 0), np.float32)
        )
    found, cosines = nearest(vectors, options.neighbours)
    return Ranked(owner_ids=ids, found_ids=ids, found_index=np.maximum(found, 0), scores=cosines)


def _columns(ranked: Ranked) -> dict[str, pa.Array]:
    """Return a row for each thing that was found, as ids."""
    row, place = np.nonzero(np.isfinite(ranked.scores))
    owners, found = (pa.array(ids, type=pa.string()) for ids in (ranked.owner_ids, ranked.found_ids))
    return {
        "id": owners.take(pa.array(row)),
        "rank": pa.array(place + 1, type=pa.int16()),
        "found": found.take(pa.array(ranked.found_index[row, place])),
        "score": pa.array(ranked.scores[row, place]),
    }


def _catalogue(workspace: Workspace, night: Night, tables: dict[str, Ranked]) -> int:
    """Put tonight's tables in the place of last night's; return the number of recommendations."""
    engine, night_id = workspace.engine, night.night_id
    write.replace_user_neighbours(engine, night_id, tables[USER_NEIGHBOURS])
    write.replace_item_neighbours(engine, night_id, tables[ITEM_NEIGHBOURS])
    return write.replace_recommendations(engine, night_id, tables[RECOMMENDATIONS])


def _write(path: Path, columns: dict[str, pa.Array]) -> None:
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns), temporary)
