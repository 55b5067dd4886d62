"""What a condition tells of a person's taste: a linear probe from it to the planted taste of the moment.

    python -m benchmarks.conditions --json build/conditions.json

On the planted table (`benchmarks/list_like.py`) each person has a taste over topics, which drifts while people go down
lists; on the other one (`benchmarks/moved.py`, `--table moved`) half of the people have moved to another taste. A ridge
regression from a condition to the taste at the end is fitted on four fifths of the people and asked about the others;
what counts is the cosine of the answer to the truth, both less the mean over people.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.list_like import ListLike, Planted, planted
from benchmarks.moved import moved
from personalgen.artifacts import write_json
from personalgen.embeddings import EmbeddingOptions, Foresight, embed_users, fit_basis
from personalgen.embeddings.fields import COLLABORATIVE, CONFIDENCE, CURRENT, EXPECTED, INTERESTS
from personalgen.embeddings.history import raw_user_vectors
from personalgen.histories import History
from personalgen.recommenders import NextItemOptions

_FOLDS, _RIDGES = 5, (1.0, 10.0, 100.0, 1000.0)
_MOST_MOVED = 1000
_FEW = 3
"""Likes of people of whom little is known: everybody, cut to the newest."""
_MOST = 64
"""Likes up to which people are cut to different numbers of them, as many people to 1 to 2 as to 32 to 64."""
_PRIORS: dict[str, dict[str, Any]] = {
    "estimated shrinkage": {"estimate_shrinkage": True},
    "segment prior": {"segment_prior": True},
    "both": {"estimate_shrinkage": True, "segment_prior": True},
}
_STRAY_SEGMENTS = 0.3
"""Share of people whose segment is not their strongest topic, but any."""

Matrix = NDArray[np.float64]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    given = _parser().parse_args(arguments)
    world = _table(given)
    drifted = _drift(world.tastes) > np.median(_drift(world.tastes))
    figures: dict[str, float] = {}
    histories = {"all likes": world.history, f"newest {_FEW}": world.history.newest(_FEW)}
    histories[f"newest 1 to {_MOST}"] = _cut(world.history)
    for name, history in histories.items():
        print(f"{name}\n{'condition':<52} {'columns':>7} {'all':>7} {'drifted':>8}", flush=True)
        for kind, rows in conditions(world, history).items():
            cosine = probed(rows, world.tastes[:, 1])
            row = {"cosine": cosine.mean(), "cosine_drifted": cosine[drifted].mean()}
            print(f"{kind:<52} {rows.shape[1]:>7} {row['cosine']:>7.3f} {row['cosine_drifted']:>8.3f}", flush=True)
            figures |= {f"{name}_{kind}_{key}": float(value) for key, value in row.items()}
    if given.json:
        write_json(given.json, figures)
    return 0


def _table(given: argparse.Namespace) -> Planted:
    """Return the table that is asked for."""
    if given.table == "moved":
        return moved(200, n_items=128) if given.quick else moved(min(given.users, _MOST_MOVED))
    options = ListLike(n_users=300, n_items=300, n_topics=6) if given.quick else ListLike(n_users=given.users)
    return with_segments(planted(options))


def conditions(world: Planted, history: History) -> dict[str, Matrix]:
    """Return what a generator may be told, by name, a row for each person."""
    options = EmbeddingOptions(text_dim=0)
    everything = np.ones(len(history.item_ids), dtype=np.bool_)
    basis = fit_basis(world.history, world.content, everything, options, next_item=NextItemOptions())
    items, content = basis.item_vectors(world.content, history.item_ids), slice(0, options.content_dim)
    asked = {CURRENT: 1, EXPECTED: 1, INTERESTS: 4, CONFIDENCE: 1, COLLABORATIVE: 1}
    undecayed = replace(options, half_life_days=1e6)
    foresight = Foresight.of_others(world.history, NextItemOptions())
    table = embed_users(history, basis, world.content, asked, foresight=foresight)
    rows = {name: table.fields[name].values.reshape(len(table.user_ids), -1) for name in asked}
    found = {
        "decayed content mean": raw_user_vectors(history, items, options, prior=None)[:, content],
        "content mean, not decayed": raw_user_vectors(history, items, undecayed, prior=None)[:, content],
        "current": rows[CURRENT],
        "current + expected + confidence": np.hstack([rows[CURRENT], rows[EXPECTED], rows[CONFIDENCE]]),
        "preference, content": table.vectors[:, content],
        "preference": table.vectors,
        "expected": rows[EXPECTED],
        "expected + confidence": np.hstack([rows[EXPECTED], rows[CONFIDENCE]]),
        "preference + expected": np.hstack([table.vectors, rows[EXPECTED]]),
        "preference + expected + confidence": np.hstack([table.vectors, rows[EXPECTED], rows[CONFIDENCE]]),
        "preference + expected + interests + confidence": np.hstack(
            [table.vectors, rows[EXPECTED], rows[INTERESTS], rows[CONFIDENCE]]
        ),
        "collaborative": rows[COLLABORATIVE],
        "preference + collaborative": np.hstack([table.vectors, rows[COLLABORATIVE]]),
        "preference + expected + collaborative + confidence": np.hstack(
            [table.vectors, rows[EXPECTED], rows[COLLABORATIVE], rows[CONFIDENCE]]
        ),
        "everything": np.hstack([table.vectors, *rows.values()]),
    }
    for name, prior in _PRIORS.items() if history.segments else ():
        other = fit_basis(world.history, world.content, everything, replace(options, **prior))
        found[f"preference, {name}"] = embed_users(history, other, world.content).vectors
    return {name: np.asarray(each, dtype=np.float64) for name, each in found.items()}


def with_segments(world: Planted) -> Planted:
    """Return the table with a segment for each person: the topic that was strongest at the beginning, or any."""
    rng = np.random.default_rng(1)
    topics = world.tastes[:, 0].argmax(1)
    stray = rng.random(len(topics)) < _STRAY_SEGMENTS
    topics[stray] = rng.integers(0, world.tastes.shape[2], stray.sum())
    return replace(world, history=replace(world.history, segments=tuple(f"topic {topic}" for topic in topics)))


def probed(rows: Matrix, truth: Matrix) -> Matrix:
    """Return (n_users,) cosines of what a probe that never saw a person says to the truth."""
    rows = (rows - rows.mean(0)) / np.maximum(rows.std(0), 1e-9)
    truth = truth - truth.mean(0)
    fold = np.arange(len(rows)) % _FOLDS
    found = np.empty((len(_RIDGES), len(rows)))
    for k in range(_FOLDS):
        known = fold != k
        gram, target = rows[known].T @ rows[known], rows[known].T @ truth[known]
        for place, ridge in enumerate(_RIDGES):
            answer = rows[~known] @ np.linalg.solve(gram + ridge * np.eye(len(gram)), target)
            found[place, ~known] = _cosine(answer, truth[~known])
    best: Matrix = found[found.mean(1).argmax()]
    return best


def _cut(history: History) -> History:
    """Return everybody's newest likes, another number of them for each."""
    counts = (_MOST ** np.random.default_rng(2).random(len(history.user_ids))).astype(np.int64)
    place = np.arange(len(history.item_index))
    return history.where(place >= (history.bounds[1:] - counts)[history.user_index])


def _cosine(one: Matrix, other: Matrix) -> Matrix:
    norm = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    found: Matrix = (one * other).sum(1) / np.maximum(norm, 1e-12)
    return found


def _drift(tastes: Matrix) -> Matrix:
    """Return how far each taste moved."""
    return 1 - _cosine(tastes[:, 0], tastes[:, 1])


def _parser() -> argparse.ArgumentParser:
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conditions", description=summary)
    parser.add_argument("--table", choices=("list", "moved"), default="list", help="which people (list)")
    parser.add_argument("--users", type=int, default=ListLike.n_users, help="people of the planted table")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as one flat object")
    parser.add_argument("--quick", action="store_true", help="a toy size, in seconds")
    return parser


if __name__ == "__main__":
    sys.exit(main())
