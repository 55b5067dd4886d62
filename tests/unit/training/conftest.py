"""A data set of noise, and nets that take a step in milliseconds."""

import dataclasses

import numpy as np
import pytest
import torch

from personalgen.conditions import Condition, ConditionSpec
from personalgen.models import ModelOptions
from personalgen.training import Job, TrainingOptions, TrainingPairs
from personalgen.training.trainer import Trainer


@pytest.fixture
def spec():
    """Return the specification of five numbers."""
    return ConditionSpec.vector("taste", 5)


@pytest.fixture
def model():
    """Return options of an 8 px model with groups of two."""
    return ModelOptions(resolution=8, z_dim=6, style_dim=16, width=8, max_width=8, discriminator_width=8, group_size=2)


@pytest.fixture
def options():
    """Return options of four steps of eight images, without the discriminator on frozen features."""
    return TrainingOptions(
        max_kimg=0.032,
        batch_size=8,
        device="cpu",
        precision="fp32",
        threads=1,
        warmup_kimg=0.0,
        feature_weight=0.0,
        mismatch_weight=0.2,
        contrast_weight=0.0,
        candidates=2,
    )


@pytest.fixture
def pairs():
    """Return 20 pairs of four users over six pictures."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    vectors = rng.normal(size=(20, 5)).astype(np.float32)
    return TrainingPairs.of(images, rng.integers(0, 6, 20), np.repeat(np.arange(4), 5), of_pair={"taste": vectors})


@pytest.fixture
def bare(pairs):
    """Return the pairs without anything that is known of them."""
    return dataclasses.replace(pairs, of_pair=Condition.none(20))


@pytest.fixture
def make_trainer(pairs, spec, model, options):
    """Return a function that builds a trainer without augmentation and candidates, at other options where asked.

    `model_changes` are those to the nets; other pairs and another specification go together.
    """

    def make(model_changes=None, *, own_pairs=None, own_spec=None, **changes):
        changed = dataclasses.replace(options, **{"augment": 0.0, "candidates": 0, "max_kimg": 8.0} | changes)
        nets = dataclasses.replace(model, **model_changes or {})
        job = Job(own_pairs or pairs, spec if own_spec is None else own_spec, nets, changed)
        return Trainer(job, torch.device("cpu"))

    return make


@pytest.fixture(autouse=True)
def seed():
    """Draw the same numbers in every order of tests."""
    torch.manual_seed(0)
