import numpy as np
import pytest
import torch

from personalgen.conditions import ConditionSpec
from personalgen.errors import ConfigError
from personalgen.generation.maximise import MaximiseOptions, maximise
from personalgen.models import ModelOptions, build_generator

SEEDS = [11, 12, 13, 14, 15]


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    spec = ConditionSpec.vector("preference", 4)
    made = build_generator(ModelOptions(resolution=16, z_dim=8, style_dim=16, width=8, max_width=32), spec)
    for parameter in made.parameters():  # the last convolutions start at zero: give z something to move
        parameter.data += 0.05 * torch.randn_like(parameter)
    return made


def brightness(images, rows):
    """Some rows want bright pictures, the others dark ones."""
    return images.mean((1, 2, 3)) * torch.where(rows % 2 == 0, 1.0, -1.0)


def test_each_picture_goes_where_its_own_score_is_higher(generator):
    """Ten steps make the pictures brighter for who wants that, and darker for the others; one moves them less."""
    signs = np.where(np.arange(len(SEEDS)) % 2 == 0, 1, -1)
    still, one, ten = (
        signs * maximise(generator, brightness, SEEDS, options).mean(axis=(1, 2, 3))
        for options in (MaximiseOptions(learning_rate=1e-12), MaximiseOptions(steps=1), MaximiseOptions())
    )
    assert (ten > still).all()
    assert (ten - still).mean() > (one - still).mean() > 0


def test_a_picture_does_not_depend_on_its_batch(generator):
    """Two at a time or all at once: the same pictures within one level, in the same order."""
    together = maximise(generator, brightness, SEEDS)
    in_pairs = maximise(generator, brightness, SEEDS, MaximiseOptions(batch_size=2))
    assert np.abs(together.astype(int) - in_pairs.astype(int)).max() <= 1


def test_the_latent_keeps_its_length(generator, monkeypatch):
    """However strong the pull, z stays as long as it was drawn: the generator has seen no other."""
    lengths = []
    own = type(generator).forward

    def watched(self, z, *rest):
        lengths.append(z.norm(dim=1).detach())
        return own(self, z, *rest)

    monkeypatch.setattr(type(generator), "forward", watched)
    maximise(generator, brightness, SEEDS, MaximiseOptions(learning_rate=5.0))
    assert len(lengths) == 11
    assert torch.allclose(lengths[0], lengths[-1], rtol=1e-5)


def test_a_search_without_steps_is_refused():
    """The fault is named with what was found."""
    with pytest.raises(ConfigError, match="steps must be at least 1, found 0"):
        MaximiseOptions(steps=0)
