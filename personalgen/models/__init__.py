"""Nets and what they may be conditioned on; no users, no training."""

from personalgen.conditions import Condition, ConditionSpec, FieldSpec
from personalgen.models.card import ModelCard, load_card, load_generator, save_generator
from personalgen.models.discriminator import Discriminator
from personalgen.models.ema import ema_beta, ema_copy, ema_update
from personalgen.models.families import build_discriminator, build_generator
from personalgen.models.feature_discriminator import FeatureDiscriminator
from personalgen.models.generator import Generator, TensorGenerator
from personalgen.models.options import ModelOptions
from personalgen.models.vae import ImageEncoder

__all__ = [
    "Condition",
    "ConditionSpec",
    "Discriminator",
    "FeatureDiscriminator",
    "FieldSpec",
    "Generator",
    "ImageEncoder",
    "ModelCard",
    "ModelOptions",
    "TensorGenerator",
    "build_discriminator",
    "build_generator",
    "ema_beta",
    "ema_copy",
    "ema_update",
    "load_card",
    "load_generator",
    "save_generator",
]
