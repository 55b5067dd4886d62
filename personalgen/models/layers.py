"""The few layers that generator and discriminators are made of; native torch operators only."""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAK = 0.2
_GAIN = math.sqrt(2 / (1 + LEAK**2))


def leaky(x: Tensor) -> Tensor:
    """Return leaky ReLU at the slope all nets share."""
    return F.leaky_relu(x, LEAK)


def conv(c_in: int, c_out: int, size: int, *, gain: float = _GAIN, bias: bool = True) -> nn.Conv2d:
    """Return a same-size convolution with He initialisation scaled by `gain`; gain 0 starts the layer at zero."""
    layer = nn.Conv2d(c_in, c_out, size, padding=size // 2, bias=bias)
    nn.init.normal_(layer.weight, std=gain / math.sqrt(c_in * size * size))
    if bias:
        nn.init.zeros_(cast("Tensor", layer.bias))
    return layer


def linear(d_in: int, d_out: int, *, gain: float = 1.0, bias: float = 0.0) -> nn.Linear:
    """Return a linear layer with variance-preserving initialisation scaled by `gain`."""
    layer = nn.Linear(d_in, d_out)
    nn.init.normal_(layer.weight, std=gain / math.sqrt(d_in))
    nn.init.constant_(layer.bias, bias)
    return layer


def unit_variance(x: Tensor) -> Tensor:
    """Return rows scaled to a mean square of 1: z and the condition keep their say whatever the nets before them do."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


def doubled(x: Tensor) -> Tensor:
    """Return (B, C, H, W) maps at twice the edge, bilinear: F.interpolate from slices instead of by index.

    Its gradient is a sum of slices, too. That of F.interpolate is a scatter, whose order is open on a GPU, and which
    torch 2.13 lost when it fused a compiled training step for a CPU: the stages before it learned nothing.
    """
    # Channels last in memory, where a row of channels moves as one.
    return _doubled_along(_doubled_along(x.permute(0, 2, 3, 1), 1), 2).permute(0, 3, 1, 2)


def _doubled_along(x: Tensor, axis: int) -> Tensor:
    """Return x with each value replaced by two, a quarter of the way to its neighbours; the border is repeated."""
    count = x.shape[axis]
    before = torch.cat([x.narrow(axis, 0, 1), x.narrow(axis, 0, count - 1)], axis)
    after = torch.cat([x.narrow(axis, 1, count - 1), x.narrow(axis, count - 1, 1)], axis)
    pair = torch.stack([torch.lerp(x, before, 0.25), torch.lerp(x, after, 0.25)], axis + 1)
    return pair.flatten(axis, axis + 1)


class ModulatedBlock(nn.Module):
    """A residual block without normalisation whose input is scaled and shifted per channel by the style vector.

    After R3GAN (arXiv:2501.05441, section 3.2), with two differences: two dense 3x3 convolutions instead of the
    inverted grouped bottleneck, because dense ones run faster on CPUs at these widths; and a last convolution that
    does not start at zero, because with it the first pictures were all alike and stayed so under the discriminator on
    features.
    """

    def __init__(self, channels: int, style_dim: int) -> None:
        """Build the block for `channels` maps; with a `style_dim` of 0 it is not modulated."""
        super().__init__()
        self.film = linear(style_dim, 2 * channels) if style_dim else None
        self.first = conv(channels, channels, 3)
        self.last = conv(channels, channels, 3, gain=0.5)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Return x plus its modulated residual; x is (B, channels, H, W), style (B, style_dim)."""
        y = x
        if self.film is not None:
            scale, shift = self.film(style)[:, :, None, None].chunk(2, dim=1)
            y = x * (1 + scale) + shift
        return cast("Tensor", x + self.last(leaky(self.first(leaky(y)))))


class ResidualBlock(nn.Module):
    """The discriminator's residual block: no normalisation, the last convolution starts at zero."""

    def __init__(self, channels: int) -> None:
        """Build the block for `channels` maps."""
        super().__init__()
        self.first = conv(channels, channels, 3)
        self.last = conv(channels, channels, 3, gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus its residual, (B, channels, H, W)."""
        return cast("Tensor", x + self.last(leaky(self.first(leaky(x)))))
