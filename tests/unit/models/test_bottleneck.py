import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from personalgen.conditions import Condition, ConditionSpec, FieldSpec
from personalgen.models import ModelOptions, build_discriminator, build_generator
from personalgen.models.bottleneck import Bottleneck

PUBLISHED = ModelOptions(
    resolution=8,
    z_dim=6,
    style_dim=6,
    width=16,
    max_width=16,
    discriminator_width=16,
    blocks=2,
    group_size=1,
    block="bottleneck",
    conditioning="concatenate",
)
LABEL = ConditionSpec((FieldSpec("label", "label", 10),))


def stirred(net):
    """Give every weight that starts at zero another value, so that all of the net shows."""
    with torch.no_grad():
        for weight in net.parameters():
            if not weight.any():
                weight.normal_(std=0.1)
    return net


def test_a_block_starts_as_the_identity():
    """The last convolution starts at zero, and learns from there."""
    block, x = Bottleneck(8, expansion=2, n_blocks=4), torch.randn(2, 8, 4, 4)
    assert torch.equal(block(x), x)
    block(x).square().sum().backward()
    assert block.project.weight.grad.abs().sum() > 0


def test_a_block_is_three_convolutions_the_middle_one_in_groups_of_sixteen():
    """Each group of 16 of the 32 inner channels is convolved by itself, by an independent formula."""
    block, x = stirred(Bottleneck(16, expansion=2, n_blocks=1)), torch.randn(2, 16, 5, 5)
    inner = F.leaky_relu(torch.einsum("oi,bihw->bohw", block.expand.weight[:, :, 0, 0], x) + bias(block.expand), 0.2)
    patches = F.unfold(inner, 3, padding=1).view(2, 2, 16 * 9, 25)
    weights = block.grouped.weight.view(2, 16, 16 * 9)
    mixed = torch.einsum("gok,bgkp->bgop", weights, patches).reshape(2, 32, 5, 5)
    mixed = F.leaky_relu(mixed + bias(block.grouped), 0.2)
    wanted = x + torch.einsum("oi,bihw->bohw", block.project.weight[:, :, 0, 0], mixed)
    torch.testing.assert_close(block(x), wanted, rtol=1e-4, atol=1e-5)


def bias(layer):
    """Return a layer's bias in the shape of maps."""
    return layer.bias[:, None, None]


@pytest.mark.parametrize(("channels", "groups"), [(96, 12), (8, 1), (4, 1), (12, 3), (20, 5)])
def test_every_width_has_groups(channels, groups):
    """Sixteen inner channels a group where that divides them, else the largest power of two that does."""
    assert Bottleneck(channels, expansion=2, n_blocks=1).grouped.groups == groups


def test_the_first_weights_shrink_with_the_number_of_blocks():
    """Fixup for three layers a block: He's deviation times L^(-1/4), within 5 % on 18,432 weights."""
    block = Bottleneck(96, expansion=2, n_blocks=16)
    he = math.sqrt(2 / (1 + 0.2**2))
    assert float(block.expand.weight.detach().std()) == pytest.approx(he / math.sqrt(96) / 2, rel=0.05)
    assert float(block.grouped.weight.detach().std()) == pytest.approx(he / math.sqrt(16 * 9) / 2, rel=0.05)


def test_a_modulated_block_listens_to_its_style():
    """Two styles give two outputs of one input, once the last convolution has left zero."""
    block, x = stirred(Bottleneck(4, expansion=2, n_blocks=1, style_dim=3)), torch.randn(1, 4, 4, 4).expand(2, 4, 4, 4)
    y = block(x, torch.randn(2, 3))
    assert (y[0] - y[1]).abs().max() > 1e-4


def test_the_published_sizes():
    """The nets of the paper's CIFAR-10 run have 20.8 and 21.3 million weights."""
    options = dataclasses.replace(
        PUBLISHED, resolution=32, z_dim=64, style_dim=64, width=768, max_width=768, discriminator_width=768
    )
    with torch.device("meta"):
        nets = build_generator(options, LABEL), build_discriminator(options, LABEL)
    counts = [sum(p.numel() for name, p in net.named_parameters() if "nulls" not in name) / 1e6 for net in nets]
    assert counts == pytest.approx([20.8, 21.3], abs=0.05)


def test_concatenated_the_generator_hears_the_condition_beside_z_alone():
    """The picture is a function of z beside W c: another label with W c equal gives the same picture."""
    net, z = stirred(build_generator(PUBLISHED, LABEL)), torch.randn(1, 6)
    one, two = (Condition({"label": torch.eye(10)[k : k + 1]}) for k in (0, 1))
    assert (net(z, one) - net(z, two)).abs().max() > 1e-3
    with torch.no_grad():
        weight = net.encoder.nets["label"].weight
        weight[:, 1] = weight[:, 0]
    assert torch.equal(net(z, one), net(z, two))


def test_concatenated_the_logit_is_an_inner_product():
    """<f(x), W c>: twice the label is twice the logit."""
    net, images = stirred(build_discriminator(PUBLISHED, LABEL)), torch.randn(2, 3, 8, 8)
    label = torch.eye(10)[:2]
    once, twice = (net(images, Condition({"label": factor * label})) for factor in (1, 2))
    torch.testing.assert_close(twice, 2 * once)


@pytest.mark.parametrize("conditioning", ["modulate", "concatenate"])
def test_a_group_is_seen_together_where_it_has_more_than_one(conditioning):
    """In groups of two a picture's logit depends on its neighbour, alone it does not."""
    images, label = torch.randn(2, 3, 8, 8), Condition({"label": torch.eye(10)[:2]})
    for size in (1, 2):
        options = dataclasses.replace(PUBLISHED, group_size=size, conditioning=conditioning)
        net = stirred(build_discriminator(options, LABEL)).double()
        label = Condition({"label": torch.eye(10, dtype=torch.float64)[:2]})
        images = images.double()
        others = torch.stack([images[0], 3 * images[1]])
        moved = (net(images, label)[0] - net(others, label)[0]).abs() > 1e-7
        assert bool(moved) is (size > 1)
