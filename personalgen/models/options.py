"""Size and shape of the nets."""

import math
from dataclasses import dataclass, replace

from personalgen.bounds import check_options

RESOLUTIONS = (8, 16, 32, 64, 128)
FAMILIES = ("r3gan", "dcgan", "dense_gan", "vae")
CONDITIONINGS = ("modulate", "concatenate")
BLOCKS = ("dense", "bottleneck")
BASE_PX = 4
"""Edge at which convolutional generators start and discriminators end."""


@dataclass(frozen=True)
class ModelOptions:
    """Size of generator and discriminator; written into the model card."""

    resolution: int = 32
    """Image edge in pixels: a power of two from 8 to 128."""
    z_dim: int = 64
    """Width of the latent z."""
    style_dim: int = 128
    """Width of the style vector and of the encoded condition."""
    width: int = 48
    """Generator channels at full resolution; doubled per halving of the resolution up to `max_width`."""
    max_width: int = 192
    """Most channels of any stage."""
    discriminator_width: int = 24
    """Discriminator channels at full resolution; doubled per halving up to `max_width`."""
    blocks: int = 1
    """Residual blocks per resolution."""
    group_size: int = 4
    """Consecutive images of a training batch that are one person's, whose spread the discriminator sees."""
    family: str = "r3gan"
    """"r3gan" (residual nets), "dcgan", "dense_gan" (fully connected) or "vae" (a CVAE where it has fields)."""
    conditioning: str = "modulate"
    """How residual nets hear the condition: "modulate" scales and shifts every block and projects in the discriminator;
    "concatenate" lays it beside z and beside the features, the baseline."""
    block: str = "dense"
    """What residual nets are made of: "dense" 3x3 convolutions, two a block, or the published R3GAN's "bottleneck", 1x1
    and grouped 3x3 (for large GPUs: with width = max_width, blocks = 2, group_size = 1 and "concatenate", the published
    nets)."""
    expansion: int = 2
    """How many times wider a bottleneck is inside."""

    def __post_init__(self) -> None:
        """Refuse sizes that no net can have, all in one message."""
        sizes = ("z_dim", "style_dim", "width", "max_width", "discriminator_width", "blocks", "group_size", "expansion")
        choices = {"resolution": RESOLUTIONS, "family": FAMILIES, "conditioning": CONDITIONINGS, "block": BLOCKS}
        check_options("model", self, least=dict.fromkeys(sizes, 1), choices=choices)

    def grows_into(self, larger: "ModelOptions") -> bool:
        """Return whether these residual nets are the inner stages of larger ones, for larger pictures.

        All but resolution and outermost widths must be the same: width 96 at 16 pixels grows into width 48 at 32.
        """
        outer = {name: getattr(larger, name) for name in ("resolution", "width", "discriminator_width")}
        drawn, judged = self.generator_widths, self.discriminator_widths
        return (
            self.family == "r3gan"
            and self.resolution < larger.resolution
            and replace(self, **outer) == larger
            and larger.generator_widths[: len(drawn)] == drawn
            and larger.discriminator_widths[-len(judged) :] == judged
        )

    @property
    def n_stages(self) -> int:
        """Number of doublings above 4x4."""
        return int(math.log2(self.resolution)) - 2

    @property
    def n_blocks(self) -> int:
        """Number of residual blocks of a net with `blocks` at 4x4 and after every doubling."""
        return self.blocks * (self.n_stages + 1)

    @property
    def generator_widths(self) -> tuple[int, ...]:
        """Channels at 4x4, 8x8, … up to the full resolution."""
        return tuple(min(self.max_width, self.width << k) for k in range(self.n_stages, -1, -1))

    @property
    def discriminator_widths(self) -> tuple[int, ...]:
        """Channels at the full resolution, half of it, … down to 4x4."""
        return tuple(min(self.max_width, self.discriminator_width << k) for k in range(self.n_stages + 1))
