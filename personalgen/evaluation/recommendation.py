"""How well recommenders foretell what people like next, over all people and by what is known of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from personalgen.artifacts import short_digest
from personalgen.evaluation.held_out_likes import HeldOutLikes
from personalgen.evaluation.ranking import Ranking
from personalgen.histories import History
from personalgen.recommenders.base import Recommender

SEGMENTS = {"cold": (1, 4), "some": (5, 19), "many": (20, np.inf)}
"""People by how many of their likes are known: fewest and most."""
_CHUNK_SCORES = 1 << 24


@dataclass(frozen=True)
class Foretold:
    """How high one recommender ranks what was held out."""

    ranking: Ranking
    n_known: NDArray[np.int64]
    """(n_users,) likes that were known of each person who is asked about."""

    def metrics(self) -> dict[str, float]:
        """Return the figures over all people, and NDCG@10 and their number for each segment with anybody in it."""
        found = self.ranking.metrics()
        asked = np.isfinite(self.ranking.ndcg)
        found["n_people"] = float(asked.sum())
        for name, (fewest, most) in SEGMENTS.items():
            own = asked & (self.n_known >= fewest) & (self.n_known <= most)
            if own.any():
                found |= {
                    f"{name}_ndcg_at_10": float(self.ranking.ndcg[own].mean()),
                    f"{name}_n_people": float(own.sum()),
                }
        return found


def foretell(
    task: HeldOutLikes, fits: Mapping[str, Callable[[History], Recommender]], *, most_people: int
) -> dict[str, Foretold]:
    """Return how high each model, fitted on what is known, ranks what is held out; empty where nobody has both.

    `fits` return a model that has learnt a history. At most `most_people` are asked about: those whose ids have the
    lowest hashes, who are the same every night.
    """
    known = task.known
    likes = np.bincount(known.user_index[known.weight > 0], minlength=len(known.user_ids))
    people = np.flatnonzero((likes > 0) & (np.diff(task.liked.indptr) > 0))
    people = np.sort(people[_by_hash([known.user_ids[k] for k in people])[:most_people]])
    if not len(people):
        return {}
    asked = HeldOutLikes(known.of(people), task.liked[people])
    return {name: Foretold(_ranked(fit(known), asked), likes[people]) for name, fit in fits.items()}


def _ranked(model: Recommender, task: HeldOutLikes) -> Ranking:
    """Return the ranking of all people, whose scores are made some at a time."""
    chunk = max(_CHUNK_SCORES // max(len(task.known.item_ids), 1), 1)
    n_users = len(task.known.user_ids)
    parts = []
    for start in range(0, n_users, chunk):
        rows = np.arange(start, min(start + chunk, n_users))
        part = HeldOutLikes(task.known.of(rows), task.liked[rows])
        parts.append(part.rank(model.scores(part.known)))
    return Ranking.joined(parts)


def _by_hash(user_ids: list[str]) -> NDArray[np.int64]:
    """Return the order of ids by their hash."""
    return np.argsort([short_digest(user_id.encode()) for user_id in user_ids], kind="stable").astype(np.int64)
