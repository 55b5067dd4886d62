"""A generator for small pictures is where a training for larger ones starts."""

import json
from pathlib import Path

import torch

from personalgen.models import load_generator

SMALL = ("model.resolution=8", "model.width=16", "model.max_width=16", "model.discriminator_width=16")
LARGE = ("model.resolution=16", "model.width=8", "model.max_width=16", "model.discriminator_width=8")
LITTLE = ("train.max_kimg=0.016", "train.feature_weight=0", "train.batch_size=16")


def trained(home, overrides):
    """Run a night up to its training; return the folder of its model."""
    for stage in ("prepare", "embed", "train"):
        told = home.tell(stage, "--json", overrides=overrides)
        assert told.code == 0, told.err
    return Path(json.loads(told.out)["folder"])


def test_nets_grow_from_a_snapshot_for_smaller_pictures(new_home):
    """The card names where it came from and counts its images too; what both nets have starts where it ended."""
    small = trained(new_home(), (*SMALL, *LITTLE))
    large = trained(new_home(), (*LARGE, *LITTLE, f"snapshot={small}", "train.learning_rate=1e-12"))
    (before, _), (after, card) = load_generator(small), load_generator(large)
    assert card.options.resolution == 16
    assert card.trained_kimg == 0.032
    assert card.facts["started_from"] == "model"
    shared = [name for name in after.state_dict() if name.startswith(("base.", "stages.px8.", "style."))]
    assert len(shared) > 10
    assert all(torch.allclose(before.state_dict()[name], after.state_dict()[name], atol=1e-6) for name in shared)
