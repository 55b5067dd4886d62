"""Every family learns on the one loop, with a condition and without: a second or two on pictures of four colours."""

import numpy as np
import pytest
import torch

from personalgen.conditions import Condition, ConditionSpec
from personalgen.models import ModelOptions
from personalgen.models.options import FAMILIES
from personalgen.training import Job, TrainingOptions, TrainingPairs, train

COLOURS = np.array([[220, 40, 40], [40, 200, 60], [50, 70, 220], [230, 220, 50]], dtype=np.uint8)
USERS = np.repeat(np.arange(4), 10)
TASTES = 2 * np.eye(4, dtype=np.float32)
# Every option that decides the result, so that new defaults leave these tests alone.
OPTIONS = {
    "max_kimg": 1.0,
    "batch_size": 16,
    "device": "cpu",
    "precision": "fp32",
    "threads": 1,
    "learning_rate": 2e-3,
    "final_learning_rate": 1e-3,
    "warmup_kimg": 0.1,
    "r1_gamma": 0.5,
    "final_r1_gamma": 0.25,
    "feature_weight": 0.0,
    "mismatch_weight": 0.2,
    "contrast_weight": 0.0,
    "condition_dropout": 0.1,
    "condition_jitter": 0.1,
    "kl_weight": 0.01,
    "kl_warmup_kimg": 0.5,
    "augment": 0.0,
    "flip": False,
    "ema_kimg": 0.2,
    "snapshot_kimg": 0.1,
    "least_diversity": 0.0,
    "seed": 0,
}
SETTINGS = {
    "r3gan": {},
    "dcgan": {"max_kimg": 2.0},
    "dense_gan": {"max_kimg": 3.0, "r1_gamma": 2.0, "final_r1_gamma": 1.0},
    "vae": {"max_kimg": 1.5},
    "dcgan as published": {"max_kimg": 2.0, "loss": "nonsaturating", "r1_gamma": 0.0, "final_r1_gamma": 0.0},
    "r3gan with lazy penalties": {"penalty_every": 4},
}


def trained(name, folder, *, conditional, **changes):
    """Return the generator and what was logged, of training for a second or two."""
    family = name.split()[0]
    model = ModelOptions(
        resolution=8, z_dim=8, style_dim=32, width=16, max_width=32, discriminator_width=16, group_size=4, family=family
    )
    images, logged = np.broadcast_to(COLOURS[:, None, None], (4, 8, 8, 3)).copy(), []
    pairs = TrainingPairs.of(images, USERS, USERS, of_pair={"taste": TASTES[USERS]} if conditional else None)
    spec = ConditionSpec.vector("taste", 4) if conditional else ConditionSpec(())
    job = Job(pairs, spec, model, TrainingOptions(**{**OPTIONS, **SETTINGS[name], **changes}))
    result = train(job, folder=folder, log=lambda metrics, _: logged.append(metrics))
    return result.generator, logged


def drawn(generator, *, conditional):
    """Return (64, 3) mean colours in [0, 255] of pictures for the four people in turn."""
    z = torch.randn(64, 8, generator=torch.Generator().manual_seed(1))
    taste = torch.from_numpy(TASTES)[torch.arange(64) % 4]
    with torch.inference_mode():
        images = generator(z, Condition.vector("taste", taste) if conditional else Condition.none(64))
    return ((images.clamp(-1, 1) + 1) * 127.5).mean((2, 3)).numpy()


def energy_distance(one, other):
    """Return how far apart two sets of colours lie as distributions, 0 where they are the same (Székely 2003)."""

    def mean_gap(a, b):
        return np.linalg.norm(a[:, None].astype(float) - b[None], axis=-1).mean()

    return 2 * mean_gap(one, other) - mean_gap(one, one) - mean_gap(other, other)


@pytest.mark.parametrize("conditional", [True, False], ids=["conditional", "unconditional"])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_family_comes_nearer_to_the_data(tmp_path, name, conditional):
    """The distribution of mean colours comes nearer to that of the data than the untrained generator's was.

    With a condition to 0.4 of its distance, without to 0.75: six seeds of each gave at most 0.23 and 0.57. A VAE's
    reconstruction error falls by more than a half; they gave 0.02 to 0.03.
    """
    start, _ = trained(name, tmp_path / "start", conditional=conditional, max_minutes=1e-9)
    end, logged = trained(name, tmp_path / "end", conditional=conditional)
    before, after = (energy_distance(drawn(g, conditional=conditional), COLOURS) for g in (start, end))
    assert after < (0.4 if conditional else 0.75) * before
    if name == "vae":
        assert logged[-1]["loss_reconstruction"] < 0.5 * logged[0]["loss_reconstruction"]


def test_every_family_is_trained_here():
    """A new family needs a line in the settings."""
    assert {name.split()[0] for name in SETTINGS} == set(FAMILIES)
