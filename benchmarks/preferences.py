"""What people like next: every recommender on the same tables, its CPU time, and how high it ranks what was liked.

    python -m benchmarks.preferences --json build/preferences.json
    python -m benchmarks.preferences --config configs/posters.toml --set source.path=SOMEWHERE/posters64

Without a config the table is planted (`benchmarks/list_like.py`). All items are ranked, ties against the model.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.list_like import ListLike, planted
from personalgen.artifacts import write_json
from personalgen.cli.terminal import quiet_environment
from personalgen.config import load_settings
from personalgen.errors import PersonalgenError, UserError
from personalgen.evaluation.held_out_likes import HeldOutLikes, last_like_out, later_likes_out
from personalgen.histories import History
from personalgen.recommenders.base import Matrix, Recommender, likes_of
from personalgen.recommenders.cold import with_cold_items
from personalgen.recommenders.factors import Als, FactorOptions, Svd
from personalgen.recommenders.low_rank import LowRankNextItem
from personalgen.recommenders.next_item import LinearNextItem
from personalgen.recommenders.popularity import Popularity
from personalgen.recommenders.sequence import SequenceEncoder, SequenceOptions
from personalgen.recommenders.statistics import NextItemOptions
from personalgen.steps.data import NightData
from personalgen.steps.prepare import prepare
from personalgen.steps.workspace import Workspace
from personalgen.threads import torch_threads

_COLD_SHARE, _LATER_SHARE, _FEW = 0.1, 0.1, (1, 5)
_ALPHAS, _REGULARIZATIONS, _HALF_LIVES = (1.0, 5.0, 20.0), (0.01, 0.1, 1.0), (2.0, 3.0, 5.0, 8.0)
BASE = "als"
"""The model that ratios are over."""

ONE_SCALE = NextItemOptions(half_life=3.0, window=16, ridge=200.0, two_scales=False)

Row = dict[str, float]


@dataclass(frozen=True)
class Data:
    """One table: everybody's likes, and what items look like."""

    likes: History
    features: Matrix

    @property
    def cold(self) -> NDArray[np.bool_]:
        """(n_items,) True for a tenth of the items, of which a model is told nothing."""
        return np.random.default_rng(0).random(len(self.likes.item_ids)) < _COLD_SHARE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    given = _parser().parse_args(arguments)
    quiet_environment()
    try:
        data = _planted(given) if given.config is None else _of_config(given)
    except PersonalgenError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, UserError) else 1
    likes = data.likes
    print(f"{len(likes.user_ids):,} people, {len(likes.item_ids):,} items, {len(likes.item_index):,} likes", flush=True)
    models = _models(likes, quick=given.quick)
    print(
        f"{'model':<22} {'CPU s':>7} {'NDCG@10':>8} {'Recall@20':>9} {'coverage':>8} "
        f"{'1 like':>7} {'5 likes':>7} {'cold':>7} {'later':>7}",
        flush=True,
    )
    rows: dict[str, Row] = {}
    with torch_threads(1):
        for name in given.model or models:
            rows[name] = measured(models[name], data)
            print(line(name, rows[name]), flush=True)
    figures = {f"{name}_{key}": value for name, row in rows.items() for key, value in row.items()}
    if BASE in rows:
        figures |= dict(_ratios(rows))
    if given.json:
        write_json(given.json, figures)
    return 0


def measured(make: Callable[[], Recommender], data: Data) -> Row:
    """Return one model's figures on every task."""
    task = last_like_out(data.likes)
    start = time.process_time()
    model = make().fit(task.known)
    fitted = time.process_time()
    scores = model.scores(task.known)
    row = {"cpu_fit_s": fitted - start, "cpu_s": time.process_time() - start}
    ranking = task.rank(scores)
    row |= ranking.metrics()
    counts = np.diff(task.known.bounds)
    for name, users in {"few": counts < 20, "many": counts >= 100}.items():
        if users.any():
            row[f"ndcg_at_10_{name}"] = ranking.metrics(users)["ndcg_at_10"]
    for count in _FEW:
        newest = task.known.newest(count)
        row[f"ndcg_at_10_from_{count}"] = task.rank(model.scores(newest)).metrics()["ndcg_at_10"]
    row["ndcg_at_10_cold_items"] = _on_cold_items(make(), task, data)
    later = later_likes_out(data.likes, _LATER_SHARE)
    row["ndcg_at_10_later"] = later.rank(make().fit(later.known).scores(later.known)).metrics()["ndcg_at_10"]
    return row


def line(name: str, row: Row) -> str:
    """Return a row of the table."""
    shown = ("ndcg_at_10_from_1", "ndcg_at_10_from_5", "ndcg_at_10_cold_items", "ndcg_at_10_later")
    return (
        f"{name:<22} {row['cpu_s']:>7.1f} {row['ndcg_at_10']:>8.4f} {row['recall_at_20']:>9.4f} "
        f"{row['coverage']:>8.3f} " + " ".join(f"{row[key]:>7.4f}" for key in shown)
    )


def _ratios(rows: dict[str, Row]) -> Iterator[tuple[str, float]]:
    """Print and yield each model's figures over the base's."""
    base = rows[BASE]
    for name, row in rows.items():
        if name != BASE:
            gains = {key: row[key] / base[key] for key in ("ndcg_at_10", "ndcg_at_10_cold_items", "cpu_s")}
            print(
                f"{name:<22} NDCG@10 {gains['ndcg_at_10']:.2f}x, cold items {gains['ndcg_at_10_cold_items']:.2f}x, "
                f"CPU {gains['cpu_s']:.2f}x of {BASE}"
            )
            yield from ((f"{name}_{key}_over_{BASE}", value) for key, value in gains.items())


def _models(likes: History, *, quick: bool) -> dict[str, Callable[[], Recommender]]:
    """Return what is compared; ALS is tuned on the likes before the last ones, with and without a half-life."""
    als = _tuned(likes, quick=quick)
    encoder = SequenceOptions(epochs=1 if quick else 8, horizon=1)
    return {
        "popularity": Popularity,
        "popular-7-days": lambda: Popularity(days=7),
        "svd": lambda: Svd(_of_all_time(FactorOptions())),
        "svd, newest": Svd,
        BASE: lambda: Als(_of_all_time(als)),
        "als, newest": lambda: Als(als),
        "sequence": lambda: SequenceEncoder(encoder),
        "next-item, low rank": LowRankNextItem,
        "next-item, one scale": lambda: LinearNextItem(ONE_SCALE),
        "next-item": LinearNextItem,
    }


def _tuned(likes: History, *, quick: bool) -> FactorOptions:
    """Return the settings of ALS that are best on everybody's last like but one: alpha and ridge, then half-life."""
    task, best = last_like_out(last_like_out(likes).known), FactorOptions()
    if quick:
        return best

    def ndcg(options: FactorOptions) -> float:
        return task.rank(Als(options).fit(task.known).scores(task.known)).metrics()["ndcg_at_10"]

    grid = [replace(best, alpha=alpha, regularization=ridge) for alpha in _ALPHAS for ridge in _REGULARIZATIONS]
    best = max(grid, key=lambda options: ndcg(_of_all_time(options)))
    best = max((replace(best, half_life=value) for value in _HALF_LIVES), key=ndcg)
    print(
        f"tuned als: alpha {best.alpha:g}, regularization {best.regularization:g}, half-life {best.half_life:g} likes"
    )
    return best


def _of_all_time(options: FactorOptions) -> FactorOptions:
    """Return the model that a person's whole history is asked with, as the packages do."""
    return replace(options, half_life=1e9, window=1_000_000)


def _on_cold_items(model: Recommender, task: HeldOutLikes, data: Data) -> float:
    """Return NDCG@10 of likes of items that nobody liked before, among all such items, from what they look like."""
    cold = data.cold
    known = task.known.where(~cold[task.known.item_index])
    scores = with_cold_items(model.fit(known).scores(known), data.features, ~cold)[:, cold]
    columns = np.flatnonzero(cold)
    own = task.known.where(cold[task.known.item_index])  # what was liked before is no candidate, though it was not told
    place = np.cumsum(cold) - 1
    seen = replace(own, item_ids=tuple(own.item_ids[k] for k in columns), item_index=place[own.item_index])
    return HeldOutLikes(seen, task.liked[:, columns]).rank(scores).metrics()["ndcg_at_10"]


def _planted(given: argparse.Namespace) -> Data:
    options = ListLike(n_users=given.users, n_items=given.items, n_topics=_topics(given.items))
    if given.quick:
        options = ListLike(n_users=200, n_items=300, n_topics=6)
    found = planted(options)
    return Data(found.history, found.content)


def _topics(n_items: int) -> int:
    """Return so many topics that each has as many items as by default."""
    return max(round(n_items * ListLike.n_topics / ListLike.n_items), 1)


def _of_config(given: argparse.Namespace) -> Data:
    """Return the likes of a night's tables, and the features of its items."""
    settings = load_settings(given.config, [f"home={given.home}", *given.set])
    workspace = Workspace(settings)
    with workspace.only_night():
        night = NightData.of(workspace, prepare(workspace))
        return Data(likes_of(night.history), night.features(workspace, settings.embeddings))


def _parser() -> argparse.ArgumentParser:
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.preferences", description=summary)
    parser.add_argument("--users", type=int, default=ListLike.n_users, help="people of the planted table")
    parser.add_argument("--items", type=int, default=ListLike.n_items, help="items of the planted table")
    parser.add_argument("--config", type=Path, help="TOML file of a source to measure on instead")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="wins over the file")
    parser.add_argument("--home", type=Path, default=Path("build/preferences"), help="where that source is prepared")
    parser.add_argument("--model", action="append", help="only this model; may be given several times")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as one flat object")
    parser.add_argument("--quick", action="store_true", help="a toy size, in seconds")
    return parser


if __name__ == "__main__":
    sys.exit(main())
