import dataclasses

import pytest

from personalgen.errors import ConfigError
from personalgen.models import ModelOptions


@pytest.mark.parametrize("resolution", [0, 4, 33, 48, 256])
def test_a_resolution_that_nets_cannot_have_is_refused(resolution):
    """Only powers of two from 8 to 128 can be doubled up from 4."""
    with pytest.raises(ConfigError, match=f"resolution must be one of 8, 16, 32, 64, 128, found {resolution}"):
        ModelOptions(resolution=resolution)


@pytest.mark.parametrize("name", ["z_dim", "style_dim", "width", "max_width", "discriminator_width", "blocks"])
def test_a_net_without_channels_is_refused(name):
    """No size is zero."""
    with pytest.raises(ConfigError, match=f"model: {name} must be at least 1, found 0"):
        ModelOptions(**{name: 0})


@pytest.mark.parametrize("resolution", [8, 16, 32, 64, 128])
def test_widths_double_towards_small_pictures_up_to_the_limit(resolution):
    """One width per resolution from 4 up, the last being the full resolution's."""
    options = ModelOptions(resolution=resolution, width=10, max_width=35, discriminator_width=5)
    assert 4 << options.n_stages == resolution
    assert options.generator_widths[::-1] == (10, 20, 35, 35, 35, 35)[: options.n_stages + 1]
    assert options.discriminator_widths == (5, 10, 20, 35, 35, 35)[: options.n_stages + 1]


def test_an_unknown_block_is_refused():
    """The message names the blocks there are."""
    with pytest.raises(ConfigError, match="block must be one of dense, bottleneck, found 'wide'"):
        ModelOptions(block="wide")


def test_blocks_are_counted_over_all_resolutions():
    """Two at each of 4, 8, 16 and 32 pixels are eight."""
    assert ModelOptions(resolution=32, blocks=2).n_blocks == 8


SMALL = ModelOptions(resolution=16, width=96, discriminator_width=48)
NO_GROWTH = {
    "the same": (SMALL, SMALL),
    "towards smaller pictures": (ModelOptions(), SMALL),
    "other widths inside": (dataclasses.replace(SMALL, width=48), ModelOptions()),
    "other widths of the discriminator": (dataclasses.replace(SMALL, discriminator_width=24), ModelOptions()),
    "another latent": (dataclasses.replace(SMALL, z_dim=32), ModelOptions()),
    "another family": tuple(dataclasses.replace(options, family="dcgan") for options in (SMALL, ModelOptions())),
}


@pytest.mark.parametrize(("resolution", "factor"), [(16, 2), (8, 4)])
def test_nets_with_the_same_inner_stages_grow(resolution, factor):
    """Widths double towards small pictures, so that they stand at the edge of smaller nets; limits count in both."""
    small = ModelOptions(resolution=resolution, width=48 * factor, discriminator_width=24 * factor)
    assert small.grows_into(ModelOptions())


@pytest.mark.parametrize("name", NO_GROWTH)
def test_nets_that_are_no_part_of_others_do_not_grow(name):
    """Each pair differs in more than its outer stages."""
    small, large = NO_GROWTH[name]
    assert not small.grows_into(large)
