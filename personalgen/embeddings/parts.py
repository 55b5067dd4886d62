"""A random few of each person's likes, for pictures of one person that differ as the likes do.

A generator that is told everything draws what is typical of a person, again and again. Told of a few likes for each
picture, other ones for the next, it draws from all that a person likes, as the likes themselves come from it: a picture
less sure to please, and a set of pictures as diverse as the likes.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

from personalgen.embeddings.history import decayed_weights
from personalgen.histories import History
from personalgen.seeding import derive_seed

_LEAST = 1e-300
"""Of a like so old that nothing is left of it in floating point."""


def part_of_likes(history: History, count: int, variant: int, *, half_life_days: float) -> History:
    """Return `count` likes of each user for the picture `variant`, all where there are no more; dislikes stay.

    Drawn without replacement, each like by its decayed weight (Efraimidis & Spirakis 2006, Weighted random sampling
    with a reservoir, algorithm A). What is drawn of a user follows from the id, the variant and the likes alone, and a
    new like changes it only where it comes in itself.
    """
    weight = like_weights(history, half_life_days)
    kept = history.weight <= 0
    for user, (start, stop) in enumerate(itertools.pairwise(history.bounds.tolist())):
        likes = start + np.flatnonzero(history.weight[start:stop] > 0)
        kept[likes[_drawn(weight[likes], count, derive_seed(history.user_ids[user], variant))]] = True
    return history.where(kept)


def like_weights(history: History, half_life_days: float) -> NDArray[np.float64]:
    """Return (n_events,) decayed weights of likes, above zero however old they are; 0 for dislikes."""
    return np.where(history.weight > 0, np.maximum(decayed_weights(history, half_life_days), _LEAST), 0.0)


def _drawn(weight: NDArray[np.float64], count: int, seed: int) -> NDArray[np.int64]:
    """Return `count` places: those with the least exponential variate over the weight."""
    if len(weight) <= count:
        return np.arange(len(weight))
    keys = -np.log1p(-np.random.default_rng(seed).random(len(weight))) / weight
    return np.argpartition(keys, count - 1)[:count]
