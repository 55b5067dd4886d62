"""How far a basis that is fitted anew moves people who did nothing, with and without turning it onto the old one.

    python -m benchmarks.rebase --json build/rebase.json

On the planted table (`benchmarks/list_like.py`) an old basis is fitted before three in ten people did the last third of
what they did, and a tenth of the items was new. A new one is fitted on everything. Both embed the other people.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.list_like import ListLike, Planted, planted
from personalgen.artifacts import write_json
from personalgen.embeddings import Basis, EmbeddingOptions, embed_users, fit_basis, rebased
from personalgen.embeddings.fields import COLLABORATIVE
from personalgen.recommenders import NextItemOptions

Matrix = NDArray[np.float32]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    given = _parser().parse_args(arguments)
    world = planted(ListLike(n_users=300, n_items=300, n_topics=6) if given.quick else ListLike())
    rng = np.random.default_rng(1)
    active, new_items = rng.random(len(world.history.user_ids)) < 0.3, rng.random(len(world.content)) < 0.1
    old, new = _bases(world, active, new_items)
    figures = {"more_events_over_events": _more_events(world, active)}
    turned = rebased(new, old, world.content, world.history.item_ids)
    before = _vectors(world, old)
    print(f"{'cosine of unchanged people':<28} {'as it is':>9} {'turned':>9}")
    plain, aligned = _vectors(world, new), _vectors(world, turned)
    for name, vectors in before.items():
        row = [float(_cosine(vectors, each[name])[~active].mean()) for each in (plain, aligned)]
        print(f"{name:<28} {row[0]:>9.3f} {row[1]:>9.3f}")
        figures |= {f"{name}_cosine": row[0], f"{name}_cosine_turned": row[1]}
    if given.json:
        write_json(given.json, figures)
    return 0


def _bases(world: Planted, active: NDArray[np.bool_], new_items: NDArray[np.bool_]) -> tuple[Basis, Basis]:
    """Return a basis of before the new events and items, and one with them."""
    options, everything = EmbeddingOptions(text_dim=0), np.ones(len(world.content), dtype=np.bool_)
    fits = [(world.history.where(~_later(world, active)), ~new_items), (world.history, everything)]
    old, new = (
        fit_basis(history, world.content, items, options, next_item=NextItemOptions()) for history, items in fits
    )
    return old, new


def _later(world: Planted, active: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where the last third of what active people did is."""
    history = world.history
    start, stop = history.bounds[:-1], history.bounds[1:]
    edge = stop - (stop - start) // 3
    place = np.arange(len(history.item_index))
    return np.asarray(active[history.user_index] & (place >= edge[history.user_index]))


def _more_events(world: Planted, active: NDArray[np.bool_]) -> float:
    later = _later(world, active)
    return float(later.sum() / (~later).sum())


def _vectors(world: Planted, basis: Basis) -> dict[str, Matrix]:
    """Return everybody's vectors, whole and in parts."""
    table = embed_users(world.history, basis, world.content, {COLLABORATIVE: 1})
    content, factors = basis.halves
    return {
        "preference": table.vectors,
        "preference, content": table.vectors[:, content],
        "preference, factors": table.vectors[:, factors],
        "collaborative": table.fields[COLLABORATIVE].values,
    }


def _cosine(one: Matrix, other: Matrix) -> Matrix:
    norm = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    found: Matrix = (one * other).sum(1) / np.maximum(norm, 1e-12)
    return found


def _parser() -> argparse.ArgumentParser:
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rebase", description=summary)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as one flat object")
    parser.add_argument("--quick", action="store_true", help="a toy size, in seconds")
    return parser


if __name__ == "__main__":
    sys.exit(main())
