import dataclasses

import pytest

from personalgen.training.schedules import augment_probability, cosine, gammas, ramp, schedule


@pytest.fixture
def at(model, options):
    """Return a function that gives the schedule after so many images of a data set of 1,000, at other options."""

    def at(seen_img, *, resolution=8, **changes):
        changed = dataclasses.replace(options, **{"max_kimg": 1.0} | changes)
        return schedule(changed, dataclasses.replace(model, resolution=resolution), seen_img=seen_img, n_images=1000)

    return at


def test_rate_and_gamma_go_from_start_to_end(at):
    """Both start and end where the options say, are half-way in the middle, and stay at the end."""
    given = {"learning_rate": 4e-4, "final_learning_rate": 2e-4, "r1_gamma": 8.0, "final_r1_gamma": 2.0}
    found = [at(seen, **given) for seen in (0, 500, 1000, 2000)]
    assert [now.learning_rate for now in found] == pytest.approx([4e-4, 3e-4, 2e-4, 2e-4])
    assert [now.r1_gamma for now in found] == pytest.approx([8, 5, 2, 2])


def test_the_learning_rate_warms_up(at):
    """It rises from one batch's share to its value over so many images; gamma does not."""
    constant = {"learning_rate": 1e-3, "final_learning_rate": 1e-3, "r1_gamma": 1.0, "final_r1_gamma": 1.0}
    found = [at(seen, warmup_kimg=0.08, **constant) for seen in (0, 32, 72, 500)]
    assert [now.learning_rate for now in found] == pytest.approx([1e-4, 5e-4, 1e-3, 1e-3])
    assert {now.r1_gamma for now in found} == {1.0}


def test_gamma_grows_with_the_number_of_pixels(options):
    """By default 2 at 32 pixels, four times as much per doubling, and 0.15 of that at the end."""
    open_ = dataclasses.replace(options, r1_gamma=None, final_r1_gamma=None)
    assert [gammas(open_, px) for px in (16, 32, 64)] == [pytest.approx(x) for x in [(0.5, 0.075), (2, 0.3), (8, 1.2)]]


def test_a_given_gamma_is_taken(options):
    """Whatever the resolution; the end follows the start where it is not given, and zero is given."""
    assert gammas(dataclasses.replace(options, r1_gamma=10.0), 128) == pytest.approx((10, 1.5))
    assert gammas(dataclasses.replace(options, r1_gamma=10.0, final_r1_gamma=0.0), 128) == (10, 0)
    assert gammas(dataclasses.replace(options, r1_gamma=0.0), 128) == (0, 0)


def test_smaller_data_sets_are_augmented_more():
    """The values of the docstring, between 0.1 and 0.8, never rising with the number of pictures."""
    found = [augment_probability(n) for n in (50_000, 10_000, 1000, 360)]
    assert found == pytest.approx([0.3, 0.38, 0.54, 0.63], abs=0.005)
    assert (augment_probability(1), augment_probability(10**9)) == (0.8, 0.1)
    many = [augment_probability(n) for n in range(0, 200_000, 500)]
    assert many == sorted(many, reverse=True)


def test_augmentation_is_given_or_decided_by_the_data_and_rises(at):
    """From zero to its value over the ramp; without a ramp it is there at once."""
    assert at(0, augment=None).augment == augment_probability(1000)
    assert at(0, augment=0.2).augment == 0.2
    assert [at(seen, augment=0.4, augment_ramp_kimg=0.1).augment for seen in (0, 50, 100, 500)] == [0, 0.2, 0.4, 0.4]


def test_the_condition_comes_in_slowly_where_asked(at):
    """With a ramp nobody has a condition at first, then all but the dropout; without, the dropout is constant."""
    found = [at(seen, condition_dropout=0.2, condition_ramp_kimg=0.1).condition_dropout for seen in (0, 50, 100, 500)]
    assert found == pytest.approx([1, 0.6, 0.2, 0.2])
    assert [at(seen, condition_dropout=0.2).condition_dropout for seen in (0, 500)] == pytest.approx([0.2, 0.2])


def test_the_divergence_of_a_vae_warms_up(at):
    """From nothing to its weight."""
    found = [at(seen, kl_weight=0.5, kl_warmup_kimg=0.2).kl_weight for seen in (0, 100, 200, 900)]
    assert found == pytest.approx([0, 0.25, 0.5, 0.5])


def test_the_cosine_is_flat_at_both_ends():
    """Half-way is the middle; a hundredth of the way is nearly the start."""
    assert [cosine(3, 1, done) for done in (0, 0.5, 1)] == pytest.approx([3, 2, 1])
    assert cosine(3, 1, 0.01) > 2.999
    assert cosine(0.1, 0.9, 0.99) > 0.899


def test_a_ramp_is_linear_and_none_is_complete():
    """A half after half of the images, and 1 from the start where there is none."""
    assert [ramp(seen, 2.0) for seen in (0, 1000, 2000, 9000)] == [0, 0.5, 1, 1]
    assert ramp(0, 0.0) == 1
