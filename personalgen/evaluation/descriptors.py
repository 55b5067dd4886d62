"""What a picture looks like by rules that nobody trained: where which colour is, which way edges run, how fine it is.

A net that learnt from photographs and these rules err in different ways, so that a gain which both of them see is not
the fault of one of them.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from personalgen.errors import DataError

DESCRIPTORS = ("colour", "edges", "detail")
EDGE_PX = 32
"""Side in pixels at which pictures are described."""
_CELLS, _ORIENTATIONS, _CHROMA_BINS = 4, 8, 6
_BATCH = 256
# Luma of ITU-R BT.601, and the two differences of opponent colours, each in [-1, 1].
_OPPONENTS = ((0.299, 0.587, 0.114), (0.5, -0.5, 0.0), (-0.25, -0.25, 0.5))


def describe(images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Return (n, d) float32 columns of each of `DESCRIPTORS` of (n, height, width, 3) uint8 pictures.

    "colour" has means of the opponent colours on a grid of 4 x 4 and a histogram of the chroma, "edges" histograms of
    the gradients' directions on that grid (Dalal & Triggs 2005, Histograms of oriented gradients, without their
    overlapping blocks), "detail" how much brightness differs from its surroundings of two sizes.

    Raises:
        DataError: the images are not uint8 NHWC.
    """
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise DataError(
            f"Descriptors need (n, height, width, 3) uint8 pictures, found {images.shape} {images.dtype}. "
            "Nothing was measured."
        )
    parts = [_described(images[k : k + _BATCH]) for k in range(0, len(images), _BATCH)] or [_described(images)]
    return {name: np.concatenate([part[name] for part in parts]) for name in DESCRIPTORS}


def _described(images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 255
    if pixels.shape[-2:] != (EDGE_PX, EDGE_PX):
        pixels = F.interpolate(
            pixels, size=(EDGE_PX, EDGE_PX), mode="bilinear", align_corners=False, antialias=pixels.shape[-1] > EDGE_PX
        )
    opponents = torch.einsum("nchw,oc->nohw", pixels, torch.tensor(_OPPONENTS))
    luma = opponents[:, :1]
    columns = {"colour": _colour(opponents), "edges": _edges(luma), "detail": _detail(luma)}
    return {name: value.numpy() for name, value in columns.items()}


def _colour(opponents: Tensor) -> Tensor:
    """Return grid means, and a histogram of chroma in which a pixel is shared by its four nearest bins."""
    means = F.adaptive_avg_pool2d(opponents, _CELLS).flatten(1)
    place = (opponents[:, 1:].flatten(2) + 1) / 2 * (_CHROMA_BINS - 1)
    near = (1 - (place[..., None] - torch.arange(_CHROMA_BINS)).abs()).clamp(min=0)
    histogram = torch.einsum("npa,npb->nab", near[:, 0], near[:, 1]) / place.shape[-1]
    return torch.cat([means, histogram.flatten(1).sqrt()], dim=1)


def _edges(luma: Tensor) -> Tensor:
    """Return root histograms of the gradients' directions, a gradient shared by its two nearest directions."""
    padded = F.pad(luma, (1, 1, 1, 1), mode="replicate")
    dx, dy = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2], padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    place = torch.atan2(dy, dx) % torch.pi / torch.pi * _ORIENTATIONS
    apart = (place - torch.arange(_ORIENTATIONS)[None, :, None, None]).abs()
    near = (1 - torch.minimum(apart, _ORIENTATIONS - apart)).clamp(min=0)
    cells = F.adaptive_avg_pool2d(near * torch.hypot(dx, dy), _CELLS)
    return cells.flatten(1).sqrt()


def _detail(luma: Tensor) -> Tensor:
    """Return the mean difference from the surroundings of 3 and 7 pixels, in quarters of the picture."""
    found = []
    for window in (3, 7):
        around = F.avg_pool2d(F.pad(luma, [window // 2] * 4, mode="replicate"), window, stride=1)
        found.append(F.adaptive_avg_pool2d((luma - around).abs(), 2).flatten(1).sqrt())
    return torch.cat(found, dim=1)
