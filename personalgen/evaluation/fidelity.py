"""How near generated pictures are to real ones as a crowd: KID with its interval, Fréchet distance with its floor.

KID is the unbiased MMD² of a cubic kernel (Bińkowski et al. 2018, Demystifying MMD GANs, eq. 3-4): it is zero on
average for two samples of one distribution, whatever their size, and may come out slightly below zero. Pairs of
pictures of one user are left out: a user's pictures ought to be alike, and that would count as lost variety.

Its interval is value ± normal quantile x two-sample jackknife error, one real picture or one *user* left out at a
time, since the pictures of a user are not independent. Where real and fake agree this statistic is degenerate: an
ordinary bootstrap is then inconsistent and the spread over subsets belongs to another sample size, while the jackknife
still errs on the wide side (Efron & Stein 1981).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from personalgen.errors import DataError
from personalgen.evaluation.interval import FloatArray, Interval, jackknife_variance, normal_interval

MIN_ROWS = 8
_CHUNK_ROWS = 1024


@dataclass(frozen=True)
class KidEstimate:
    """KID of all rows and with each independent unit left out; two over the same units may be subtracted."""

    value: float
    without_real: FloatArray
    without_group: FloatArray

    def __sub__(self, other: "KidEstimate") -> "KidEstimate":
        return KidEstimate(
            value=self.value - other.value,
            without_real=self.without_real - other.without_real,
            without_group=self.without_group - other.without_group,
        )

    def interval(self, confidence: float = 0.95) -> Interval:
        """Return the value with its jackknife interval."""
        variance = jackknife_variance(self.without_real) + jackknife_variance(self.without_group)
        return normal_interval(self.value, variance, confidence)


@dataclass(frozen=True)
class FrechetDistance:
    """A Fréchet distance beside that of two real samples of the same size; neither means much without the other."""

    value: float
    floor: float
    n_rows: int


def kid(
    real: NDArray[Any], fake: NDArray[Any], *, groups: NDArray[Any] | None = None, confidence: float = 0.95
) -> Interval:
    """Return KID between feature rows, with its interval.

    `groups` names the user of each fake row: pairs within a user do not count, and intervals treat users as the
    independent units. Without it every fake row stands for itself.

    Raises:
        DataError: fewer than 8 real rows or groups, or the widths differ.
    """
    return kid_estimate(real, fake, groups=groups).interval(confidence)


def kid_floor(real_a: NDArray[Any], real_b: NDArray[Any], *, confidence: float = 0.95) -> Interval:
    """Return KID between two disjoint sets of real rows: what a perfect generator would get."""
    return kid(real_a, real_b, confidence=confidence)


def kid_estimate(real: NDArray[Any], fake: NDArray[Any], *, groups: NDArray[Any] | None = None) -> KidEstimate:
    """Return KID and its leave-one-out values over real rows and over groups of fake rows."""
    membership = _membership(len(fake) if groups is None else groups)
    _require_comparable(real, fake, membership)
    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    m, n, sizes = len(real), len(fake), membership.sum(axis=0)
    real_real = np.concatenate([block.sum(axis=1) for block, _ in _kernel_blocks(real)])
    real_fake, fake_fake = _cross_sums(real, fake, membership), _group_sums(fake, membership)
    within_real, within_fake = real_real.sum() / (m * (m - 1)), fake_fake.sum() / _pairs(n, np.square(sizes).sum())
    across = real_fake.sum()
    fake_without = (fake_fake.sum() - 2 * fake_fake.sum(axis=1)) / _pairs(
        n - sizes, np.square(sizes).sum() - np.square(sizes)
    )
    real_without = (real_real.sum() - 2 * real_real) / ((m - 1) * (m - 2))
    return KidEstimate(
        value=float(within_real + within_fake - 2 * across / (m * n)),
        without_real=real_without + within_fake - 2 * (across - real_fake.sum(axis=1)) / ((m - 1) * n),
        without_group=within_real + fake_without - 2 * (across - real_fake.sum(axis=0)) / (m * (n - sizes)),
    )


def frechet_distance(real: NDArray[Any], fake: NDArray[Any]) -> float:
    """Return |mean difference|² + tr(S1 + S2 - 2 (S1 S2)^½) of two sets of rows; biased upward at small sizes.

    tr (S1 S2)^½ is the nuclear norm of the product of the centred rows, exact also where rows are fewer than columns.
    Source: Heusel et al. 2017, GANs trained by a two time-scale update rule, eq. 6.
    """
    centred_a, centred_b = (_centred(np.asarray(rows, np.float64)) for rows in (real, fake))
    shift = float(np.square(np.mean(real, axis=0, dtype=np.float64) - np.mean(fake, axis=0, dtype=np.float64)).sum())
    cross = float(np.linalg.svd(centred_a @ centred_b.T, compute_uv=False).sum())
    return shift + float(np.square(centred_a).sum() + np.square(centred_b).sum()) - 2 * cross


def frechet_with_floor(
    real: NDArray[Any], other_real: NDArray[Any], fake: NDArray[Any], *, seed: int = 0, max_rows: int = 2048
) -> FrechetDistance:
    """Return the Fréchet distance and its real-vs-real floor, on equally many rows drawn from all three sets."""
    n_rows = min(len(real), len(other_real), len(fake), max_rows)
    rng = np.random.default_rng(seed)
    drawn = [rows[rng.permutation(len(rows))[:n_rows]] for rows in (real, other_real, fake)]
    return FrechetDistance(
        value=frechet_distance(drawn[0], drawn[2]), floor=frechet_distance(drawn[0], drawn[1]), n_rows=n_rows
    )


def _pairs(n_rows: Any, sum_of_squared_sizes: Any) -> Any:
    """Return the number of ordered pairs of rows from two different groups."""
    return np.square(n_rows) - sum_of_squared_sizes


def _cubic_kernel(rows: FloatArray, others: FloatArray) -> FloatArray:
    """Return (x·y / d + 1)³ for every pair."""
    base: FloatArray = rows @ others.T / rows.shape[1] + 1.0
    return base * base * base


def _kernel_blocks(rows: FloatArray) -> Iterator[tuple[FloatArray, slice]]:
    """Yield blocks of rows of the kernel matrix of `rows` with itself, the diagonal set to zero."""
    for start in range(0, len(rows), _CHUNK_ROWS):
        span = slice(start, min(start + _CHUNK_ROWS, len(rows)))
        block = _cubic_kernel(rows[span], rows)
        np.fill_diagonal(block[:, span], 0.0)
        yield block, span


def _cross_sums(real: FloatArray, fake: FloatArray, membership: csr_array) -> FloatArray:
    """Return (n_real, n_groups): kernel sums of each real row with each group of fakes."""
    chunks = [real[start : start + _CHUNK_ROWS] for start in range(0, len(real), _CHUNK_ROWS)]
    return np.concatenate([np.asarray(_cubic_kernel(chunk, fake) @ membership) for chunk in chunks])


def _group_sums(fake: FloatArray, membership: csr_array) -> FloatArray:
    """Return (n_groups, n_groups): kernel sums between different groups; zero within a group."""
    sums = np.zeros((membership.shape[1], membership.shape[1]))
    for block, span in _kernel_blocks(fake):
        sums += membership[span].T @ (block @ membership)
    np.fill_diagonal(sums, 0.0)
    return sums


def _membership(groups: NDArray[Any] | int) -> csr_array:
    """Return (n_rows, n_groups) with a one where a row belongs to a group; an int gives every row its own."""
    codes = np.arange(groups) if isinstance(groups, int) else np.unique(groups, return_inverse=True)[1]
    return csr_array((np.ones(len(codes)), (np.arange(len(codes)), codes)))


def _centred(rows: FloatArray) -> FloatArray:
    """Return rows less their mean, scaled so that their Gram matrix's trace is that of the covariance."""
    return np.asarray((rows - rows.mean(axis=0)) / np.sqrt(len(rows) - 1))


def _require_comparable(real: NDArray[Any], fake: NDArray[Any], membership: csr_array) -> None:
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise DataError(
            f"KID compares two (n, d) arrays of one width, found {real.shape} and {fake.shape}. "
            "Compute both with the same net. Nothing was measured."
        )
    if membership.shape[0] != len(fake):
        raise DataError(
            f"KID got {membership.shape[0]} groups for {len(fake)} fake rows. Pass one user for each "
            "row. Nothing was measured."
        )
    if len(real) < MIN_ROWS or membership.shape[1] < MIN_ROWS:
        raise DataError(
            f"KID needs at least {MIN_ROWS} real rows and {MIN_ROWS} users (or independent fake rows), "
            f"found {len(real)} and {membership.shape[1]}. Evaluate on more. Nothing was measured."
        )
