"""The few layers that generator and discriminators are made of; native torch operators only."""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAK = 0.2
GAIN = math.sqrt(2 / (1 + LEAK**2))
"""What keeps the second moment through a convolution and a leaky ReLU (He et al., arXiv:1502.01852, eq. 15)."""


def leaky(x: Tensor) -> Tensor:
    """Return leaky ReLU at the slope all nets share."""
    return F.leaky_relu(x, LEAK)


class GroupedConv(nn.Conv2d):
    """A convolution in groups, several of which may be computed as one with zeros between them.

    That is more arithmetic in fewer and larger matrix products, which GPUs may take less time for; the function is the
    same.
    """

    together = 1
    """Groups that are computed as one."""

    def joined(self) -> tuple[Tensor, int]:
        """Return the weight as it is computed with, and in how many groups."""
        if self.together == 1:
            return self.weight, self.groups
        k = self.together
        blocks = self.weight.view(self.groups // k, k, -1, 1, *self.weight.shape[1:])
        apart = torch.eye(k, dtype=blocks.dtype, device=blocks.device)[:, None, :, None, None, None]
        return (blocks * apart).flatten(3, 4).flatten(0, 2), self.groups // k

    def parted(self, gradient: Tensor) -> Tensor:
        """Return of a gradient of the `joined` weight that of the weight."""
        if self.together == 1:
            return gradient
        k = self.together
        blocks = gradient.view(self.groups // k, k, -1, k, *self.weight.shape[1:])
        return blocks.diagonal(dim1=1, dim2=3).movedim(-1, 1).reshape(self.weight.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, c_out, H, W)."""
        weight, groups = self.joined()
        return F.conv2d(x, weight, self.bias, padding=self.kernel_size[0] // 2, groups=groups)


def compute_groups_together(net: nn.Module, groups: int) -> None:
    """Let every grouped convolution below `net` compute so many groups as one, or as many as divide its own."""
    for layer in net.modules():
        if isinstance(layer, GroupedConv):
            layer.together = math.gcd(groups, layer.groups)


def conv(c_in: int, c_out: int, size: int, *, gain: float = GAIN, bias: bool = True, groups: int = 1) -> nn.Conv2d:
    """Return a same-size convolution with He initialisation scaled by `gain`; gain 0 starts the layer at zero."""
    kind = nn.Conv2d if groups == 1 else GroupedConv
    layer = kind(c_in, c_out, size, padding=size // 2, bias=bias, groups=groups)
    nn.init.normal_(layer.weight, std=gain / math.sqrt(c_in // groups * size * size))
    if bias:
        nn.init.zeros_(cast("Tensor", layer.bias))
    return layer


def linear(d_in: int, d_out: int, *, gain: float = 1.0, bias: float | None = 0.0) -> nn.Linear:
    """Return a linear layer with variance-preserving initialisation scaled by `gain`; None is no bias."""
    layer = nn.Linear(d_in, d_out, bias=bias is not None)
    nn.init.normal_(layer.weight, std=gain / math.sqrt(d_in))
    if bias is not None:
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


def modulated(x: Tensor, film: Tensor) -> Tensor:
    """Return (B, C, H, W) maps scaled and shifted per channel by the two halves of `film`, (B, 2C)."""
    scale, shift = film[:, :, None, None].chunk(2, dim=1)
    return x * (1 + scale) + shift


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
        y = x if self.film is None else modulated(x, self.film(style))
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
