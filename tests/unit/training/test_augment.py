import pytest
import torch

from personalgen.training.augment import N_NUMBERS, _colour, _cutout, _translate, augment, flip

COLUMNS = {_colour: slice(3, 6), _translate: slice(6, 8), _cutout: slice(8, 10)}


@pytest.fixture
def images():
    """Return 64 random pictures of 16 px."""
    return torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def numbers(count, seed=2):
    """Return the random numbers for so many pictures."""
    return torch.rand(count, N_NUMBERS, generator=torch.Generator().manual_seed(seed))


def apply(transform, images):
    """Return the images after one transform of each."""
    return transform(images, torch.ones(len(images)), numbers(len(images))[:, COLUMNS[transform]])


def changed(one, other):
    """Return which pictures differ by more than rounding."""
    return ((one - other).abs() > 1e-5).flatten(1).any(1)


def test_probability_zero_changes_nothing(images):
    """Not by more than rounding."""
    assert not changed(augment(images, numbers(64), 0.0), images).any()


def test_nothing_is_drawn_here(images):
    """The result is a function of the images and the numbers; the random state of torch is untouched."""
    before = torch.get_rng_state()
    found = [augment(images, numbers(64), p) for p in (0.7, torch.tensor(0.7))]
    assert torch.equal(*found)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("column", "transform"), list(enumerate(COLUMNS)))
def test_each_transform_is_applied_with_its_probability(column, transform):
    """Of 2,000 pictures the stated share changes within five standard errors (a shift of nothing counts as none).

    Each transform has a switch of its own: the other two are off. A false alarm comes once in a million.
    """
    images = torch.rand(2000, 3, 16, 16)
    given = numbers(2000)
    given[:, [k for k in range(3) if k != column]] = 1.0
    share = changed(augment(images, given, 0.5), images).float().mean().item()
    expected = 0.5 * (24 / 25 if transform is _translate else 1)
    assert share == pytest.approx(expected, abs=5 * (0.25 / 2000) ** 0.5)
    on = given.clone()
    on[:, column] = 0.0
    alone = transform(images, torch.ones(2000), on[:, COLUMNS[transform]])
    assert not changed(augment(images, on, 0.5), alone).any()


def test_pictures_are_augmented_apart(images):
    """Equal pictures come out different, and a picture's neighbours do not matter."""
    equal = images[:1].expand(64, -1, -1, -1)
    assert len(augment(equal, numbers(64), 1.0).flatten(1).unique(dim=0)) == 64
    other_neighbours = images.clone()
    other_neighbours[1:] = 0
    one, other = (augment(x, numbers(64), 0.7)[0] for x in (images, other_neighbours))
    torch.testing.assert_close(other, one)


def test_equal_numbers_give_equal_transforms(images):
    """Two batches with the same numbers come out alike, and with others they do not."""
    one, other, third = (augment(images, numbers(64, seed), 0.7) for seed in (3, 3, 4))
    assert torch.equal(one, other)
    assert changed(one, images).any()
    assert changed(one, third).any()


def test_translation_moves_whole_pixels_and_repeats_the_border():
    """Each picture is a shifted one of at most an eighth of the edge, all channels alike."""
    coordinates = torch.stack(torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij"))
    images = torch.cat([coordinates, coordinates[:1]])[None].expand(200, -1, -1, -1)
    moved = apply(_translate, images)
    shifts = moved[:, :, 8, 8] - 8
    assert shifts.abs().max() == 2
    for axis in (0, 1):
        assert set(shifts[:, axis].tolist()) == {-2, -1, 0, 1, 2}
        expected = (torch.arange(16.0)[None] + shifts[:, axis, None]).clamp(0, 15)
        expected = expected[:, :, None] if axis == 0 else expected[:, None]
        assert torch.equal(moved[:, axis], expected.expand(-1, 16, 16))
    assert torch.equal(moved[:, 2], moved[:, 0])


def test_cutout_greys_one_square():
    """At most two fifths of the edge squared is zero, in all channels, and the rest stays."""
    cut = apply(_cutout, torch.ones(200, 3, 20, 20))
    assert set(cut.unique().tolist()) == {0, 1}
    holes = (cut == 0).all(1).sum((1, 2))
    assert holes.max() == 64
    assert holes.min() > 0
    assert torch.equal(cut[:, 0], cut[:, 1])


def test_colour_keeps_grey_pictures_grey(images):
    """Saturation scales around grey: a picture without colour gets none, and the places of things stay."""
    grey = images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    out = apply(_colour, grey)
    torch.testing.assert_close(out[:, 0], out[:, 2])
    for one, other in zip(out[:4, 0], grey[:4, 0], strict=True):
        stacked = torch.stack([one.flatten(), other.flatten()])
        assert torch.corrcoef(stacked)[0, 1] > 0.999


def test_brightness_moves_by_at_most_a_quarter():
    """The mean of a picture moves within a quarter; saturation and contrast do not move it."""
    images = torch.rand(500, 3, 8, 8)
    moved = (apply(_colour, images) - images).mean((1, 2, 3))
    assert moved.abs().max() <= 0.2501
    assert moved.abs().max() > 0.2


def test_the_ends_of_the_numbers_are_no_place_outside(images):
    """0 and the largest number below 1 give pictures of the same size without anything that is not finite."""
    for value in (0.0, 1 - 2**-24):
        found = augment(images, torch.full((64, N_NUMBERS), value), 1.0)
        assert found.shape == images.shape
        assert torch.isfinite(found).all()


def test_augmentation_passes_gradients_back(images):
    """Every picture gets a gradient, and that gradient has one: R1 and R2 pass through."""
    x = images[:8].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(augment(x, numbers(8), 1.0).square().sum(), x, create_graph=True)
    assert gradient.flatten(1).any(1).all()
    (second,) = torch.autograd.grad(gradient.sum(), x)
    assert torch.isfinite(second).all()
    assert second.any()


def test_flip_mirrors_the_chosen_pictures(images):
    """Those that are chosen are mirror images, the others are themselves."""
    chosen = torch.arange(64) % 3 == 0
    flipped = flip(images, chosen)
    assert torch.equal(flipped[chosen], images.flip(3)[chosen])
    assert torch.equal(flipped[~chosen], images[~chosen])
