"""Doubling and halving of pictures with the filter [1, 2, 1], as R3GAN resamples (arXiv:2501.05441).

Doubling repeats every pixel (halving averages pairs) and smooths with [1, 2, 1], which together is the filter
[1, 3, 3, 1] per axis at a stride of two; beyond the border there are zeros. The same formula is computed by the
operators that are fastest where the picture is: on CPUs bilinear doubling with the border corrected and a depthwise
convolution, on GPUs and compiled sums of slices, which become one kernel, forward, backward and twice backward.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_BORDER = 0.75
"""What bilinear doubling, which repeats the border's pixels, has to be scaled by there: (3 + 0) / (3 + 1)."""


def upsample(x: Tensor) -> Tensor:
    """Return (B, C, 2H, 2W) of (B, C, H, W): (3 x[i] + x[i - 1]) / 4 and (3 x[i] + x[i + 1]) / 4 along both axes."""
    return upsample_by_interpolation(x) if _is_eager_on_cpu(x) else upsample_by_slices(x)


def downsample(x: Tensor) -> Tensor:
    """Return (B, C, H/2, W/2) of (B, C, H, W): (x[2i-1] + 3 x[2i] + 3 x[2i+1] + x[2i+2]) / 8 along both axes."""
    return downsample_by_convolution(x) if _is_eager_on_cpu(x) else downsample_by_slices(x)


def _is_eager_on_cpu(x: Tensor) -> bool:
    """Return whether x is computed with on a CPU by torch's own kernels.

    Compiled by inductor (torch 2.13), the gradient of an interpolation behind a convolution may be zero without a word:
    pytorch issues 100794 and 185509.
    """
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def upsample_by_interpolation(x: Tensor) -> Tensor:
    """Return `upsample` of x: bilinear doubling with the border scaled."""
    doubled = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    rows, columns = (F.pad(x.new_ones(2 * edge - 2), (1, 1), value=_BORDER) for edge in x.shape[2:])
    return doubled * (rows[:, None] * columns)


def downsample_by_convolution(x: Tensor) -> Tensor:
    """Return `downsample` of x: a convolution of each channel by itself."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype, device=x.device) / 8
    channels = x.shape[1]
    return F.conv2d(x, (taps[:, None] * taps).expand(channels, 1, 4, 4), stride=2, padding=1, groups=channels)


def upsample_by_slices(x: Tensor) -> Tensor:
    """Return `upsample` of x: sums of shifted pictures, one axis after the other, channels last."""
    batch, channels, height, width = x.shape
    y = x.permute(0, 2, 3, 1)
    padded = F.pad(y, (0, 0, 0, 0, 1, 1))
    y = 0.75 * torch.stack([y, y], dim=2) + 0.25 * torch.stack([padded[:, :-2], padded[:, 2:]], dim=2)
    y = y.reshape(batch, 2 * height, width, channels)
    padded = F.pad(y, (0, 0, 1, 1))
    y = 0.75 * torch.stack([y, y], dim=3) + 0.25 * torch.stack([padded[:, :, :-2], padded[:, :, 2:]], dim=3)
    return y.reshape(batch, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)


def downsample_by_slices(x: Tensor) -> Tensor:
    """Return `downsample` of x: sums of shifted pictures, one axis after the other, channels last."""
    y = x.permute(0, 2, 3, 1)
    outer = F.pad(y, (0, 0, 0, 0, 1, 1))
    y = 0.375 * (y[:, ::2] + y[:, 1::2]) + 0.125 * (outer[:, :-2:2] + outer[:, 3::2])
    outer = F.pad(y, (0, 0, 1, 1))
    y = 0.375 * (y[:, :, ::2] + y[:, :, 1::2]) + 0.125 * (outer[:, :, :-2:2] + outer[:, :, 3::2])
    return y.permute(0, 3, 1, 2)
