"""What is known of users at a moment: the fields of a condition that follow from events up to it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from personalgen.embeddings.basis import Basis, Matrix
from personalgen.embeddings.behaviour import dislikes_known, newest_events
from personalgen.embeddings.collaborative import collaborative_known
from personalgen.embeddings.confidence import confidence_known
from personalgen.embeddings.current import current_known
from personalgen.embeddings.expected import Foresight
from personalgen.embeddings.fields import (
    BEHAVIOUR,
    COLLABORATIVE,
    CONFIDENCE,
    CURRENT,
    DISLIKES,
    EXPECTED,
    INTERESTS,
    KNOWN_EVENTS,
    FieldRows,
)
from personalgen.embeddings.interests import interests_known
from personalgen.histories import History

_MOST_INTERESTS = 4
"""Interests whose entropy a confidence tells."""


@dataclass(frozen=True)
class Moments:
    """Moments of people's histories: the newest of what was known at each is the events [start, stop), of one user."""

    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    now: NDArray[np.int64]
    """Seconds since 1970."""
    n_events: NDArray[np.int64]
    """All events that were known: `KNOWN_EVENTS` of them, or less, are looked at."""

    @classmethod
    def of_users(cls, history: History, now: NDArray[np.int64], n_events: NDArray[np.int64] | None = None) -> "Moments":
        """Return one moment of each user, at which everything in the history is known.

        `n_events` (n_users,) counts a user's events where the history holds the newest of them alone.
        """
        start, stop = history.bounds[:-1], history.bounds[1:]
        return cls._of(start, stop, now, stop - start if n_events is None else n_events)

    @classmethod
    def before_events(cls, history: History, events: NDArray[np.int64]) -> "Moments":
        """Return the moments of some events, at which nothing of their own second or later is known."""
        start, stop = (bound[events] for bound in history.known_before())
        return cls._of(start, stop, history.timestamp[events], stop - start)

    @classmethod
    def _of(
        cls, start: NDArray[np.int64], stop: NDArray[np.int64], now: NDArray[np.int64], n_events: NDArray[np.int64]
    ) -> "Moments":
        return cls(np.maximum(start, stop - KNOWN_EVENTS), stop, now, n_events)


def vectors_known(
    history: History,
    basis: Basis,
    items: Matrix,
    moments: Moments,
    asked: Mapping[str, int],
    foresight: Foresight | None,
) -> dict[str, FieldRows]:
    """Return the rows of the asked fields but behaviour (name: most rows), one for each moment.

    `items` are the (n_items, dim) vectors of items in the basis. What is expected needs a `foresight`.

    Raises:
        ConfigError: `collaborative` is asked for, and the basis was fitted without.
    """
    start, stop, found = moments.start, moments.stop, {}
    if DISLIKES in asked:
        found[DISLIKES] = dislikes_known(history, basis, items, stop - moments.n_events, stop)
    if EXPECTED in asked:
        assert foresight is not None  # noqa: S101 - whoever asks brings it
        found[EXPECTED] = foresight.expected(history, basis, items, start, stop)
    if CURRENT in asked:
        found[CURRENT] = current_known(history, basis, items, start, stop)
    if COLLABORATIVE in asked:
        found[COLLABORATIVE] = collaborative_known(history, basis, items, start, stop)
    if INTERESTS in asked:
        found[INTERESTS] = interests_known(history, basis, items, start, stop, asked[INTERESTS])
    if CONFIDENCE in asked:
        interests = found.get(INTERESTS) if asked.get(INTERESTS) == _MOST_INTERESTS else None
        if interests is None:
            interests = interests_known(history, basis, items, start, stop, _MOST_INTERESTS)
        half_life_days = basis.options.half_life_days
        found[CONFIDENCE] = confidence_known(
            history,
            start,
            stop,
            moments.now,
            n_events=moments.n_events,
            half_life_days=half_life_days,
            interests=interests,
        )
    return found


def user_fields(
    history: History,
    basis: Basis,
    items: Matrix,
    moments: Moments,
    asked: Mapping[str, int],
    foresight: Foresight | None,
) -> dict[str, FieldRows]:
    """Return the rows of the asked fields (name: most rows), one for each user, whose moments are those of the end."""
    found = vectors_known(history, basis, items, moments, asked, foresight)
    if BEHAVIOUR in asked:
        found[BEHAVIOUR] = newest_events(history, items, asked[BEHAVIOUR])
    return dict(sorted(found.items()))
