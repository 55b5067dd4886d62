import pytest
import torch

from personalgen.training.augment import _colour, _cutout, _Draw, _translate, augment, augment_alike, flip


@pytest.fixture
def images():
    """Return 64 random pictures of 16 px."""
    return torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def apply(transform, images, probability):
    """Return the images after one transform."""
    return transform(images, probability, _Draw(len(images), 1, images.device))


def changed(one, other):
    """Return which pictures differ by more than rounding."""
    return ((one - other).abs() > 1e-5).flatten(1).any(1)


def test_probability_zero_changes_nothing(images):
    """Not even the random state."""
    before = torch.get_rng_state()
    assert augment(images, 0.0) is images
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("transform", [_colour, _cutout, _translate])
def test_each_transform_is_applied_with_its_probability(transform):
    """Of 2,000 pictures the stated share changes within five standard errors (a shift of nothing counts as none)."""
    images = torch.rand(2000, 3, 16, 16)
    share = changed(apply(transform, images, 0.5), images).float().mean().item()
    expected = 0.5 * (24 / 25 if transform is _translate else 1)
    assert share == pytest.approx(expected, abs=5 * (0.25 / 2000) ** 0.5)
    assert not changed(apply(transform, images, 0.0), images).any()


def test_pictures_are_augmented_apart(images):
    """Equal pictures come out different, and a picture's neighbours do not matter."""
    equal = images[:1].expand(64, -1, -1, -1)
    assert len(augment(equal, 1.0).flatten(1).unique(dim=0)) == 64
    torch.manual_seed(3)
    one = augment(images, 0.7)
    other_neighbours = images.clone()
    other_neighbours[1:] = 0
    torch.manual_seed(3)
    torch.testing.assert_close(augment(other_neighbours, 0.7)[0], one[0])


def test_rows_of_batches_augmented_alike_get_the_same_transforms(images):
    """Equal batches come out equal, and the first as it would alone."""
    torch.manual_seed(3)
    one, other = augment_alike([images, images.clone()], 0.7)
    torch.manual_seed(3)
    assert torch.equal(one, other)
    assert torch.equal(one, augment(images, 0.7))
    assert changed(one, images).any()


def test_translation_moves_whole_pixels_and_repeats_the_border():
    """Each picture is a shifted one of at most an eighth of the edge, all channels alike."""
    coordinates = torch.stack(torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij"))
    images = torch.cat([coordinates, coordinates[:1]])[None].expand(200, -1, -1, -1)
    moved = apply(_translate, images, 1.0)
    shifts = moved[:, :, 8, 8] - 8
    assert shifts.abs().max() == 2
    assert set(shifts[:, 0].tolist()) == {-2, -1, 0, 1, 2}
    expected = (torch.arange(16.0)[None] + shifts[:, :1]).clamp(0, 15)
    assert torch.equal(moved[:, 0], expected[:, :, None].expand(-1, -1, 16))
    assert torch.equal(moved[:, 2], moved[:, 0])


def test_cutout_greys_one_square():
    """At most two fifths of the edge squared is zero, in all channels, and the rest stays."""
    cut = apply(_cutout, torch.ones(200, 3, 20, 20), 1.0)
    assert set(cut.unique().tolist()) == {0, 1}
    holes = (cut == 0).all(1).sum((1, 2))
    assert holes.max() == 64
    assert holes.min() > 0
    assert torch.equal(cut[:, 0], cut[:, 1])


def test_colour_keeps_grey_pictures_grey(images):
    """Saturation scales around grey: a picture without colour gets none, and the places of things stay."""
    grey = images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    out = apply(_colour, grey, 1.0)
    torch.testing.assert_close(out[:, 0], out[:, 2])
    for one, other in zip(out[:4, 0], grey[:4, 0], strict=True):
        stacked = torch.stack([one.flatten(), other.flatten()])
        assert torch.corrcoef(stacked)[0, 1] > 0.999


def test_brightness_moves_by_at_most_a_quarter():
    """The mean of a picture moves within a quarter; saturation and contrast do not move it."""
    images = torch.rand(500, 3, 8, 8)
    moved = (apply(_colour, images, 1.0) - images).mean((1, 2, 3))
    assert moved.abs().max() <= 0.2501
    assert moved.abs().max() > 0.2


def test_augmentation_passes_gradients_back(images):
    """Every picture gets a gradient, and augmentation is linear in the picture: the second derivative is zero."""
    x = images[:8].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(augment(x, 1.0).square().sum(), x, create_graph=True)
    assert gradient.flatten(1).any(1).all()
    (second,) = torch.autograd.grad(gradient.sum(), x)
    assert torch.isfinite(second).all()


def test_flip_mirrors_half_of_the_pictures(images):
    """A picture is itself or its mirror image; of 2,000 half are mirrored within five standard errors."""
    flipped = flip(images)
    mirrored = changed(flipped, images)
    assert torch.equal(flipped[mirrored], images.flip(3)[mirrored])
    many = torch.rand(2000, 3, 4, 4)
    share = changed(flip(many), many).float().mean().item()
    assert share == pytest.approx(0.5, abs=5 * (0.25 / 2000) ** 0.5)
