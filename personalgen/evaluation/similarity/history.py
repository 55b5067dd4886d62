"""Are users' pictures like what these users liked? Each user's own history beside those of other users.

Of each generated picture the nearest picture of the history is taken, and the mean over the history; both are averaged
over the user's pictures. The control is the same with histories of other users, dealt out so that each is used equally
often: histories are as long on both sides, so that a longer one, which holds something near more easily, favours none.
Users are the independent units of the intervals.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from personalgen.errors import DataError
from personalgen.evaluation.interval import FloatArray, Interval, mean_interval
from personalgen.evaluation.options import MIN_USERS
from personalgen.evaluation.similarity.pair import PairMeasure

_PAIRS = 8192
"""Pairs compared in one pass."""


@dataclass(frozen=True)
class OwnAndOthers:
    """One value of users' pictures against their own history and against those of others."""

    own: Interval
    """Against the user's own history."""

    others: Interval
    """Against the histories of other users: the control."""

    nearer: Interval
    """By how much the own history is nearer, for similarities and distances alike: about 0 is not personal."""

    per_user: tuple[float, ...]
    """`nearer` of each user."""


@dataclass(frozen=True)
class HistorySimilarity:
    """How like users' histories their pictures are, by one measure."""

    measure: str
    """Its name."""

    nearest: OwnAndOthers
    """Against the nearest picture of the history."""

    mean: OwnAndOthers
    """On average over the history."""

    users: tuple[int, ...]
    """Positions of the users who have a history."""


def history_similarity(
    generated: NDArray[Any],
    history: tuple[NDArray[Any], csr_array],
    measure: PairMeasure,
    *,
    n_others: int = 1,
    max_history: int = 8,
    confidence: float = 0.95,
    seed: int = 0,
) -> HistorySimilarity:
    """Return how near (n_users, k, ...) pictures are to what users liked, by `measure`.

    `history` is (n_items, ...) pictures, in the form that `measure` takes, and (n_users, n_items) likes of them, whose
    weights do not count. At most `max_history` likes of a user are drawn, and `n_others` histories of others compared
    with. Users without a like are left out. Deterministic for given inputs and seed. The cost is n_users x k x
    max_history x (1 + n_others) pairs: only SSIM and MS-SSIM feel it, with about 0.1 ms of one core a pair at 32 px
    and 0.4 to 0.6 ms at 64: lower `max_history` for them.

    Raises:
        DataError: fewer than 8 users with a history, or the shapes do not fit.
    """
    items, user_items = history
    likes = csr_array(user_items > 0)
    _require_shapes(generated, items, likes)
    users = np.flatnonzero(np.diff(likes.indptr))
    _require_users(len(users), n_others)
    rng = np.random.default_rng(seed)
    liked = [rng.permutation(likes.indices[likes.indptr[u] : likes.indptr[u + 1]])[:max_history] for u in users]
    pictures = _Described.of(generated[users], items, liked, measure)
    own = pictures.against(np.arange(len(users)))
    others = np.mean([pictures.against(order) for order in _of_others(len(users), n_others, rng)], axis=0)
    nearest, mean = (
        _own_and_others(own[:, k], others[:, k], 1 if measure.higher_is_nearer else -1, confidence) for k in (0, 1)
    )
    return HistorySimilarity(measure=measure.name, nearest=nearest, mean=mean, users=tuple(users.tolist()))


@dataclass(frozen=True)
class _Described:
    """Everybody's pictures and liked items, each described once."""

    generated: NDArray[Any]
    """(n_users * k, ...) descriptions, user by user."""
    items: NDArray[Any]
    liked: list[NDArray[np.int64]]
    """Rows of `items` that each user liked."""
    measure: PairMeasure

    @classmethod
    def of(
        cls, generated: NDArray[Any], items: NDArray[Any], liked: list[NDArray[Any]], measure: PairMeasure
    ) -> "_Described":
        used, rows = np.unique(np.concatenate(liked), return_inverse=True)
        flat = generated.reshape(-1, *generated.shape[2:])
        own_rows = np.split(rows, np.cumsum([len(part) for part in liked])[:-1])
        return cls(measure.describe(flat), measure.describe(items[used]), own_rows, measure)

    def against(self, history_of: NDArray[np.int64]) -> FloatArray:
        """Return (n_users, 2): nearest and mean value of each user's pictures against the history of that user."""
        k = len(self.generated) // len(self.liked)
        pairs = [
            (np.repeat(np.arange(u * k, (u + 1) * k), len(self.liked[v])), np.tile(self.liked[v], k))
            for u, v in enumerate(history_of)
        ]
        values = self._compared(*(np.concatenate(rows) for rows in zip(*pairs, strict=True)))
        ends = np.cumsum([len(rows) for rows, _ in pairs])[:-1]
        return np.array([self._summed(part.reshape(k, -1)) for part in np.split(values, ends)])

    def _compared(self, rows: NDArray[np.int64], items: NDArray[np.int64]) -> FloatArray:
        spans = (slice(start, start + _PAIRS) for start in range(0, len(rows), _PAIRS))
        return np.concatenate(
            [self.measure.compare(self.generated[rows[span]], self.items[items[span]]) for span in spans]
        )

    def _summed(self, values: FloatArray) -> tuple[float, float]:
        nearest = values.max(axis=1) if self.measure.higher_is_nearer else values.min(axis=1)
        return float(nearest.mean()), float(values.mean())


def _of_others(n_users: int, n_others: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Yield, for each user, another one; over users each comes once, and over rounds never the same again."""
    circle = rng.permutation(n_users)
    for step in rng.permutation(np.arange(1, n_users))[:n_others]:
        others = np.empty(n_users, np.int64)
        others[circle] = np.roll(circle, step)
        yield others


def _own_and_others(own: FloatArray, others: FloatArray, sign: int, confidence: float) -> OwnAndOthers:
    nearer = sign * (own - others)
    return OwnAndOthers(
        own=mean_interval(own, confidence),
        others=mean_interval(others, confidence),
        nearer=mean_interval(nearer, confidence),
        per_user=tuple(nearer.tolist()),
    )


def _require_shapes(generated: NDArray[Any], items: NDArray[Any], likes: csr_array) -> None:
    if likes.shape != (len(generated), len(items)) or generated.shape[2:] != items.shape[1:]:
        raise DataError(
            f"Expected pictures (n_users, k, ...), items (n_items, ...) of the same kind and likes (n_users, n_items), "
            f"found {generated.shape}, {items.shape} and {likes.shape}. Nothing was measured."
        )


def _require_users(n_users: int, n_others: int) -> None:
    if n_users < max(MIN_USERS, n_others + 1):
        raise DataError(
            f"Similarity to histories needs at least {max(MIN_USERS, n_others + 1)} users with a history, found "
            f"{n_users}. Evaluate on more. Nothing was measured."
        )
