from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from personalgen.conditions import Condition, ConditionSpec
from personalgen.errors import ConditionError, InternalError
from personalgen.generation.options import OperatingPoint
from personalgen.generation.sampler import Drawing, Sampler, to_uint8
from personalgen.models import ModelOptions, build_generator
from personalgen.seeding import draw_z

DIM = 4


class Linear(nn.Module):
    """Images that tell what went in: red is z, green the condition (0.5 where absent), blue the batch."""

    z_dim, resolution = 2, 8
    spec = ConditionSpec.vector("preference", DIM)

    def forward(self, z, condition, strengths=None):
        assert not torch.is_grad_enabled()
        assert not self.training
        present = condition.masks["preference"].float()
        present = present * (strengths or {}).get("preference", 1.0)
        green = condition.values["preference"][:, 0] * present + 0.5 * (1 - present)
        blue = torch.full_like(green, len(z) / 100)
        return torch.stack([z[:, 0] / 10, green, blue], 1)[:, :, None, None].expand(-1, 3, 8, 8)


def level(image):
    return (image[..., 0, 0, :].astype(float) - 127.5) / 127.5


def conditions(n, seed=0):
    return Condition.vector("preference", torch.randn(n, DIM, generator=torch.Generator().manual_seed(seed)))


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    made = build_generator(ModelOptions(resolution=16, z_dim=8, style_dim=16, width=8, max_width=32), Linear.spec)
    for parameter in made.parameters():  # the last convolutions start at zero: give the condition something to move
        parameter.data += 0.05 * torch.randn_like(parameter)
    return made


def test_one_by_one_gives_the_bits_of_the_batch(generator):
    """A row depends on its own condition and seed alone: alone, in any batch, at any place, the same pixels."""
    sampler = Sampler(generator, batch_size=6)
    condition, seeds = conditions(14), list(range(14))
    together = sampler.sample(condition, seeds)
    alone = np.concatenate([sampler.sample(condition.take([k]), [seeds[k]]) for k in range(14)])
    order = torch.randperm(14, generator=torch.Generator().manual_seed(3))
    shuffled = sampler.sample(condition.take(order), order.tolist())
    assert np.array_equal(together, alone)
    assert np.array_equal(together[order.numpy()], shuffled)
    assert len(np.unique(together.reshape(14, -1), axis=0)) == 14


def test_a_redo_after_other_work_gives_the_same_bits(generator):
    """Neither the global random state nor the thread count of the process reaches the images."""
    sampler = Sampler(generator, batch_size=4)
    first = sampler.sample(conditions(4), [1, 2, 3, 4])
    torch.manual_seed(99)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        again = sampler.sample(conditions(4), [1, 2, 3, 4])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(first, again)


def test_every_pass_has_the_fixed_shape():
    """The generator sees batches of batch_size rows only; the padding does not come out."""
    images = Sampler(Linear(), batch_size=5).sample(conditions(12), list(range(12)))
    assert images.shape == (12, 8, 8, 3)
    assert np.allclose(level(images)[:, 2], 5 / 100, atol=1 / 127)


def test_z_comes_from_the_seed_and_is_scaled_by_truncation():
    """Red is z/10: drawn by seeding.draw_z, times truncation_psi."""
    z = draw_z([7, 8], 2)[:, 0].numpy()
    for psi in (1.0, 0.25):
        images = Sampler(Linear(), operating_point=OperatingPoint(truncation_psi=psi)).sample(conditions(2), [7, 8])
        assert np.allclose(level(images)[:, 0], psi * z / 10, atol=1 / 127)


@pytest.mark.parametrize("guidance", [0.0, 0.5, 1.0, 1.5])
def test_guidance_goes_from_the_unconditional_image_through_the_conditional_one(guidance):
    """Green is null + g (c - null) with null = 0.5, on the same z, which cancels in red."""
    value = torch.tensor([[0.1, 0, 0, 0], [0.3, 0, 0, 0]])
    sampler = Sampler(Linear(), operating_point=OperatingPoint(guidance=guidance))
    shown = level(sampler.sample(Condition.vector("preference", value), [7, 8]))
    assert np.allclose(shown[:, 1], 0.5 + guidance * (np.array([0.1, 0.3]) - 0.5), atol=1 / 127)
    assert np.allclose(shown[:, 0], draw_z([7, 8], 2)[:, 0].numpy() / 10, atol=1 / 127)


def test_pixels_are_rounded_and_clipped():
    """-1 is 0, 0 is 128, 1 is 255, beyond is clipped; channels go last."""
    x = torch.tensor([-9.0, -1.0, 0.0, 1.0, 9.0, -1 + 2 / 255]).reshape(2, 3, 1, 1)
    assert to_uint8(x).tolist() == [[[[0, 0, 128]]], [[[255, 255, 1]]]]


def test_chunks_do_not_show():
    """More images than one conversion chunk come out in order."""
    x = torch.linspace(-1, 1, 150)[:, None, None, None].expand(150, 3, 2, 2)
    assert np.array_equal(to_uint8(x)[:, 0, 0, 0], np.floor(x[:, 0, 0, 0].numpy() * 127.5 + 128).clip(0, 255))


def test_no_rows_no_images():
    """An empty request is answered with an empty batch."""
    assert Sampler(Linear()).sample(conditions(3).take(slice(0, 0)), []).shape == (0, 8, 8, 3)


def test_a_diverged_generator_is_refused():
    """NaN never becomes a picture."""
    broken = Linear()
    broken.forward = lambda z, condition, _: Linear.forward(broken, z, condition) * float("nan")
    with pytest.raises(InternalError, match="not finite"):
        Sampler(broken).sample(conditions(1), [1])


def test_a_condition_of_another_model_is_refused():
    """The spec is checked before anything is drawn."""
    with pytest.raises(ConditionError, match="trained on"):
        Sampler(Linear()).sample(Condition.vector("preference", torch.zeros(1, DIM + 1)), [1])


def test_seeds_must_match_the_conditions():
    """One seed a row."""
    with pytest.raises(InternalError, match="2 conditions came with 1 seeds"):
        Sampler(Linear()).sample(conditions(2), [1])


@pytest.mark.parametrize("strength", [0.0, 0.5, 2.0])
def test_a_strength_reaches_the_field_that_it_names(strength):
    """Green is null + s (c - null); z and what is not named stay as they are."""
    condition = Condition.vector("preference", torch.tensor([[0.1, 0, 0, 0], [0.3, 0, 0, 0]]))
    sampler = Sampler(Linear(), operating_point=OperatingPoint(strengths={"preference": strength}))
    shown = level(sampler.sample(condition, [7, 8]))
    assert np.allclose(shown[:, 1], 0.5 + strength * (np.array([0.1, 0.3]) - 0.5), atol=1 / 127)
    assert np.allclose(shown[:, 0], draw_z([7, 8], 2)[:, 0].numpy() / 10, atol=1 / 127)


def test_strengths_and_guidance_work_together(generator):
    """A strength of 1 changes no bit; at strength 0 every guidance gives the unconditional picture."""
    condition, seeds = conditions(3), [1, 2, 3]

    def drawn(**point):
        return Sampler(generator, batch_size=4, operating_point=OperatingPoint(**point)).sample(condition, seeds)

    assert np.array_equal(drawn(guidance=1.5, strengths={"preference": 1.0}), drawn(guidance=1.5))
    assert np.array_equal(drawn(guidance=1.5, strengths={"preference": 0.0}), drawn(guidance=0.0))
    assert not np.array_equal(drawn(strengths={"preference": 2.0}), drawn())


def test_a_strength_of_a_field_that_there_is_not_is_refused():
    """The message lists the fields, and nothing is drawn."""
    with pytest.raises(ConditionError, match=r"\['tast'\].*fields are \['preference'\].*Nothing was generated"):
        Sampler(Linear(), operating_point=OperatingPoint(strengths={"tast": 2.0}))


def test_a_batch_is_drawn_ahead(generator):
    """What was started is the same images whoever waits for it, and however late: also from another thread."""
    sampler, condition, seeds = Sampler(generator, batch_size=4), conditions(7), list(range(7))
    started = [sampler.start(condition.take(rows), seeds[rows]) for rows in (slice(0, 4), slice(4, 7))]
    with ThreadPoolExecutor(2) as threads:
        drawn = list(threads.map(Drawing.images, started))
    assert np.array_equal(np.concatenate(drawn), sampler.sample(condition, seeds))


@pytest.mark.parametrize("n", [0, 5])
def test_a_batch_that_does_not_fit_is_refused(n):
    """Every pass has one shape: more rows would give other bits."""
    with pytest.raises(InternalError, match=f"1 to 4 images, found {n}"):
        Sampler(Linear(), batch_size=4).start(conditions(5).take(slice(0, n)), list(range(n)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: copies there are not waited for")
def test_a_gpu_hands_over_the_same_images_as_it_draws(generator):
    """Batches that queue behind each other come back whole, from pinned memory."""
    sampler, condition = Sampler(generator, device="cuda", batch_size=4), conditions(4)
    started = [sampler.start(condition, range(k, k + 4)) for k in range(8)]
    assert all(chunk.is_pinned() for drawing in started for chunk in drawing.pixels)
    for k, drawing in enumerate(started):
        assert np.array_equal(drawing.images(), sampler.sample(condition, range(k, k + 4)))
    generator.to("cpu")
