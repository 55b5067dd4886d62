"""Pictures of one person that are nearly the same: the later one is drawn again from another z.

Whole users are drawn together, variant after variant, so that a picture is compared with the person's earlier ones
alone: neither later variants nor other users, nor where a night was cut, decide which z it gets.
"""

import logging
from collections.abc import Iterator, MutableSequence, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from personalgen.conditions import Condition
from personalgen.generation.options import MAX_VARIANTS, Floor
from personalgen.generation.sampler import Drawing, Sampler
from personalgen.seeding import derive_seed

_EDGE = 8
_BATCHES = 64
"""Batches in memory together: a pass of the generator for what is drawn again is as long as any, so few are made."""
Images = NDArray[np.uint8]


def seed_of(user_id: str, variant: int, attempt: int = 0) -> int:
    """Return the seed of a picture's z: that of its first attempt, or of a later one."""
    return derive_seed(user_id, variant + attempt * (MAX_VARIANTS + 1))


def distances(images: Images, others: Images) -> NDArray[np.float64]:
    """Return (n,) mean absolute differences of (n, H, W, 3) uint8 images, each brought to 8 x 8 by means, in [0, 1]."""
    return np.asarray(np.abs(_small(images) - _small(others)).mean(axis=(1, 2, 3)) / 255)


def draw_apart(
    sampler: Sampler,
    condition: Condition,
    user_ids: Sequence[str],
    seeds: MutableSequence[int],
    variants: int,
    floor: Floor,
) -> Iterator[Drawing]:
    """Yield the images of the condition's rows, `variants` of each user side by side, at least the floor apart.

    `seeds` are those of the first attempts, and hold those that were used when their images are yielded.
    """
    size = max(1, _BATCHES * sampler.batch_size // variants) * variants
    for start in range(0, len(seeds), size):
        rows = np.arange(start, min(start + size, len(seeds)))
        images = sampler.sample(condition.take(rows.tolist()), [seeds[row] for row in rows.tolist()])
        for variant in range(1, variants):
            _draw_again(sampler, condition, user_ids, seeds, (images, rows, variant, variants), floor)
        for part in np.split(images, range(sampler.batch_size, len(images), sampler.batch_size)):
            yield Drawing((torch.from_numpy(part),), torch.tensor(True), None)


def _draw_again(
    sampler: Sampler,
    condition: Condition,
    user_ids: Sequence[str],
    seeds: MutableSequence[int],
    batch: tuple[Images, NDArray[np.int64], int, int],
    floor: Floor,
) -> None:
    """Draw the images `variant` of a batch again where they are too near; image and seed of the farthest try stay.

    `batch` holds the images, their rows of the condition, the variant, and how many variants each user has.
    """
    images, rows, variant, variants = batch
    places = np.arange(variant, len(rows), variants)
    found = _nearest(images, images[places], places, variant)
    for attempt in range(1, floor.redraws + 1):
        near = np.flatnonzero(found < floor.min_distance)
        if not len(near):
            return
        again = rows[places[near]].tolist()
        tried = [seed_of(user_ids[row], variant, attempt) for row in again]
        drawn = sampler.sample(condition.take(again), tried)
        distance = _nearest(images, drawn, places[near], variant)
        for k in np.flatnonzero(distance > found[near]).tolist():
            images[places[near[k]]], seeds[again[k]] = drawn[k], tried[k]
        found[near] = np.maximum(found[near], distance)
    if left := int((found < floor.min_distance).sum()):
        told = "%d images are nearer than %g to an earlier one of their person after %d more tries, and stand"
        logging.getLogger(__name__).info(told, left, floor.min_distance, floor.redraws)


def _nearest(images: Images, asked: Images, places: NDArray[np.int64], variant: int) -> NDArray[np.float64]:
    """Return (n,) distances of `asked`, the images `variant` at `places`, to the user's nearest earlier one."""
    return np.asarray(
        np.min([distances(asked, images[places - back]) for back in range(1, variant + 1)], axis=0), dtype=np.float64
    )


def _small(images: Images) -> NDArray[np.float64]:
    """Return (n, 8, 8, 3) means of the blocks of images; of smaller ones the images themselves."""
    n, edge = images.shape[:2]
    blocks = min(_EDGE, edge)
    return np.asarray(images.reshape(n, blocks, edge // blocks, blocks, edge // blocks, 3).mean(axis=(2, 4)))
