"""How high a recommender ranks what people liked next, among all items that they had not seen.

Every item is ranked: metrics on sampled candidates favour the wrong models (Krichene & Rendle 2020, On Sampled Metrics
for Item Recommendation). Equal scores count against the model, so that one which knows nothing gets nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from personalgen.evaluation.interval import FloatArray

NDCG_AT, RECALL_AT = 10, 20
_LAST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Ranking:
    """What one recommender reached, person by person."""

    ndcg: FloatArray
    """(n_users,) NDCG@10: 1 where all that was liked stands at the top; NaN where nothing was held out."""
    recall: FloatArray
    """(n_users,) share of what was liked that stands among the first 20; NaN where nothing was held out."""
    shown: NDArray[np.bool_]
    """(n_items,) whether an item stands among anybody's first 10."""

    @classmethod
    def joined(cls, parts: Sequence["Ranking"]) -> "Ranking":
        """Return the ranking of all people of some parts, one after another."""
        ndcg, recall = (np.concatenate([getattr(part, name) for part in parts]) for name in ("ndcg", "recall"))
        return cls(ndcg, recall, np.logical_or.reduce([part.shown for part in parts]))

    def metrics(self, users: NDArray[np.bool_] | None = None) -> dict[str, float]:
        """Return the means over all people, or over the chosen ones, and the share of items that anybody is shown."""
        chosen = slice(None) if users is None else users
        return {
            "ndcg_at_10": _mean(self.ndcg[chosen]),
            "recall_at_20": _mean(self.recall[chosen]),
            "coverage": float(self.shown.mean()),
        }


def rank(scores: NDArray[np.float32], seen: csr_array, liked: csr_array) -> Ranking:
    """Return how high `liked` items stand in `scores` (n_users, n_items), `seen` ones left out.

    Both are (n_users, n_items) with an entry for each item; an item that was seen and is liked again does not count.
    What is no number stands last.
    """
    open_scores = np.nan_to_num(scores.astype(np.float32), nan=-_LAST, neginf=-_LAST, posinf=_LAST)
    rows, columns = seen.nonzero()
    open_scores[rows, columns] = -np.inf
    ndcg, recall = np.full(len(scores), np.nan), np.full(len(scores), np.nan)
    for user in range(len(scores)):
        held_out = liked.indices[liked.indptr[user] : liked.indptr[user + 1]]
        own = open_scores[user]
        targets = held_out[np.isfinite(own[held_out])]
        if len(targets):
            places = _places(own, targets)
            ndcg[user] = (
                _discounts(places[places < NDCG_AT]).sum() / _discounts(np.arange(len(targets))[:NDCG_AT]).sum()
            )
            recall[user] = np.mean(places < RECALL_AT)
    return Ranking(ndcg, recall, _shown(open_scores))


def _places(scores: NDArray[np.float32], targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places of the targets, from 0: after all items that score as much, but for targets before them."""
    rest = np.ones(len(scores), dtype=np.bool_)
    rest[targets] = False
    above = rest.sum() - np.searchsorted(np.sort(scores[rest]), scores[targets], side="left")
    order = np.argsort(-scores[targets], kind="stable")
    places = np.empty(len(targets), dtype=np.int64)
    places[order] = above[order] + np.arange(len(targets))
    return places


def _discounts(places: NDArray[np.int64]) -> FloatArray:
    return np.asarray(1 / np.log2(places + 2.0), dtype=np.float64)


def _shown(scores: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which items stand among the first 10 of anybody."""
    count = min(NDCG_AT, scores.shape[1])
    top = np.argpartition(-scores, count - 1, axis=1)[:, :count]
    shown = np.zeros(scores.shape[1], dtype=np.bool_)
    shown[top[np.isfinite(np.take_along_axis(scores, top, axis=1))]] = True
    return shown


def _mean(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
