"""The linear next-item model: what comes next, by ridge regression from a person's newest events.

Each event of a person but the last is a row: X holds the items up to it, weighted 2^(-k / half_life) for the k-th
before it and within a window, Y the item after it. B = (X'X + ridge I)^-1 X'Y, and scores are the decayed history times
B. With two scales X holds the last item by itself, too.

Both Gram matrices are sums over people. They are kept as whole numbers, so that no order of summing changes a bit, the
new events of a night are added, and a person is subtracted as if never seen.
Source: SLIST (Choi et al., arXiv:2104.01389, sections 3.2 and 3.3); TALE (arXiv:2403.18379). Here a row has one target,
which gives the sequence its direction without a second model.
"""

from dataclasses import dataclass, fields

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from personalgen.bounds import check_options

Counts = NDArray[np.int64]
Matrix = NDArray[np.float32]

_UNIT = 1 << 16
"""What a weight of 1 is as a whole number; products of two are in its square."""


@dataclass(frozen=True)
class NextItemOptions:
    """Settings of the linear next-item model."""

    half_life: float = 5.0
    """Events after which an event weighs half."""
    window: int = 24
    """Newest events that count."""
    ridge: float = 400.0
    """Weight of the squared coefficients beside that of the errors."""
    two_scales: bool = True
    """Whether the last item has coefficients of its own beside those of the decayed history."""
    most_items: int = 15_000
    """Items above which sums for every pair of them are not kept: a night takes the model of low rank then."""

    def identity(self) -> dict[str, float | bool]:
        """Return the settings that decide what is learnt; how many items there is place for is none of them."""
        return {name: value for name, value in vars(self).items() if name != "most_items"}

    def __post_init__(self) -> None:
        """Refuse settings that give no model, all in one message."""
        check_options("recommender", self, least={"window": 1, "most_items": 1}, above={"half_life": 0, "ridge": 0})


@dataclass
class NextItemStatistics:
    """Whole-number sums over people, of which the model is a function; n is the number of items."""

    options: NextItemOptions
    decayed: Counts
    """(n, n) X'X of the decayed part, in squared units."""
    following: Counts
    """(n, n) X'Y of the decayed part: rows are earlier items, columns next ones; in units."""
    last_decayed: Counts
    """(n, n) last item x decayed items, in units; (0, 0) with one scale."""
    last_following: Counts
    """(n, n) how often one item was next after another; (0, 0) with one scale."""
    last: Counts
    """(n,) rows with this last item; (0,) with one scale."""

    @classmethod
    def empty(cls, n_items: int, options: NextItemOptions) -> "NextItemStatistics":
        """Return the statistics of nobody."""
        more = n_items if options.two_scales else 0
        sizes = (n_items, n_items, more, more)
        shapes = [*((size, size) for size in sizes), (more,)]
        return cls(options, *(np.zeros(shape, dtype=np.int64) for shape in shapes))

    @property
    def n_sums(self) -> int:
        """Number of sums for each pair of items."""
        return 4 if self.options.two_scales else 2

    def products(self) -> tuple[Matrix, Matrix]:
        """Return X'X of the decayed part, and last items x decayed items, as float32."""
        return (self.decayed / _UNIT**2).astype(np.float32), (self.last_decayed / _UNIT).astype(np.float32)

    def add(self, items: Counts, bounds: Counts, *, after: Counts | None = None, sign: int = 1) -> None:
        """Add, or with sign -1 subtract, people's sequences.

        `items` holds the items of all of them, oldest first, person after person; person k's begin at bounds[k] and end
        before bounds[k + 1]. With `after` only what the events from place after[k] on bring is added: those before them
        were added already.
        """
        starts, stops = bounds[:-1], bounds[1:]
        first_new = starts if after is None else starts + np.maximum(after, 1) - 1
        place = np.arange(len(items))
        end = np.repeat(stops, stops - starts) - 2  # the last place that has a next one
        begin = np.repeat(starts, stops - starts)
        first = np.repeat(first_new, stops - starts)  # the first row that is new
        decay = self._decay()
        sums = _partial_sums(decay)
        for lag in range(self.options.window + 1):
            later = place[lag:]
            earlier = later - lag
            same = earlier >= begin[later]
            later, earlier = later[same], earlier[same]
            if lag < self.options.window:
                # Rows from max(later, first) to where the earlier one leaves the window, or the sequence ends.
                until = np.minimum(end[later], earlier + self.options.window - 1) - later + 1
                since = np.maximum(first[later] - later, 0)
                weight = sums[lag, np.maximum(until, 0)] - sums[lag, np.minimum(since, np.maximum(until, 0))]
                _add_at(self.decayed, items[earlier], items[later], sign * weight)
                if lag:
                    _add_at(self.decayed, items[later], items[earlier], sign * weight)
                if self.options.two_scales:
                    row = (later <= end[later]) & (later >= first[later])
                    _add_at(self.last_decayed, items[later[row]], items[earlier[row]], sign * decay[lag])
            if lag:
                row = later - 1 >= first[later]
                _add_at(self.following, items[earlier[row]], items[later[row]], sign * decay[lag - 1])
                if lag == 1 and self.options.two_scales:
                    _add_at(self.last_following, items[earlier[row]], items[later[row]], sign)
                    self.last += sign * np.bincount(items[earlier[row]], minlength=len(self.last))

    def placed(self, index: Counts, n_items: int) -> "NextItemStatistics":
        """Return the statistics of `n_items` items, of which index[k] is the one that stands at k here, -1 if none.

        Who liked an item that is not taken along has to be subtracted first.
        """
        kept = np.flatnonzero(index >= 0)
        found = NextItemStatistics.empty(n_items, self.options)
        for name, old in self.sums().items():
            if old.size:
                getattr(found, name)[np.ix_(*[index[kept]] * old.ndim)] = old[np.ix_(*[kept] * old.ndim)]
        return found

    def sums(self) -> dict[str, Counts]:
        """Return the sums by name."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "options"}

    def _decay(self) -> Counts:
        """Return (window,) weights in units."""
        ages = np.arange(self.options.window)
        return np.round(_UNIT * 2.0 ** (-ages / self.options.half_life)).astype(np.int64)


def solve(statistics: NextItemStatistics) -> tuple[Matrix, Matrix]:
    """Return (n, n) coefficients of the decayed history, and of the last item ((0, 0) with one scale)."""
    options = statistics.options
    system, mixed = statistics.products()
    system[np.diag_indices_from(system)] += options.ridge
    target = (statistics.following / _UNIT).astype(np.float32)
    if not options.two_scales:
        return _solved(system, target), np.zeros((0, 0), dtype=np.float32)
    # Block elimination: the rows of last items are orthogonal, so that their block is a diagonal.
    inverse = (1 / (statistics.last + options.ridge)).astype(np.float32)[:, None]
    following = statistics.last_following.astype(np.float32)
    system -= mixed.T @ (inverse * mixed)
    target -= mixed.T @ (inverse * following)
    decayed = _solved(system, target)
    return decayed, inverse * (following - mixed @ decayed)


def _solved(system: Matrix, target: Matrix) -> Matrix:
    factor = scipy.linalg.cho_factor(system, lower=True, overwrite_a=True, check_finite=False)
    solution: Matrix = scipy.linalg.cho_solve(factor, target, overwrite_b=True, check_finite=False)
    return solution


def _partial_sums(decay: Counts) -> Counts:
    """Return (window, window + 1): for each lag d the sums of decay[l + d] * decay[l] over l < m."""
    window = len(decay)
    sums = np.zeros((window, window + 1), dtype=np.int64)
    for lag in range(window):
        products = np.zeros(window, dtype=np.int64)
        products[: window - lag] = decay[lag:] * decay[: window - lag]
        sums[lag, 1:] = np.cumsum(products)
    return sums


def _add_at(matrix: Counts, rows: Counts, columns: Counts, values: Counts | int) -> None:
    """Add each value at its place; places may repeat."""
    np.add.at(matrix.reshape(-1), rows * matrix.shape[1] + columns, values)
