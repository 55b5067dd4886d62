import pytest
import torch
import torch.nn.functional as F

from personalgen.models import FeatureDiscriminator

CHANNELS = (6, 10, 12)


@pytest.fixture
def net(spec):
    """Return a discriminator on three depths, with groups of two."""
    return FeatureDiscriminator(CHANNELS, spec, style_dim=16, group_size=2, width=8)


@pytest.fixture
def maps():
    """Return frozen maps of eight pictures, shallow to deep, each half the size of the one before."""
    generator = torch.Generator().manual_seed(4)
    return [torch.randn(8, c, 8 >> k, 8 >> k, generator=generator) for k, c in enumerate(CHANNELS)]


def test_a_logit_per_scale_and_picture(net, maps, condition):
    """(n_scales, B), finite, and a function of the condition."""
    logits = net(net.mixed(maps), condition)
    assert logits.shape == (3, 8)
    other = net(net.mixed(maps), condition.take(range(7, -1, -1)))
    assert ((logits - other).abs() > 1e-5).all()


def test_each_scale_depends_on_its_own_mix(net, maps, condition):
    """Changing one mix moves that scale's logits only."""
    mixed = list(net.mixed(maps))
    before = net(mixed, condition)
    mixed[1] = mixed[1] + 1
    moved = (net(mixed, condition) - before).abs().amax(1) > 1e-6
    assert moved.tolist() == [False, True, False]


def test_deeper_maps_are_mixed_into_shallower_ones(net, maps):
    """The deepest mix is its projection; each other adds the next deeper one, enlarged, at equal variance."""
    mixed = net.mixed(maps)
    assert [tuple(x.shape) for x in mixed] == [(8, 8, 8 >> k, 8 >> k) for k in range(3)]
    torch.testing.assert_close(mixed[2], net.mixes[2](maps[2]))
    enlarged = F.interpolate(mixed[2], size=(4, 4), mode="bilinear", align_corners=False)
    torch.testing.assert_close(mixed[1], (net.mixes[1](maps[1]) + enlarged) * 0.5**0.5)
    assert all(0.3 < float(x.std()) < 2 for x in mixed)


def test_mixes_never_learn(net, maps, condition):
    """Heads, logits and encoder get gradients; the random projections do not."""
    net(net.mixed(maps), condition.drop(torch.tensor([True] + [False] * 7))).sum().backward()
    learned = {name.split(".")[0] for name, weight in net.named_parameters() if weight.grad is not None}
    assert learned == {"encoder", "heads", "logits"}
    assert not any(weight.requires_grad for weight in net.mixes.parameters())


def test_groups_are_judged_together(net, maps, condition):
    """A picture moves the logits of its own group of two and of nobody else, at every scale."""
    changed = [x.clone() for x in maps]
    for x in changed:
        x[0] += 1
    moved = (net(net.mixed(changed), condition) - net(net.mixed(maps), condition)).abs() > 1e-6
    assert moved.tolist() == [[True, True] + [False] * 6] * 3
