"""SSIM and MS-SSIM: are the same edges and surfaces in the same places?

Means over the channels of RGB in [0, 1] and over windows: 1 for equal pictures, about 0 for unrelated ones. SSIM takes
the paper's Gaussian window of 11 pixels, sigma 1.5 (Wang et al. 2004, Image quality assessment: from error visibility
to structural similarity, eq. 13-16).

MS-SSIM halves the picture up to four times (Wang, Simoncelli & Bovik 2003, Multi-scale structural similarity, eq. 7),
for which 11 pixels need pictures of 176. Below that the window has 7 pixels, sigma 0.8, and there are as many scales as
the smallest one still holds a window: 2 at 16 px, 3 at 32, 4 at 64, 5 from 112 on. The paper's weights of the scales
that are left are divided by their sum. So values are comparable between pictures of one size, not across sizes.

Values are torchmetrics', to which a test holds them, its borders included: windows reach over the edge into a mirrored
picture, but for MS-SSIM's contrast. Here a window is two products of matrices, in a sixth to a half of its time: users'
pictures are compared with histories by ten thousands of pairs.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from personalgen.evaluation.interval import FloatArray
from personalgen.evaluation.similarity.pair import MIN_PX, PairMeasure, require_images

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_C1, _C2 = 0.01**2, 0.03**2
_SIGMA, _SMALL_SIGMA = 1.5, 0.8
_LARGE_PX = 176
_PIXELS = 1 << 16
"""Pixels of each side in one pass."""


def ms_ssim_weights(px: int) -> tuple[float, ...]:
    """Return the weight of each scale, finest first, for pictures whose shorter side has `px` pixels."""
    least = window_px(ms_ssim_sigma(px))
    n_scales = next((n for n in range(len(_WEIGHTS), 1, -1) if px >> (n - 1) >= least), 1)
    return tuple(weight / sum(_WEIGHTS[:n_scales]) for weight in _WEIGHTS[:n_scales])


def ms_ssim_sigma(px: int) -> float:
    """Return the standard deviation of MS-SSIM's window, for pictures whose shorter side has `px` pixels."""
    return _SIGMA if px >= _LARGE_PX else _SMALL_SIGMA


def window_px(sigma: float) -> int:
    """Return the pixels of a window, seven standard deviations and odd."""
    return int(3.5 * sigma + 0.5) * 2 + 1


def _ssim(images: Tensor, others: Tensor) -> Tensor:
    return _local_similarity(images, others, _SIGMA)[0]


def _ms_ssim(images: Tensor, others: Tensor) -> Tensor:
    px = min(images.shape[2:])
    weights, value = ms_ssim_weights(px), torch.ones(len(images))
    for scale, weight in enumerate(weights):
        whole, contrast = _local_similarity(images, others, ms_ssim_sigma(px))
        value = value * (whole if scale == len(weights) - 1 else contrast).clamp(min=0) ** weight
        images, others = F.avg_pool2d(images, 2), F.avg_pool2d(others, 2)
    return value


def _local_similarity(images: Tensor, others: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Return (n,) mean similarity over all windows; and of those inside, without the term for brightness."""
    of_rows, of_columns = (_windows(size, sigma) for size in images.shape[2:])
    moments = torch.stack([images, others, images * images, others * others, images * others])
    mean, other_mean, square, other_square, product = of_rows @ moments @ of_columns.T
    variances = (square - mean * mean).clamp(min=0) + (other_square - other_mean * other_mean).clamp(min=0)
    contrast = (2 * (product - mean * other_mean) + _C2) / (variances + _C2)
    brightness = (2 * mean * other_mean + _C1) / (mean * mean + other_mean * other_mean + _C1)
    edge = window_px(sigma) // 2
    inside = contrast[..., edge:-edge, edge:-edge]
    return (brightness * contrast).mean(dim=(1, 2, 3)), inside.mean(dim=(1, 2, 3))


def _windows(size: int, sigma: float) -> Tensor:
    """Return (size, size): in each row the Gaussian weights of the window around a pixel, mirrored at the edges."""
    reach = window_px(sigma) // 2
    weights = torch.exp(-(torch.arange(-reach, reach + 1.0) ** 2) / (2 * sigma**2))
    mirrored = F.pad(torch.eye(size)[None], (reach, reach), mode="reflect")[0]
    return torch.einsum("ipk,k->pi", mirrored.unfold(1, 2 * reach + 1, 1), weights / weights.sum())


def _compare(value: Callable[[Tensor, Tensor], Tensor]) -> Callable[[NDArray[Any], NDArray[Any]], FloatArray]:
    """Return the comparison of uint8 images in passes."""

    def compare(images: NDArray[Any], others: NDArray[Any]) -> FloatArray:
        n_pairs = max(_PIXELS // (images.shape[1] * images.shape[2]), 1)
        with torch.inference_mode():
            found = [
                value(_scaled(images[start : start + n_pairs]), _scaled(others[start : start + n_pairs]))
                for start in range(0, len(images), n_pairs)
            ]
        return np.asarray(torch.cat(found).double().numpy()) if found else np.empty(0)

    return compare


def _scaled(images: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, 3, 1))).float() / 255


def _images(images: NDArray[Any]) -> NDArray[Any]:
    require_images(images, min_px=MIN_PX)
    return images


SSIM = PairMeasure("SSIM", higher_is_nearer=True, describe=_images, compare=_compare(_ssim))
MS_SSIM = PairMeasure("MS-SSIM", higher_is_nearer=True, describe=_images, compare=_compare(_ms_ssim))
