import dataclasses
import math

import numpy as np
import pytest
import torch

from personalgen.training import TrainingPairs
from personalgen.training.guards import GRID, YOUNG_IMG, FixedGrid, fault_of

WELL = {"loss_d": 0.7, "logit_gap": 1.5, "diversity": 0.6}


def fault(seen_img=100_000, least_diversity=0.05, **changes):
    """Return what is wrong with metrics that are well but for the changes."""
    return fault_of(WELL | changes, seen_img=seen_img, least_diversity=least_diversity)


def test_a_healthy_training_has_no_fault():
    """Finite losses, a gap that can be learned from, pictures that differ."""
    assert fault() is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_named(value):
    """Each such metric by its name, whatever it measures and however young the training is."""
    assert fault(loss_d=value, diversity=value, seen_img=0) == "loss_d, diversity is not finite"


def test_a_saturated_discriminator_is_found():
    """Logits more than a hundred apart teach nothing; below that they do, and a family without logits has none."""
    assert fault(logit_gap=250.0) == "the discriminator is saturated: real and made logits are 250 apart"
    assert fault(logit_gap=99.0) is None
    assert fault_of({"diversity": 0.6}, seen_img=100_000, least_diversity=0.05) is None


def test_a_collapse_is_found_once_the_training_is_not_young():
    """Under the least diversity the pictures are alike; of the first images that is expected."""
    collapsed = "the pictures have collapsed: they differ 0.010 times as much as real ones"
    assert fault(diversity=0.01, seen_img=YOUNG_IMG) == collapsed
    assert fault(diversity=0.01, seen_img=YOUNG_IMG - 1) is None
    assert fault(diversity=0.01, least_diversity=0.0) is None


# --- the fixed grid ---------------------------------------------------------------------------------------------------


@pytest.fixture
def grid(pairs):
    """Return the grid of the noise data set."""
    return FixedGrid(pairs, 6)


def test_the_grid_is_the_same_at_every_look(pairs, grid):
    """It depends on the data alone and neither reads nor moves torch's global state."""
    torch.manual_seed(5)
    before = torch.get_rng_state()
    again = FixedGrid(pairs, 6)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(grid.z, again.z)
    assert torch.equal(grid.condition.values["taste"], again.condition.values["taste"])
    assert grid.z.shape == (GRID, 6)


def test_real_pictures_are_as_diverse_as_real_pictures(pairs, grid):
    """A generator that draws the grid's own real pictures has a diversity of 1; at half the contrast, a half."""
    real = pairs.draw(GRID, 1, rng=torch.Generator().manual_seed(0)).images
    assert grid.diversity(lambda *_: real) == pytest.approx(1)
    assert grid.diversity(lambda *_: 0.5 * real) == pytest.approx(0.5)


def test_one_picture_for_everybody_has_no_diversity(make_trainer, grid):
    """A generator whose last layer is zero draws one grey picture; a fresh one does not."""
    generator = make_trainer().state.generator
    assert grid.diversity(generator) > 0.05
    torch.nn.init.zeros_(generator.to_rgb.weight)
    assert grid.diversity(generator) == 0


def test_fine_noise_is_not_diversity():
    """What differs between pictures only below a pooled pixel counts little: 16 px noise, at 8 x 8 half of it."""
    pictures = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), dtype=np.uint8)
    grid = FixedGrid(TrainingPairs.of(pictures, np.arange(64), np.arange(64)), 6)
    assert grid.real_spread == pytest.approx(0.5 * (2 / math.sqrt(12)), rel=0.15)


def test_values_beyond_white_are_white(grid):
    """Pictures are clipped before they are compared, as they are when they are drawn."""
    far = torch.randn(GRID, 3, 8, 8).sign()
    assert grid.diversity(lambda *_: 100 * far) == pytest.approx(grid.diversity(lambda *_: far))


def test_a_data_set_of_one_picture_is_no_division_by_zero(pairs):
    """Nothing real differs: whatever is made differs enough."""
    one = dataclasses.replace(pairs, image_of_pair=torch.zeros_like(pairs.image_of_pair))
    grid = FixedGrid(one, 6)
    assert grid.real_spread == 0
    assert grid.diversity(lambda z, _: z[:, :3, None, None].expand(-1, 3, 8, 8)) > 1
