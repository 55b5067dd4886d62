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
    n_events: NDArray[np.int64],
    half_life_days: float,
    interests: FieldRows,
) -> FieldRows:
    """Return (n, 4) of the events [start, stop) of one user each, at the times `now` in seconds; nobody's is absent.

    Columns: log(1 + `n_events`), which are all that were known, log(1 + effective ones of [start, stop)), which is how
    many equally old ones would say as much (Kish), log(1 + days since the newest), and the entropy of the `interests`
    in nats. Zero without an event.
    """
    total, squares = (
        _faded_sums(history, start, stop, np.abs(history.weight, dtype=np.float64) ** power, half_life_days / power)
        for power in (1, 2)
    )
    effective = np.divide(total**2, squares, out=np.zeros(len(start)), where=squares > 0)
    some = stop > start
    newest = np.where(some, stop - 1, 0)
    values = np.zeros((len(start), CONFIDENCE_WIDTH), dtype=np.float32)
    if some.any():
        days = np.maximum(now - history.timestamp[newest], 0) / DAY_SEC
        shares = np.maximum(interests.values[:, :, -1], 1e-12)
        entropy = -(shares * np.log(shares) * interests.mask).sum(1)
        columns = [np.log1p(n_events), np.log1p(effective), np.log1p(days), entropy]
        values = np.where(some[:, None], np.column_stack(columns), 0).astype(np.float32)
    return FieldRows(values, np.ones(len(start), dtype=np.bool_))


def _faded_sums(
    history: History,
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
    values: NDArray[np.float64],
    half_life_days: float,
) -> NDArray[np.float64]:
    """Return the sum of the values of the events [start, stop) of one user each, halved by age before the newest."""
    found = np.zeros(len(start))
    for lag in range(int((stop - start).max(initial=0))):
        event = stop - 1 - lag
        rows = np.flatnonzero(event >= start)
        age_days = (history.timestamp[stop[rows] - 1] - history.timestamp[event[rows]]) / DAY_SEC
        found[rows] += values[event[rows]] * 2.0 ** (-age_days / half_life_days)
    return found
