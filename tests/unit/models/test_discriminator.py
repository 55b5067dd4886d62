import pytest
import torch

from personalgen.models import build_discriminator
from personalgen.models.discriminator import GroupSpread, Projection


@pytest.fixture
def discriminator(options, spec):
    """Return a fresh discriminator."""
    return build_discriminator(options, spec)


@pytest.fixture
def images():
    """Return eight random pictures."""
    return torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(3))


def spread_of(x, size):
    """Return the appended map's values per row, after checking that the map is flat and the rest untouched."""
    out = GroupSpread(size)(x)
    assert out.shape == (len(x), x.shape[1] + 1, *x.shape[2:])
    assert torch.equal(out[:, :-1], x)
    assert torch.equal(out[:, -1], out[:, -1, :1, :1].expand_as(out[:, -1]))
    return out[:, -1, 0, 0]


def floor():
    """Return the spread of equal pictures, sqrt(e) where e keeps the square root smooth at zero."""
    return float(spread_of(torch.ones(2, 1, 1, 1), 2)[0])


def test_spread_is_the_mean_standard_deviation_within_a_group():
    """Two groups with a known answer: values 0 and 20 deviate by 10, values 1, 1 by nothing."""
    x = torch.tensor([0.0, 20.0, 1.0, 1.0])[:, None, None, None].expand(4, 3, 2, 2)
    assert spread_of(x, 2).tolist() == pytest.approx([10, 10, floor(), floor()], rel=0.01)
    assert floor() < 0.5


def test_spread_is_averaged_over_channels_and_places():
    """One of four pixels of one of two channels deviates by 1, the other seven by nothing."""
    x = torch.zeros(2, 2, 2, 2)
    x[1, 0, 1, 1] = 2.0
    expected = ((1 + floor() ** 2) ** 0.5 + 7 * floor()) / 8
    assert spread_of(x, 2).tolist() == pytest.approx([expected, expected])


def test_equal_pictures_have_the_least_spread(images):
    """A generator that draws one picture per person is found out."""
    equal = images[:1].expand(4, -1, -1, -1)
    spread = spread_of(torch.cat([images[:4], equal]), 4)
    assert spread[4:].tolist() == pytest.approx([floor()] * 4)
    assert spread[0] > 2 * floor()


def test_each_group_is_its_own(images):
    """Changing the pictures of one group changes no other group's spread."""
    before = spread_of(images, 2)
    changed = images.clone()
    changed[2:4] *= 3
    after = spread_of(changed, 2)
    assert torch.equal(before[[0, 1, 4, 5, 6, 7]], after[[0, 1, 4, 5, 6, 7]])
    assert after[2] > 2 * before[2]
    assert len(set(before.tolist())) == 4


def test_a_batch_that_groups_do_not_divide_is_one_group(images):
    """Seven rows in groups of two are one group of seven."""
    spread = spread_of(images[:7], 2)
    assert spread.unique().numel() == 1
    by_hand = (images[:7].double().numpy().var(0) + floor() ** 2) ** 0.5
    assert float(spread[0]) == pytest.approx(by_hand.mean(), rel=1e-4)


def test_spread_keeps_the_compute_type():
    """In bfloat16 the map is bfloat16, computed in float32."""
    assert GroupSpread(2)(torch.randn(2, 3, 2, 2, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_projection_is_the_formula():
    """w.f + b + <f, Vc> / sqrt(d), computed by hand."""
    head, f, c = Projection(4, 3), torch.randn(2, 4), torch.randn(2, 3)
    by_hand = f @ head.plain.weight[0] + head.plain.bias + (f * (c @ head.embed.weight.T + head.embed.bias)).sum(1) / 2
    torch.testing.assert_close(head(f, c), by_hand)


def test_a_logit_per_picture(discriminator, images, condition):
    """(B,) logits, which are the score of the features."""
    logits = discriminator(images, condition)
    assert logits.shape == (8,)
    assert torch.equal(logits, discriminator.score(discriminator.features(images), condition))


def test_the_condition_changes_the_verdict(discriminator, images, condition):
    """The same picture for another person has another logit."""
    other = condition.take([7, 6, 5, 4, 3, 2, 1, 0])
    assert ((discriminator(images, condition) - discriminator(images, other)).abs() > 1e-4).all()


def test_stages_are_named_by_their_resolution(discriminator):
    """Names let a net for larger pictures take over the stages of a smaller one."""
    assert list(discriminator.stages) == ["px8"]


def test_a_group_is_judged_together_and_apart_from_others(discriminator, images, condition):
    """A picture moves the logits of its own group and of nobody else."""
    changed = images.clone()
    changed[0] += 1
    moved = (discriminator(changed, condition) - discriminator(images, condition)).abs() > 1e-6
    assert moved.tolist() == [True, True] + [False] * 6


def test_the_order_within_a_group_does_not_matter(discriminator, images, condition):
    """Swapping two of a person's pictures swaps their logits."""
    swap = [1, 0, 2, 3, 4, 5, 6, 7]
    torch.testing.assert_close(
        discriminator(images[swap], condition.take(swap)), discriminator(images, condition)[swap], atol=1e-5, rtol=1e-5
    )
