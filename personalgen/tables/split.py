"""Which items and users a model may learn from, and which events are 'later'; fixed for ever, by the id alone.

70 % train, 15 % judge, 15 % test. A split never depends on what else is in the table, so that tonight's held-out item
was held out every night before.
"""

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "judge", "test"]
Kind = Literal["item", "user"]

SPLITS: tuple[Split, ...] = ("train", "judge", "test")
TRAIN, JUDGE, TEST = range(3)
_JUDGE_FROM = 0.70
_TEST_FROM = 0.85


def split_of(canonical_id: str, kind: Kind = "item") -> Split:
    """Return the split of an item or a user, by blake2b of its canonical id; the two kinds are drawn apart."""
    digest = hashlib.blake2b(canonical_id.encode(), digest_size=8, person=f"split-{kind}".encode()).digest()
    place = int.from_bytes(digest, "big") / 2**64
    if place < _JUDGE_FROM:
        return "train"
    return "judge" if place < _TEST_FROM else "test"


def item_splits(item_ids: Sequence[str]) -> NDArray[np.int8]:
    """Return the code of each item's split: TRAIN, JUDGE or TEST."""
    return _codes(item_ids, "item")


def user_splits(user_ids: Sequence[str]) -> NDArray[np.int8]:
    """Return the code of each user's split: TRAIN, JUDGE or TEST."""
    return _codes(user_ids, "user")


def later_events(user_index: NDArray[np.integer], timestamp: NDArray[np.integer], share: float) -> NDArray[np.bool_]:
    """Return the mask of the last `share` of each user's events by time, rounded down to whole events.

    An event at the time of an earlier-side one stays earlier, so that no later event happened before or with an earlier
    one. Rows may come in any order.

    Raises:
        ValueError: `share` is outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be in [0, 1], found {share}")
    _, user, counts = np.unique(user_index, return_inverse=True, return_counts=True)
    n_earlier = counts - np.floor(counts * share + 1e-9).astype(np.int64)
    by_time = timestamp[np.lexsort((timestamp, user))]
    last_earlier = np.cumsum(counts) - counts + np.maximum(n_earlier - 1, 0)
    has_earlier = n_earlier > 0
    later: NDArray[np.bool_] = ~has_earlier[user] | (timestamp > by_time[last_earlier][user])
    return later


def _codes(ids: Sequence[str], kind: Kind) -> NDArray[np.int8]:
    """Return the split codes of ids."""
    code = {name: index for index, name in enumerate(SPLITS)}
    return np.array([code[split_of(one, kind)] for one in ids], dtype=np.int8)
