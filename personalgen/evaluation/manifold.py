"""Do generated pictures look like real ones, and do they show all that real ones show? Four shares of neighbours.

A picture's ball reaches to its k-th nearest neighbour in its own set. Precision is the share of generated pictures in
some real picture's ball, recall the share of real pictures in some generated picture's ball (Kynkäänniemi et al. 2019,
Improved precision and recall metric, eq. 1-3). Density counts how many real balls hold a generated picture, over k, and
coverage is the share of real balls that hold a generated one (Naeem et al. 2020, Reliable fidelity and diversity
metrics, eq. 3-4): a single outlying real picture with a large ball misleads them less.

Where we differ: rows are taken at length one, so that noise is not near everything (`unit_rows`). A user's pictures
ought to be alike, so neighbours within a user do not count for the balls of generated pictures, as they do not for KID.
Recall and coverage grow with the number of pictures, so the control, real pictures in the place of the generated ones,
has as many of them, and the same real set on the other side.

Intervals are value ± normal quantile x jackknife error, one user left out at a time. The real pictures and the balls
are held: they are what all models are measured with.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from personalgen.errors import DataError
from personalgen.evaluation.interval import FloatArray, Interval, jackknife_variance, normal_interval, within_share
from personalgen.evaluation.nearest import distance_tiles, neighbour_radii, require_one_width, unit_rows
from personalgen.evaluation.options import MIN_USERS

NEIGHBOURS = 5
_TIE = 1 + 1e-9
"""A distance within rounding of a ball's radius is inside."""


@dataclass(frozen=True)
class Manifold:
    """One set of pictures against the real ones; intervals are over users."""

    precision: Interval
    """Share of the pictures that lie where real ones do; 1 is best."""

    recall: Interval
    """Share of real pictures that lie where the pictures do; 1 is best, more pictures give more."""

    density: Interval
    """Real balls that hold a picture, over k; about 1 for real pictures, above 1 where pictures crowd the usual."""

    coverage: Interval
    """Share of real pictures with one of the pictures nearby; 1 is best, more pictures give more."""

    user_precision: tuple[float, ...]
    """Precision of each user's pictures, users in ascending order."""

    user_density: tuple[float, ...]
    """Density of each user's pictures, in the same order."""

    n_rows: int
    """Pictures behind recall and coverage."""


@dataclass(frozen=True)
class ManifoldWithControl:
    """Generated pictures, and as many real ones in their place: what a perfect generator would get."""

    generated: Manifold
    real: Manifold


@dataclass(frozen=True)
class ManifoldRows:
    """Who lies in whose ball: everything that the four figures are sums of."""

    user: NDArray[np.int64]
    """(n,) position of each picture's user among all users, ascending."""

    balls: NDArray[np.int64]
    """(n,) real balls that hold each picture: precision asks whether any, density how many."""

    covers: NDArray[np.bool_]
    """(n_users, n_real) whether a picture of the user lies in the ball of the real one."""

    recalls: NDArray[np.bool_]
    """(n_users, n_real) whether the real one lies in the ball of a picture of the user."""

    k: int
    """Neighbours that a ball reaches to."""

    n_rows: int
    """Pictures behind `covers` and `recalls`."""

    def figures(self, confidence: float = 0.95) -> Manifold:
        """Return the four figures with their jackknife intervals over users."""
        precise, density = (self.balls > 0).astype(np.float64), self.balls / self.k
        return Manifold(
            precision=within_share(self._mean_interval(precise, confidence)),
            recall=within_share(_any_user_interval(self.recalls, confidence)),
            density=self._mean_interval(density, confidence),
            coverage=within_share(_any_user_interval(self.covers, confidence)),
            user_precision=tuple(self._user_means(precise).tolist()),
            user_density=tuple(self._user_means(density).tolist()),
            n_rows=self.n_rows,
        )

    def _user_means(self, values: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(self.user, values) / np.bincount(self.user))

    def _mean_interval(self, values: FloatArray, confidence: float) -> Interval:
        sums, sizes = np.bincount(self.user, values), np.bincount(self.user)
        without = (sums.sum() - sums) / (len(values) - sizes)
        return normal_interval(float(values.mean()), jackknife_variance(without), confidence)


def manifold(
    real: NDArray[Any],
    fake: NDArray[Any],
    *,
    groups: NDArray[Any] | None = None,
    k: int = NEIGHBOURS,
    unit: bool = True,
    confidence: float = 0.95,
    device: str = "cpu",
) -> Manifold:
    """Return precision, recall, density and coverage of (n, d) generated rows against (n_real, d) real ones.

    `groups` names the user of each generated row; without it every row stands for itself. Rows are brought to length
    one, but for `unit` False.

    Raises:
        DataError: fewer than 8 users, too few neighbours, or the widths differ.
    """
    real, fake = (unit_rows(rows) if unit else rows for rows in (real, fake))
    radii = neighbour_radii(real, k=k, device=device)
    return manifold_rows(real, radii, fake, groups=groups, k=k, device=device).figures(confidence)


def manifold_with_control(
    real: NDArray[Any],
    other_real: NDArray[Any],
    fake: NDArray[Any],
    *,
    groups: NDArray[Any] | None = None,
    k: int = NEIGHBOURS,
    unit: bool = True,
    confidence: float = 0.95,
    seed: int = 0,
    device: str = "cpu",
) -> ManifoldWithControl:
    """Return the figures of generated rows and those of `other_real` rows, recall and coverage on equally many of both.

    Precision and density do not depend on how many there are: they use all rows. Deterministic for given inputs and
    seed, which chooses the rows behind recall and coverage.

    Raises:
        DataError: fewer than 8 users or other real rows, too few neighbours, or the widths differ.
    """
    real, other_real, fake = (unit_rows(rows) if unit else rows for rows in (real, other_real, fake))
    radii, n_rows = neighbour_radii(real, k=k, device=device), min(len(other_real), len(fake))
    rng = np.random.default_rng(seed)
    counted = [np.isin(np.arange(n), rng.permutation(n)[:n_rows]) for n in (len(fake), len(other_real))]
    generated = manifold_rows(real, radii, fake, groups=groups, counted=counted[0], k=k, device=device)
    control = manifold_rows(real, radii, other_real, counted=counted[1], k=k, device=device)
    return ManifoldWithControl(generated=generated.figures(confidence), real=control.figures(confidence))


def manifold_rows(
    real: NDArray[Any],
    radii: FloatArray,
    fake: NDArray[Any],
    *,
    groups: NDArray[Any] | None = None,
    counted: NDArray[np.bool_] | None = None,
    k: int = NEIGHBOURS,
    device: str = "cpu",
) -> ManifoldRows:
    """Return who lies in whose ball; `radii` (n_real,) are those of `neighbour_radii(real, k=k)`.

    `counted` (n,) marks the generated rows behind recall and coverage; without it all are.
    """
    require_one_width(real, fake)
    user = np.arange(len(fake)) if groups is None else np.unique(groups, return_inverse=True)[1]
    counted = np.ones(len(fake), np.bool_) if counted is None else counted
    _require_users(user, fake)
    own_radii = np.full(len(fake), -1.0)
    own_radii[counted] = neighbour_radii(fake[counted], k=k, groups=user[counted], device=device)
    real_reach, own_reach = (
        torch.from_numpy(np.sign(r) * np.square(r) * _TIE).to(device)
        for r in (np.asarray(radii, np.float64), own_radii)
    )
    codes, rows_counted = torch.from_numpy(user).to(device), torch.from_numpy(counted).to(device)
    balls = torch.zeros(len(fake), dtype=torch.int64, device=device)
    covers, recalls = (torch.zeros(int(user.max()) + 1, len(real), dtype=torch.bool, device=device) for _ in range(2))
    for span, of_real, squared in distance_tiles(fake, real, device=device):
        inside = squared <= real_reach[of_real]
        balls[span] += inside.sum(dim=1)
        _mark(covers, codes[span], of_real, inside & rows_counted[span, None])
        _mark(recalls, codes[span], of_real, squared <= own_reach[span, None])
    return ManifoldRows(
        user=user,
        balls=balls.cpu().numpy(),
        covers=covers.cpu().numpy(),
        recalls=recalls.cpu().numpy(),
        k=k,
        n_rows=int(counted.sum()),
    )


def _mark(reached: Tensor, codes: Tensor, of_real: slice, inside: Tensor) -> None:
    """Mark the real rows that a tile's users reach; `codes` are the users of the tile's rows."""
    users, place = torch.unique(codes, return_inverse=True)
    hits = torch.zeros(len(users), inside.shape[1], dtype=torch.int32, device=inside.device)
    reached[users, of_real] |= hits.index_add_(0, place, inside.int()) > 0


def _any_user_interval(reached: NDArray[np.bool_], confidence: float) -> Interval:
    """Return the share of real rows that any user reaches; without a user, those that nobody else reaches are lost."""
    n_users = reached.sum(axis=0)
    lost = (reached & (n_users == 1)).sum(axis=1)
    total = float((n_users > 0).sum())
    without = (total - lost) / reached.shape[1]
    return normal_interval(total / reached.shape[1], jackknife_variance(without), confidence)


def _require_users(user: NDArray[np.int64], fake: NDArray[Any]) -> None:
    if len(user) != len(fake):
        raise DataError(
            f"Expected one user for each of {len(fake)} generated rows, found {len(user)}. Pass groups row for row. "
            "Nothing was measured."
        )
    n_users = len(np.unique(user))
    if n_users < MIN_USERS:
        raise DataError(
            f"Precision and recall need at least {MIN_USERS} users (or independent rows), found {n_users}. "
            "Evaluate on more. Nothing was measured."
        )
