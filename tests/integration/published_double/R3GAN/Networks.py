"""The names that the benchmarks look for, over our own nets."""

from types import SimpleNamespace

import torch
from torch import nn

from benchmarks.published import FIELD, class_spec, in_published_order
from personalgen.conditions import Condition
from personalgen.models import ModelOptions, build_discriminator, build_generator

BiasedActivation = InterpolativeUpsampler = InterpolativeDownsampler = None


class _Net(nn.Module):
    """One of our nets with its weights in the published order."""

    def __init__(self, build, widths, blocks, n_classes, noise=4):
        super().__init__()
        options = ModelOptions(
            resolution=4 << (len(widths) - 1),
            z_dim=noise,
            style_dim=noise,
            width=widths[0],
            max_width=widths[0],
            discriminator_width=widths[0],
            blocks=blocks[0],
            group_size=1,
            block="bottleneck",
            conditioning="concatenate",
        )
        self.net = build(options, class_spec(n_classes))
        self.MainLayers = [SimpleNamespace(DataType=torch.float32) for _ in widths]

    def parameters(self, recurse=True):
        return in_published_order(self.net)

    def forward(self, x, classes):
        return self.net(x, Condition({FIELD: classes}))


class Generator(_Net):
    def __init__(
        self,
        *,
        NoiseDimension,
        ConditionEmbeddingDimension,
        WidthPerStage,
        CardinalityPerStage,
        BlocksPerStage,
        ExpansionFactor,
        ConditionDimension,
    ):
        super().__init__(build_generator, WidthPerStage, BlocksPerStage, ConditionDimension, NoiseDimension)


class Discriminator(_Net):
    def __init__(
        self,
        *,
        ConditionEmbeddingDimension,
        WidthPerStage,
        CardinalityPerStage,
        BlocksPerStage,
        ExpansionFactor,
        ConditionDimension,
    ):
        super().__init__(build_discriminator, WidthPerStage, BlocksPerStage, ConditionDimension)
