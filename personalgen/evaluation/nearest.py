"""Distances between two sets of feature rows, tile by tile: memory does not grow with the product of the sets.

|a - b|² is taken as |a|² + |b|² - 2 a·b, in float64 and after both sets are moved by the mean of the second one. Of
what is left after that cancellation, anything below 1e-12 of |a|² + |b|² is rounding and counts as zero: rows nearer to
each other than a millionth of their length are the same picture. In float32 this would begin at a thousandth.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from personalgen.errors import DataError
from personalgen.evaluation.interval import FloatArray

Tile = tuple[slice, slice, Tensor]
_TILE_ROWS = 1024
_ROUNDING = 1e-12


def distance_tiles(rows: NDArray[Any], others: NDArray[Any], *, device: str = "cpu") -> Iterator[Tile]:
    """Yield (span of rows, span of others, squared Euclidean distances between them) until all pairs were seen.

    Distances are float64 on `device`, never below zero, and exactly zero between the same pictures.

    Raises:
        DataError: the two are not (n, d) arrays of one width.
    """
    require_one_width(rows, others)
    shift = torch.from_numpy(np.mean(others, axis=0, dtype=np.float64)).to(device)
    for row_span in _spans(len(rows)):
        own = _moved(rows[row_span], shift)
        for other_span in _spans(len(others)):
            yield row_span, other_span, _squared_distances(own, _moved(others[other_span], shift))


def nearest_distances(
    rows: NDArray[Any],
    others: NDArray[Any],
    *,
    k: int = 1,
    groups: tuple[NDArray[Any], NDArray[Any]] | None = None,
    device: str = "cpu",
) -> FloatArray:
    """Return (n, k) Euclidean distances of each row to its `k` nearest others, nearest first.

    `groups` names the user, or the picture itself, of each row and of each other: pairs of one group do not count.

    Raises:
        DataError: a row has fewer than `k` others that count, or the widths differ.
    """
    codes = None if groups is None else tuple(torch.from_numpy(codes).to(device) for codes in _codes(*groups))
    nearest = torch.full((len(rows), k), torch.inf, dtype=torch.float64, device=device)
    for row_span, other_span, squared in distance_tiles(rows, others, device=device):
        if codes is not None:
            squared.masked_fill_(codes[0][row_span, None] == codes[1][None, other_span], torch.inf)
        nearest[row_span] = torch.cat([nearest[row_span], squared], dim=1).topk(k, largest=False).values
    if not bool(torch.isfinite(nearest).all()):
        raise DataError(
            f"Expected at least {k} neighbours of each row, found fewer among {len(others)} rows, those of its own "
            "group not counted. Measure on more pictures or lower k. Nothing was measured."
        )
    return np.asarray(nearest.sort(dim=1).values.sqrt().cpu().numpy(), np.float64)


def neighbour_radii(
    rows: NDArray[Any], *, k: int, groups: NDArray[Any] | None = None, device: str = "cpu"
) -> FloatArray:
    """Return (n,) distances of each row to its `k`-th nearest in the same set, itself and its group left out."""
    own = np.arange(len(rows)) if groups is None else groups
    return nearest_distances(rows, rows, k=k, groups=(own, own), device=device)[:, -1]


def unit_rows(rows: NDArray[Any]) -> FloatArray:
    """Return rows of length one; a row of zeros stays.

    Nearness in the judge's features is measured between these. Features of noise have a length of 13 where those of
    posters have 63, and so lie nearer to the shortest real rows than real rows lie to each other: by plain distance
    all noise was precise and 998 of 1,000 memorised, by direction none (docs/experiments.md).
    """
    values = np.asarray(rows, np.float64)
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    return np.asarray(values / np.where(lengths > 0, lengths, 1.0))


def require_one_width(rows: NDArray[Any], others: NDArray[Any]) -> None:
    """Refuse arrays between whose rows there is no distance.

    Raises:
        DataError: the two are not (n, d) arrays of one width.
    """
    if rows.ndim != 2 or others.ndim != 2 or rows.shape[1] != others.shape[1]:
        raise DataError(
            f"Distances need two (n, d) arrays of one width, found {rows.shape} and {others.shape}. "
            "Compute both with the same net. Nothing was measured."
        )


def _spans(n_rows: int) -> Iterator[slice]:
    return (slice(start, min(start + _TILE_ROWS, n_rows)) for start in range(0, n_rows, _TILE_ROWS))


def _moved(rows: NDArray[Any], shift: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(rows)).to(shift.device, torch.float64) - shift


def _squared_distances(rows: Tensor, others: Tensor) -> Tensor:
    lengths = rows.square().sum(dim=1)[:, None] + others.square().sum(dim=1)[None, :]
    squared = torch.addmm(lengths, rows, others.T, alpha=-2)
    return squared.masked_fill(squared < _ROUNDING * lengths, 0.0)


def _codes(rows: NDArray[Any], others: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return both as numbers, equal where the names are."""
    codes = np.unique(np.concatenate([rows, others]), return_inverse=True)[1]
    return codes[: len(rows)], codes[len(rows) :]
