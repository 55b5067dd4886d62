"""Which nets a family is made of: the one place that knows them all."""

from collections.abc import Callable

from personalgen.conditions import ConditionSpec
from personalgen.models.dcgan import DCGANDiscriminator, DCGANGenerator
from personalgen.models.dense_gan import DenseDiscriminator, DenseGenerator
from personalgen.models.discriminator import Discriminator
from personalgen.models.generator import Generator
from personalgen.models.options import ModelOptions
from personalgen.models.residual import ResidualDiscriminator, ResidualGenerator

_GENERATORS: dict[str, type[Generator]] = {
    "r3gan": ResidualGenerator,
    "dcgan": DCGANGenerator,
    "dense_gan": DenseGenerator,
    "vae": ResidualGenerator,
}
_DISCRIMINATORS: dict[str, Callable[[ModelOptions, ConditionSpec], Discriminator]] = {
    "r3gan": ResidualDiscriminator,
    "dcgan": DCGANDiscriminator,
    "dense_gan": DenseDiscriminator,
}


def build_generator(options: ModelOptions, spec: ConditionSpec) -> Generator:
    """Return a fresh generator (a VAE's decoder); weights are drawn from torch's global generator."""
    return _GENERATORS[options.family](options, spec)


def build_discriminator(options: ModelOptions, spec: ConditionSpec) -> Discriminator:
    """Return a fresh discriminator of an adversarial family."""
    return _DISCRIMINATORS[options.family](options, spec)
