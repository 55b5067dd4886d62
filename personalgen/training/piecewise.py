"""The gradient of a discriminator's loss with R1 and R2 in four passes over its net instead of six.

A net of convolutions and leaky ReLUs is linear around each input. Let delta_l be the signals that a pass backward from
the logit leaves behind layer l, and v the gradient with which it reaches the image. For a row whose loss has the
derivative s with respect to its logit, and whose penalty is gamma/2 |v|^2,

    d/dW_l (loss + gamma/2 |v|^2) = delta_l (x) (s a_l + gamma t_l),

where a_l is what layer l reads of the image, and t_l what it reads of v in the same net, its slopes as they were and
without biases. The sum is one pass of that net, from s x + gamma v with biases scaled by s. So a step costs a pass
forward, one backward, one forward again, and one product per weight. Differentiating the gradient automatically costs
two passes more, and frameworks have no fast second derivative of a grouped convolution.

Exact where rows do not see each other and the logit is <features, embedding of the condition>.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeGuard, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from personalgen.models import Discriminator
from personalgen.models.bottleneck import Bottleneck, BottleneckDiscriminator
from personalgen.models.discriminator import InnerProduct
from personalgen.models.layers import LEAK, GroupedConv
from personalgen.models.resample import downsample, upsample

_CPU_ROWS = 32
"""Rows that pass the net at once on a CPU: more would leave its cache."""


class Verdict(NamedTuple):
    """What a discriminator's step says of a batch of real and a batch of made images."""

    loss: Tensor
    """A scalar with the gradient of the discriminator's loss and penalties; its value means nothing."""
    real_logits: Tensor
    fake_logits: Tensor
    penalty: Tensor
    """(B,) R1 + R2 of each pair: squared norms of gradients."""
    fake_gradient: Tensor
    """(B, 3, H, W) gradient of the fakes' logits with respect to the fakes."""


def is_piecewise(net: Discriminator) -> TypeGuard[BottleneckDiscriminator]:
    """Return whether `four_passes` is exact for a net."""
    return isinstance(net, BottleneckDiscriminator) and isinstance(net.head, InnerProduct) and net.spread is None


def four_passes(
    net: BottleneckDiscriminator,
    real: Tensor,
    fake: Tensor,
    encoded: Tensor,
    *,
    d_loss: Callable[[Tensor, Tensor], Tensor],
    gamma: Tensor,
    dtype: torch.dtype,
) -> Verdict:
    """Return the step for (B, 3, R, R) images under the (B, width) embedded condition.

    Convolutions compute in `dtype`; logits, losses and penalties in the images' type.
    """
    batch, conditional = len(real), bool(net.encoder.spec.fields)
    top = encoded.to(real.dtype) if conditional else real.new_ones(batch, 1)
    rows = _CPU_ROWS if real.device.type == "cpu" else 2 * batch
    with torch.no_grad(), torch.autocast(real.device.type, enabled=False):
        images, tops = torch.cat([real, fake]), torch.cat([top, top])
        parts = [_Rows(net, *part, dtype) for part in zip(images.split(rows), tops.split(rows), strict=True)]
        real_logits, fake_logits = torch.cat([part.read() for part in parts]).chunk(2)
        _, derivative = torch.func.vjp(d_loss, real_logits, fake_logits)  # type: ignore[misc] # two without has_aux
        slopes = torch.cat(derivative(real_logits.new_ones(()))).split(rows)
        gradient = torch.cat([part.pull() for part in parts])
        found = [part.read_again(slope, gamma / batch) for part, slope in zip(parts, slopes, strict=True)]
    loss = torch.stack([(weight * sum(g)).sum() for weight, *g in zip(_weights(net), *found, strict=True)]).sum()
    if conditional:
        loss = loss + (torch.cat([part.features for part in parts]) * torch.cat([top, top])).sum()
    penalties = gradient.square().sum((1, 2, 3))
    return Verdict(loss, real_logits, fake_logits, penalties[:batch] + penalties[batch:], gradient[batch:])


class _Step(NamedTuple):
    """One block, and what follows it before the next one."""

    block: Bottleneck
    halves: bool
    mix: nn.Conv2d | None


class _Signals(NamedTuple):
    """What came back to the outputs of a block's convolutions, and of the 1x1 one that follows it."""

    expand: Tensor
    grouped: Tensor
    project: Tensor
    mix: Tensor


class _Rows:
    """Some rows on their way through the net, and what each pass leaves for the next."""

    def __init__(self, net: BottleneckDiscriminator, images: Tensor, top: Tensor, dtype: torch.dtype) -> None:
        self.net, self.images, self.top, self.dtype = net, images, top, dtype
        self.steps = list(_steps(net))
        self.activations: list[tuple[Tensor, Tensor]] = []
        """Of each block; their signs are its slopes."""
        self.signals: list[_Signals] = []
        """Of each block, from the last to the first."""
        self.features = self.image_gradient = self.signal = self.pooled = top

    def read(self) -> Tensor:
        """Return (rows,) logits."""
        x = _conv(self.images.to(self.dtype), self.net.from_rgb)
        for step in self.steps:
            first = F.leaky_relu_(_conv(x, step.block.expand, bias=True), LEAK)
            second = F.leaky_relu_(_conv(first, step.block.grouped, bias=True), LEAK)
            self.activations.append((first, second))
            x = _joined(step, x, second)
            x = x if step.mix is None else _conv(x, step.mix)
        features = F.linear((x * self.net.basis).sum((2, 3)), self.net.flatten.weight)
        return (features * self.top).sum(1)

    def pull(self) -> Tensor:
        """Return (rows, 3, R, R): the gradient of the logits with respect to the images."""
        self.pooled = self.top @ self.net.flatten.weight
        signal = (self.pooled[:, :, None, None] * self.net.basis).to(self.dtype)
        signal = signal.contiguous(memory_format=torch.channels_last)
        for (block, halves, mix), (first, second) in zip(reversed(self.steps), reversed(self.activations), strict=True):
            behind = signal
            signal = skipped = signal if mix is None else _back(signal, mix)
            inner = _back(signal, block.project)
            if halves:
                inner, skipped = upsample(inner / 4), upsample(skipped / 4)  # what halving passes back
            inner = _sloped(inner, second)
            outer = _sloped(_backward(inner, first, block.grouped, (True, False, False))[0], first)
            self.signals.append(_Signals(outer, inner, signal, behind))
            signal = skipped + _back(outer, block.expand)
        self.signal = signal
        self.image_gradient = _back(signal, self.net.from_rgb).to(self.images.dtype)
        return self.image_gradient

    def read_again(self, slope: Tensor, gamma: Tensor) -> list[Tensor]:
        """Return the gradients of the weights in the order of `_weights`; `features` is then that of the embedding.

        `slope` is (rows,), the derivative of the loss with respect to the logits.
        """
        scale = slope[:, None, None, None]
        x = (scale * self.images + gamma * self.image_gradient).to(self.dtype)
        scale = scale.to(self.dtype)
        found = [_product(self.signal, x, self.net.from_rgb)]
        x = _conv(x, self.net.from_rgb)
        for step, (first, second), signals in zip(self.steps, self.activations, reversed(self.signals), strict=True):
            block, y = step.block, x
            layers = (block.expand, signals.expand, first), (block.grouped, signals.grouped, second)
            for layer, signal, slopes in layers:
                bias = cast("Tensor", layer.bias)
                found += [_product(signal, y, layer), slope @ signal.sum((2, 3), dtype=slope.dtype)]
                y = _sloped(_conv(y, layer).addcmul_(scale, bias.to(y.dtype)[:, None, None]), slopes)
            x, y = (downsample(x), downsample(y)) if step.halves else (x, y)
            found.append(_product(signals.project, y, block.project))
            x = x + _conv(y, block.project)
            if step.mix is not None:
                found.append(_product(signals.mix, x, step.mix))
                x = _conv(x, step.mix)
        pooled = (x * self.net.basis).sum((2, 3))
        self.features = F.linear(pooled, self.net.flatten.weight)
        basis = (self.pooled[:, :, None, None] * x).sum(0, keepdim=True)
        return [*found, basis, self.top.T @ pooled]


def _steps(net: BottleneckDiscriminator) -> Iterator[_Step]:
    """Yield the blocks in order."""
    for stage in net.stages.values():
        *blocks, last = cast("nn.ModuleList", stage.blocks)
        yield from (_Step(cast("Bottleneck", block), halves=False, mix=None) for block in blocks)
        mix = stage.mix if isinstance(stage.mix, nn.Conv2d) else None
        yield _Step(cast("Bottleneck", last), halves=True, mix=mix)
    yield from (_Step(cast("Bottleneck", block), halves=False, mix=None) for block in net.last)


def _weights(net: BottleneckDiscriminator) -> Iterator[Tensor]:
    """Yield every weight but the embedding's, in the order in which `_Rows.read_again` returns their gradients."""
    yield net.from_rgb.weight
    for block, _, mix in _steps(net):
        for layer in (block.expand, block.grouped):
            yield from (layer.weight, cast("Tensor", layer.bias))
        yield block.project.weight
        if mix is not None:
            yield mix.weight
    yield from (net.basis, net.flatten.weight)


def _joined(step: _Step, x: Tensor, wide: Tensor) -> Tensor:
    """Return what leaves a block: its input plus its residual, halved where it halves."""
    if step.halves:
        x, wide = downsample(x), downsample(wide)
    return x + _conv(wide, step.block.project)


def _conv(x: Tensor, layer: nn.Conv2d, *, bias: bool = False) -> Tensor:
    """Return the layer's output in the type of x."""
    added = cast("Tensor", layer.bias).to(x.dtype) if bias else None
    weight, groups = _computed(layer)
    return F.conv2d(x, weight.to(x.dtype), added, padding=layer.kernel_size[0] // 2, groups=groups)


def _sloped(x: Tensor, activation: Tensor) -> Tensor:
    """Return x times the slope that led to an activation."""
    return cast("Tensor", torch.ops.aten.leaky_relu_backward(x, activation, LEAK, True))


def _back(signal: Tensor, layer: nn.Conv2d) -> Tensor:
    """Return the signal in front of a 1x1 convolution."""
    return F.conv2d(signal, layer.weight.to(signal.dtype).transpose(0, 1))


def _product(signal: Tensor, read: Tensor, layer: nn.Conv2d) -> Tensor:
    """Return the gradient of a convolution's weight, from the signal behind it and what it read."""
    found = _backward(signal, read, layer, (False, True, False))[1].to(layer.weight.dtype)
    return layer.parted(found) if isinstance(layer, GroupedConv) else found


def _backward(signal: Tensor, read: Tensor, layer: nn.Conv2d, mask: tuple[bool, bool, bool]) -> tuple[Tensor, ...]:
    """Return the gradients of a convolution's input, weight and bias, of those that `mask` asks for."""
    edge, (weight, groups) = layer.kernel_size[0] // 2, _computed(layer)
    given = (signal, read, weight.to(signal.dtype), None, [1, 1], [edge, edge], [1, 1], False, [0, 0], groups, mask)
    return cast("tuple[Tensor, ...]", torch.ops.aten.convolution_backward(*given))


def _computed(layer: nn.Conv2d) -> tuple[Tensor, int]:
    """Return the weight that a convolution computes with, and in how many groups."""
    return layer.joined() if isinstance(layer, GroupedConv) else (layer.weight, layer.groups)
