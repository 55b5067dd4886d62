"""Which nets a family is made of: the one place that knows them all."""

from collections.abc import Callable

from personalgen.conditions import ConditionSpec
from personalgen.models.bottleneck import BottleneckDiscriminator, BottleneckGenerator
from personalgen.models.dcgan import DCGANDiscriminator, DCGANGenerator
from personalgen.models.dense_gan import DenseDiscriminator, DenseGenerator
from personalgen.models.discriminator import Discriminator
from personalgen.models.generator import Generator
from personalgen.models.options import ModelOptions
from personalgen.models.residual import ResidualDiscriminator, ResidualGenerator

_GENERATORS: dict[str, type[Generator]] = {
    "r3gan": ResidualGenerator,
    "r3gan bottleneck": BottleneckGenerator,
    "dcgan": DCGANGenerator,
    "dense_gan": DenseGenerator,
    "vae": ResidualGenerator,
    "vae bottleneck": BottleneckGenerator,
}
_DISCRIMINATORS: dict[str, Callable[[ModelOptions, ConditionSpec], Discriminator]] = {
    "r3gan": ResidualDiscriminator,
    "r3gan bottleneck": BottleneckDiscriminator,
    "dcgan": DCGANDiscriminator,
    "dense_gan": DenseDiscriminator,
}


def build_generator(options: ModelOptions, spec: ConditionSpec) -> Generator:
    """Return a fresh generator (a VAE's decoder); weights are drawn from torch's global generator."""
    return _GENERATORS[_kind(options)](options, spec)


def build_discriminator(options: ModelOptions, spec: ConditionSpec) -> Discriminator:
    """Return a fresh discriminator of an adversarial family."""
    return _DISCRIMINATORS[_kind(options)](options, spec)


def _kind(options: ModelOptions) -> str:
    """Return the family, and for residual nets which of the two."""
    bottleneck = options.block == "bottleneck" and options.family in {"r3gan", "vae"}
    return f"{options.family} bottleneck" if bottleneck else options.family
