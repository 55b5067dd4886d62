"""Are generated pictures copies of training pictures? The share that is nearer to one than new real pictures are.

Held-out real pictures say how near to a training picture a picture comes that nobody copied. One half of them sets the
threshold, below which 1 % of them lie; the share of the other half below it is the control, about 1 %, and the same
share of generated pictures is the figure. Without copies it is about 1 % as well. Rows are taken at length one
(`unit_rows`): pictures that look like no real one are then far from all of them, so that a bad generator memorises
nothing. Read it beside precision.

MiFID (Bai et al. 2021, On training sample memorization: lessons from a large-scale competition) divides the Fréchet
distance by how near generated pictures come to training ones on average, in cosine distance; from a threshold on by 1.
torchmetrics 1.9 averages over real pictures how near the generated ones come to them, which a model that copies a few
pictures again and again evades; the paper's definition is used here.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from personalgen.errors import DataError
from personalgen.evaluation.fidelity import frechet_distance
from personalgen.evaluation.interval import Interval, mean_interval, within_share
from personalgen.evaluation.nearest import nearest_distances, require_one_width, unit_rows
from personalgen.evaluation.options import MIN_USERS
from personalgen.evaluation.segments import user_means

NEARER_THAN = 0.01
"""Share of held-out pictures below the threshold."""

LEAST_THRESHOLD = 0.25
"""Least threshold, as a share of the median distance of held-out pictures: a few that are in the catalogue twice would
take it to nothing otherwise, and every copy with a little noise would pass for new."""

MIFID_FAR = 0.1
"""Mean cosine distance from which on nothing is memorised; the value of the paper's competition and of torchmetrics."""

_CHUNK_ROWS = 1024


@dataclass(frozen=True)
class Memorisation:
    """How many generated pictures are nearer to a training picture than 99 % of new real ones are."""

    share: Interval
    """Share of generated pictures at or below the threshold, each user counted once; the interval is over users."""

    control: Interval
    """The same share of held-out real pictures that did not set the threshold; the interval is over pictures."""

    expected: float
    """What the control is on average: 1 %, or more where there are fewer than 99 pictures to set the threshold."""

    threshold: float
    """Distance in feature space, between rows of length one unless told otherwise."""

    per_user: tuple[float, ...]
    """Share of each user's pictures, users in ascending order."""

    n_held_out: int
    """Different held-out pictures, both halves together."""


@dataclass(frozen=True)
class Mifid:
    """Memorisation-informed Fréchet distances to the training pictures, from equally many rows of all sets."""

    value: float
    """Of generated pictures; lower is better."""

    control: float
    """Of held-out real pictures: what a perfect generator would get."""

    distance: float
    """Mean cosine distance of generated pictures to the nearest training picture."""

    control_distance: float
    """The same of held-out real pictures; where it is below 0.1, new real pictures are punished as well."""

    n_rows: int
    """Rows of each set."""


def memorisation(
    train: NDArray[Any],
    held_out: NDArray[Any],
    fake: NDArray[Any],
    *,
    groups: NDArray[Any] | None = None,
    unit: bool = True,
    confidence: float = 0.95,
    seed: int = 0,
    device: str = "cpu",
) -> Memorisation:
    """Return the share of (n, d) generated rows that is as near to a training row as 1 % of held-out rows are.

    `groups` names the user of each generated row; without it every row stands for itself. Equal held-out rows count
    once, so that no picture is in both halves; which half a row falls into follows from `seed`. Rows are brought to
    length one, but for `unit` False.

    Raises:
        DataError: fewer than 16 different held-out rows or 8 users, or the widths differ.
    """
    different = np.unique(held_out, axis=0)
    train, fake = (unit_rows(rows) if unit else rows for rows in (train, fake))
    users = np.arange(len(fake)) if groups is None else groups
    _require_enough(len(different), len(np.unique(users)))
    order = np.random.default_rng(seed).permutation(len(different))
    of_threshold, of_control = (
        nearest_distances(unit_rows(rows) if unit else rows, train, device=device)[:, 0]
        for rows in np.array_split(different[order], 2)
    )
    place = _place(len(of_threshold))
    threshold = max(float(np.sort(of_threshold)[place - 1]), LEAST_THRESHOLD * float(np.median(of_threshold)))
    near = (nearest_distances(fake, train, device=device)[:, 0] <= threshold).astype(np.float64)
    per_user = user_means(near, users)
    return Memorisation(
        share=within_share(mean_interval(per_user, confidence)),
        control=within_share(mean_interval((of_control <= threshold).astype(np.float64), confidence)),
        expected=place / (len(of_threshold) + 1),
        threshold=threshold,
        per_user=tuple(per_user.tolist()),
        n_held_out=len(different),
    )


def mifid_with_control(
    train: NDArray[Any],
    held_out: NDArray[Any],
    fake: NDArray[Any],
    *,
    far: float = MIFID_FAR,
    max_rows: int = 1024,
    seed: int = 0,
) -> Mifid:
    """Return MiFID of generated and of held-out rows against training rows, equally many drawn from all three.

    Distances to the nearest are to all training rows, the Fréchet distance is to those drawn.
    """
    n_rows = min(len(train), len(held_out), len(fake), max_rows)
    rng = np.random.default_rng(seed)
    reference, real, drawn = (rows[rng.permutation(len(rows))[:n_rows]] for rows in (train, held_out, fake))
    of_real, of_fake = (mean_nearest_cosine(rows, train) for rows in (real, drawn))
    return Mifid(
        value=frechet_distance(reference, drawn) / _penalty(of_fake, far),
        control=frechet_distance(reference, real) / _penalty(of_real, far),
        distance=of_fake,
        control_distance=of_real,
        n_rows=n_rows,
    )


def mifid(train: NDArray[Any], fake: NDArray[Any], *, far: float = MIFID_FAR) -> float:
    """Return the Fréchet distance over the mean cosine distance to the nearest training row, over 1 from `far` on."""
    return frechet_distance(train, fake) / _penalty(mean_nearest_cosine(fake, train), far)


def mean_nearest_cosine(rows: NDArray[Any], train: NDArray[Any]) -> float:
    """Return the mean over rows of the least 1 - |cosine| to a training row; zero rows are left out of both."""
    require_one_width(rows, train)
    own, others = _unit(rows), _unit(train)
    nearest = [
        torch.stack([(chunk @ part.T).abs().amax(dim=1) for part in others.split(_CHUNK_ROWS)]).amax(dim=0)
        for chunk in own.split(_CHUNK_ROWS)
    ]
    return float((1 - torch.cat(nearest)).clamp(min=0.0).mean())


def _penalty(distance: float, far: float) -> float:
    """Return what to divide by; a distance of zero, copies all over, counts as 1e-14, as torchmetrics has it."""
    return distance + 1e-14 if distance < far else 1.0


def _unit(rows: NDArray[Any]) -> Tensor:
    return torch.from_numpy(unit_rows(rows[np.any(rows, axis=1)]))


def _place(n_rows: int) -> int:
    """Return how many of the threshold's rows lie at or below it, so that a new row does with odds place / (n + 1)."""
    return max(round(NEARER_THAN * (n_rows + 1)), 1)


def _require_enough(n_held_out: int, n_users: int) -> None:
    if n_held_out < 2 * MIN_USERS or n_users < MIN_USERS:
        raise DataError(
            f"Memorisation needs at least {2 * MIN_USERS} different held-out pictures and {MIN_USERS} users (or "
            f"independent rows), found {n_held_out} and {n_users}. Evaluate on more. Nothing was measured."
        )
