"""What every family of generators does, with and without a condition, and what its opponent does."""

import dataclasses

import pytest
import torch

from personalgen.conditions import Condition, ConditionSpec, FieldSpec
from personalgen.models import ImageEncoder, ModelOptions, build_discriminator, build_generator, ema_copy
from personalgen.models.options import FAMILIES

OPTIONS = ModelOptions(resolution=16, z_dim=6, style_dim=16, width=8, max_width=16, discriminator_width=8, group_size=2)
MIXED = ConditionSpec((FieldSpec("taste", "vector", 5), FieldSpec("behaviour", "sequence", 4, longest=3)))
SPECS = {"unconditional": ConditionSpec(()), "conditional": MIXED}
VARIANTS = [
    *((family, "modulate", "dense") for family in FAMILIES),
    ("r3gan", "concatenate", "dense"),
    ("r3gan", "modulate", "bottleneck"),
    ("r3gan", "concatenate", "bottleneck"),
    ("vae", "modulate", "bottleneck"),
]


@pytest.fixture(params=VARIANTS, ids=" ".join)
def options(request):
    """Return the options of each family."""
    family, conditioning, block = request.param
    return dataclasses.replace(OPTIONS, family=family, conditioning=conditioning, block=block)


@pytest.fixture(params=SPECS.values(), ids=SPECS)
def spec(request):
    """Return a specification with and one without fields."""
    return request.param


@pytest.fixture
def generator(options, spec):
    """Return a fresh generator in the mode in which it is used."""
    torch.manual_seed(0)
    return build_generator(options, spec).eval()


@pytest.fixture
def condition(spec):
    """Return four rows that fit the specification."""
    if not spec.fields:
        return Condition.none(4)
    return Condition({entry.name: torch.randn(4, *entry.shape) for entry in spec.fields})


@pytest.fixture
def z():
    """Return four latents."""
    return torch.randn(4, OPTIONS.z_dim)


def test_pictures_have_the_models_resolution(generator, z, condition):
    """(B, 3, R, R), finite, and each z gives another."""
    images = generator(z, condition)
    assert images.shape == (4, 3, 16, 16)
    assert torch.isfinite(images).all()
    assert (images[0] - images[1]).abs().max() > 1e-4


@pytest.mark.parametrize("resolution", [8, 32, 128])
def test_every_resolution_can_be_built(options, spec, condition, z, resolution):
    """From 8 to 128 pixels."""
    options = dataclasses.replace(options, resolution=resolution, width=4, discriminator_width=4, max_width=8)
    images = build_generator(options, spec).eval()(z, condition)
    assert images.shape[-1] == resolution
    if options.family != "vae":
        assert build_discriminator(options, spec)(images, condition).shape == (4,)


def test_a_row_depends_on_its_own_inputs_alone(generator, z, condition):
    """In evaluation mode, one by one gives what the batch gives."""
    alone = torch.cat([generator(z[k : k + 1], condition.take([k])) for k in range(4)])
    torch.testing.assert_close(generator(z, condition), alone, atol=1e-5, rtol=1e-5)


def test_the_condition_decides_where_there_is_one(generator, z, spec, condition):
    """On one z, two conditions give two pictures, and the null condition a third; without fields there is one."""
    one_z = z[:1].expand(4, -1)
    images, null = generator(one_z, condition), generator(one_z, spec.null_condition(4))
    differ = bool((images[0] - images[1]).abs().max() > 1e-5) and bool((images[0] - null[0]).abs().max() > 1e-5)
    assert differ is bool(spec.fields)


def test_weights_depend_on_the_seed_alone(options, spec):
    """The same seed builds the same net."""
    nets = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        nets.append(build_generator(options, spec).state_dict())
    assert all(torch.equal(nets[0][name], nets[1][name]) for name in nets[0])
    assert any(not torch.equal(nets[0][name], nets[2][name]) for name in nets[0])


def test_the_average_is_a_frozen_copy(generator):
    """It has the same weights and learns nothing."""
    average = ema_copy(generator)
    assert not any(weight.requires_grad for weight in average.parameters())
    assert average.state_dict().keys() == generator.state_dict().keys()


def test_the_opponent_reads_images_and_conditions(options, spec, condition):
    """An adversarial family has one logit per image whose gradient reaches the image; a VAE has latents instead."""
    images = torch.randn(4, 3, 16, 16, requires_grad=True)
    if options.family == "vae":
        mean, log_variance = ImageEncoder(options, spec)(images, condition)
        assert mean.shape == log_variance.shape == (4, OPTIONS.z_dim)
        assert log_variance.abs().max() <= 6
        return
    net = build_discriminator(options, spec)
    logits = net(images, condition)
    (gradient,) = torch.autograd.grad(logits.square().sum(), images)
    assert logits.shape == (4,)
    assert gradient.abs().sum() > 0
    assert bool((logits - net(images, spec.null_condition(4))).abs().max() > 1e-6) is bool(spec.fields)
