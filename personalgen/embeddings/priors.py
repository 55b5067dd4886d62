"""What is thought of a person before any event: how much that counts, and what it is in a segment.

A person's events scatter around a taste, and tastes scatter around the population's. The ratio of the two variances is
how many events the population's mean is worth (empirical Bayes).
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from personalgen.embeddings.basis import Basis, Matrix

_LEAST, _MOST = 1e-3, 1e4
"""Pseudo-events where nothing scatters within a group, and where groups do not differ."""


@dataclass(frozen=True)
class Groups:
    """Weighted observations by group, as sums: events of people, or people of segments."""

    means: Matrix
    """(n_groups, dim)."""
    squares: NDArray[np.float64]
    """(n_groups, dim) weighted sums of squares."""
    totals: NDArray[np.float64]
    """(n_groups,) sums of weights, all above zero."""
    effective: NDArray[np.float64]
    """(n_groups,) how many equal weights say as much (Kish): the squared sum over the sum of squares."""

    @classmethod
    def of_people(cls, vectors: Matrix, segment: NDArray[np.int64]) -> "Groups":
        """Return people, who weigh the same, by the number of their segment; every number occurs."""
        counts = np.bincount(segment).astype(np.float64)
        sums, squares = np.zeros((2, len(counts), vectors.shape[1]))
        np.add.at(sums, segment, vectors)
        np.add.at(squares, segment, vectors.astype(np.float64) ** 2)
        return cls((sums / counts[:, None]).astype(np.float32), squares, counts, counts)

    def pseudo_count(self, columns: slice) -> float:
        """Return how many observations the mean of all groups is worth: variance within groups over that between them.

        From 0.001 to 10,000, which is also returned where no group has two observations, or groups do not differ.
        Source: method of moments of Buehlmann and Straub (1970), here with observations of one variance whatever their
        weight, so that groups count by their effective number.
        """
        means, squares = self.means[:, columns].astype(np.float64), self.squares[:, columns]
        freedom = (self.totals * (1 - 1 / self.effective)).sum()
        count, n_all = self.effective[:, None], self.effective.sum()
        if freedom < 1e-9:
            return _MOST
        within = (squares - self.totals[:, None] * means**2).sum() / freedom
        overall = (count * means).sum(0) / n_all
        spread = (count * (means - overall) ** 2).sum() - (len(means) - 1) * within
        between = spread / max(n_all - (self.effective**2).sum() / n_all, 1e-9)
        return float(np.clip(within / between, _LEAST, _MOST)) if between > 0 else _MOST


def with_pseudo_events(basis: Basis, people: Groups) -> Basis:
    """Return the basis with the estimated number of pseudo-events in each half."""
    found = [people.pseudo_count(half) for half in basis.halves]
    return replace(basis, pseudo_events=np.array(found, dtype=np.float32))


def with_segments(basis: Basis, vectors: Matrix, segments: list[str | None]) -> Basis:
    """Return the basis with a prior for each segment of some people with (n, dim) raw `vectors`.

    It is the mean of the segment's people, itself shrunk to that of all as far as few people say little.
    """
    own = np.array([bool(segment) for segment in segments], dtype=np.bool_)
    names, number = np.unique([segment for segment in segments if segment], return_inverse=True)
    if not len(names):
        return basis
    groups = Groups.of_people(vectors[own], number)
    pseudo = np.concatenate([np.full(half.stop - half.start, groups.pseudo_count(half)) for half in basis.halves])
    counts = groups.totals[:, None]
    means = (counts * groups.means + pseudo * basis.center) / (counts + pseudo)
    return replace(basis, segments=tuple(names.tolist()), segment_means=means.astype(np.float32))
