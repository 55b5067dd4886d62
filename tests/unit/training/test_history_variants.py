"""Variants of what was known of a user: a batch draws one for each row."""

import numpy as np
import pytest
import torch

from personalgen.training import TrainingPairs

USERS = np.array([0, 0, 1, 1])
WHOLE = np.arange(8, dtype=np.float32).reshape(4, 2)
VARIANTS = np.stack([WHOLE + 100, WHOLE + 200])
DISLIKES = np.full((4, 3), 7, dtype=np.float32)


def pairs(**more):
    """Return four pairs of two users; vector k of variant v is (100 v + 2k, 100 v + 2k + 1)."""
    images = np.repeat(np.arange(4, dtype=np.uint8), 48).reshape(4, 4, 4, 3)
    of_pair = {"preference": WHOLE, "dislikes": DISLIKES}
    absent = {"dislikes": np.array([False, True, False, False])}
    return TrainingPairs.of(images, np.arange(4), USERS, of_pair=of_pair, absent=absent, **more)


def rng(seed=0):
    """Return random numbers."""
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("mixup", [0.0, 0.5])
def test_without_variants_nothing_is_drawn_for_them(mixup):
    """The same random numbers give the same batch as ever: an empty mapping is none."""
    one, other = (each.draw(8, 2, rng=rng(), mixup=mixup) for each in (pairs(), pairs(variants={})))
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.condition.values["preference"], other.condition.values["preference"])
    assert pairs().digest() == pairs(variants={}).digest()
    assert pairs().of_pair.batch_size == 4


def test_each_row_has_a_variant_of_its_own_pair():
    """Picture k comes with vector k of some variant, each a third of the time, within five standard errors."""
    batch = pairs(variants={"preference": VARIANTS}).draw(3000, 2, rng=rng())
    shown = ((batch.images[:, 0, 0, 0] + 1) * 127.5).round()
    vectors = batch.condition.values["preference"]
    assert torch.equal(vectors[:, 0] % 100, 2 * shown)
    assert torch.equal(vectors[:, 1], vectors[:, 0] + 1)
    shares = (vectors[:, 0] // 100).long().bincount(minlength=3) / 3000
    assert shares.tolist() == pytest.approx([1 / 3] * 3, abs=5 * (2 / 9 / 3000) ** 0.5)


def test_what_has_no_variants_stays():
    """Other fields keep their values and their absences, whichever variant is drawn."""
    batch = pairs(variants={"preference": VARIANTS}).draw(400, 1, rng=rng(3))
    shown = ((batch.images[:, 0, 0, 0] + 1) * 127.5).round()
    assert (batch.condition.values["dislikes"] == 7).all()
    assert torch.equal(batch.condition.masks["dislikes"], shown != 1)
    assert batch.condition.masks["preference"].all()


def test_blended_people_have_variants_too():
    """A blend lies between the vectors of some variant of either, never outside all of them."""
    batch = pairs(variants={"preference": VARIANTS}).draw(400, 2, rng=rng(), mixup=1.0)
    vectors = batch.condition.values["preference"]
    assert vectors.min() >= 0
    assert vectors.max() <= 207
    assert (vectors[:, 0] % 1 != 0).any()


def test_variants_are_part_of_the_content():
    """They move to another device with the rest, and another variant is another digest."""
    one = pairs(variants={"preference": VARIANTS})
    assert one.to(torch.device("cpu")).digest() == one.digest()
    assert one.digest() != pairs().digest()
    assert one.digest() != pairs(variants={"preference": VARIANTS + 1}).digest()
