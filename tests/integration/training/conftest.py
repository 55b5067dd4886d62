"""A tiny GAN on noise, a few steps of which take milliseconds, and what it leaves."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from personalgen.conditions import ConditionSpec
from personalgen.models import ModelOptions
from personalgen.training import Job, TrainingOptions, TrainingPairs, train
from personalgen.training.checkpoints import CHECKPOINT
from personalgen.training.dataset import Behaviour

USERS = np.repeat(np.arange(4), 5)
SPEC = ConditionSpec.vector("taste", 5)
MODEL = ModelOptions(resolution=8, z_dim=6, style_dim=16, width=8, max_width=8, discriminator_width=8, group_size=2)
# Every option that decides a result, so that new defaults leave these tests alone.
FOUR_STEPS = TrainingOptions(
    max_kimg=0.032,
    batch_size=8,
    device="cpu",
    precision="fp32",
    threads=1,
    learning_rate=1e-3,
    final_learning_rate=5e-4,
    warmup_kimg=0.016,
    r1_gamma=1.0,
    final_r1_gamma=0.5,
    feature_weight=0.0,
    mismatch_weight=0.2,
    contrast_weight=0.0,
    candidates=0,
    condition_dropout=0.1,
    condition_jitter=0.1,
    augment=0.5,
    flip=True,
    ema_kimg=0.1,
    snapshot_kimg=0.008,
    seed=3,
)


@pytest.fixture
def spec():
    """Return the specification of five numbers."""
    return SPEC


@pytest.fixture
def model():
    """Return options of an 8 px model with groups of two."""
    return MODEL


@pytest.fixture
def four_steps():
    """Return options of four steps of eight images, with a snapshot after each."""
    return FOUR_STEPS


@pytest.fixture
def a_moment():
    """Return the same options with time for exactly one step."""
    return dataclasses.replace(FOUR_STEPS, max_minutes=1e-9)


def noise():
    """Return six pictures, the picture of each of 20 pairs, and a vector for each pair, all at random."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    vectors = rng.normal(size=(20, 5)).astype(np.float32)
    return images, rng.integers(0, 6, 20), vectors


@pytest.fixture(scope="module")
def pairs():
    """Return 20 pairs of four users over six pictures."""
    images, shown, vectors = noise()
    return TrainingPairs.of(images, shown, USERS, of_pair={"taste": vectors})


@pytest.fixture(scope="module")
def sequence_pairs():
    """Return the same pairs with what each user did before as sequences of up to three events."""
    images, shown, vectors = noise()
    behaviour = Behaviour(
        name="behaviour",
        longest=3,
        item_features=torch.from_numpy(vectors[:6, :2].copy()),
        item_of_event=torch.from_numpy(shown),
        weight_of_event=torch.ones(20),
        day_of_event=torch.arange(20.0),
        start_of_pair=torch.from_numpy(5 * USERS),
        stop_of_pair=torch.arange(20),
    )
    return TrainingPairs.of(images, shown, USERS, of_pair={"taste": vectors}, behaviour=behaviour)


@pytest.fixture
def run(pairs):
    """Return a function that trains in a folder, in four steps where nothing else is asked for."""

    def run(folder, options=FOUR_STEPS, model=MODEL, pairs=pairs, spec=SPEC, **callbacks):
        return train(Job(pairs, spec, model, options), folder=folder, **callbacks)

    return run


@pytest.fixture
def checkpoint():
    """Return a function that reads a checkpoint: nets, average, optimizers and random state."""
    return lambda folder: load_file(folder / CHECKPOINT)


@pytest.fixture
def equal():
    """Return a function that compares two sets of named tensors bit for bit."""
    return lambda one, other: one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
