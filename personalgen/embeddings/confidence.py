"""How much stands behind what is known of a person: a vector that tells a generator how far to trust the others."""

import numpy as np
from numpy.typing import NDArray

from personalgen.embeddings.fields import CONFIDENCE_WIDTH, FieldRows
from personalgen.histories import DAY_SEC, History


def confidence_known(
    history: History,
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
    now: NDArray[np.int64],
    *,
    half_life_days: float,
    interests: FieldRows,
) -> FieldRows:
    """Return (n, 4) of the events [start, stop) of one user each, at the times `now` in seconds; nobody's is absent.

    Columns: log(1 + events), log(1 + effective events), which is how many equally old ones would say as much (Kish),
    log(1 + days since the newest), and the entropy of the `interests` in nats. Zero without an event.
    """
    effective = _effective_events(history, half_life_days)
    some = stop > start
    newest = np.where(some, stop - 1, 0)
    values = np.zeros((len(start), CONFIDENCE_WIDTH), dtype=np.float32)
    if some.any():
        days = np.maximum(now - history.timestamp[newest], 0) / DAY_SEC
        shares = np.maximum(interests.values[:, :, -1], 1e-12)
        entropy = -(shares * np.log(shares) * interests.mask).sum(1)
        columns = [np.log1p(stop - start), np.log1p(effective[newest]), np.log1p(days), entropy]
        values = np.where(some[:, None], np.column_stack(columns), 0).astype(np.float32)
    return FieldRows(values, np.ones(len(start), dtype=np.bool_))


def _effective_events(history: History, half_life_days: float) -> NDArray[np.float64]:
    """Return after each event how many equal ones would weigh as much: (sum of a user's weights)^2 / sum of squares."""
    found = np.empty(len(history.weight))
    kept = history.faded(half_life_days)
    total = squares = 0.0
    for k, weight in enumerate(np.abs(history.weight).tolist()):
        total = total * kept[k] + weight
        squares = squares * kept[k] ** 2 + weight**2
        found[k] = total**2 / squares if squares else 0.0
    return found
