"""Four people who each like one colour: after seconds of training a generator paints everybody's own colour.

Whether it is told of their taste by a vector, by a label of the picture, or by what they looked at before.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from personalgen.conditions import Condition, ConditionSpec, FieldSpec
from personalgen.models import ModelOptions
from personalgen.training import Job, TrainingOptions, TrainingPairs, train
from personalgen.training.dataset import Behaviour

COLOURS = np.array([[220, 40, 40], [40, 200, 60], [50, 70, 220], [230, 220, 50]], dtype=np.uint8)
N_USERS, IMAGES, PAIRS = len(COLOURS), 8, 10
TASTES = 2 * np.eye(N_USERS, dtype=np.float32)
MODEL = ModelOptions(resolution=8, z_dim=8, style_dim=32, width=16, max_width=16, discriminator_width=16, group_size=4)
# Every option that decides the result, so that new defaults leave these tests alone.
OPTIONS = TrainingOptions(
    max_kimg=3.0,
    batch_size=16,
    device="cpu",
    precision="fp32",
    threads=1,
    learning_rate=2e-3,
    final_learning_rate=1e-3,
    warmup_kimg=0.1,
    r1_gamma=0.5,
    final_r1_gamma=0.25,
    feature_weight=0.0,
    mismatch_weight=0.2,
    condition_dropout=0.0,
    condition_jitter=0.1,
    augment=0.0,
    flip=False,
    ema_kimg=0.3,
    snapshot_kimg=1000.0,
    seed=0,
    contrast_weight=0.0,
)


@dataclass(frozen=True)
class Told:
    """A way to tell a generator of people's tastes."""

    field: FieldSpec
    pairs: dict[str, Any]
    """What training pairs are made of beside pictures and users."""
    asked: torch.Tensor
    """(n_users, …): what is asked for when pictures of each person's are drawn."""


def by_vector(vectors):
    """Return the pairs' own vectors as the way."""
    return Told(FieldSpec("taste", "vector", N_USERS), {"of_pair": {"taste": vectors}}, torch.from_numpy(TASTES))


def by_label():
    """Return the pictures' labels as the way: the colour of each, known of the picture and not of the user."""
    labels = np.eye(N_USERS, dtype=np.float32)
    return Told(FieldSpec("colour", "label", N_USERS), {"of_image": {"colour": labels}}, torch.from_numpy(labels))


def by_behaviour():
    """Return the last four of what people looked at as the way: pair k of a user comes after k + 1 such events.

    Three of four events are of something in the user's own colour, and every fourth of something in another's.
    """
    event = np.arange(N_USERS * PAIRS)
    user, number = np.divmod(event, PAIRS)
    items = np.where(number % 4 == 3, (user + 1 + number // 4 % 3) % N_USERS, user)
    behaviour = Behaviour(
        name="seen",
        longest=4,
        item_features=torch.from_numpy(TASTES),
        item_of_event=torch.from_numpy(items),
        weight_of_event=torch.ones(len(event)),
        day_of_event=torch.from_numpy(number.astype(np.float32)),
        start_of_pair=torch.from_numpy(user * PAIRS),
        stop_of_pair=torch.from_numpy(event + 1),
    )
    last = torch.arange(N_USERS) * PAIRS + PAIRS - 3
    return Told(
        FieldSpec("seen", "sequence", behaviour.width, longest=4),
        {"behaviour": behaviour},
        behaviour.sequences(last)[0],
    )


def mean_colours(told, folder, max_kimg=OPTIONS.max_kimg, seed=OPTIONS.seed):
    """Return (n_users, IMAGES, 3) mean colours of what is generated for the four people once it was told of them."""
    vectors = told.pairs.get("of_pair", {}).get("taste")
    user = np.repeat(np.arange(N_USERS), PAIRS if vectors is None else len(vectors) // N_USERS)
    images = np.broadcast_to(COLOURS[:, None, None], (N_USERS, 8, 8, 3)).copy()
    options = TrainingOptions(**{**vars(OPTIONS), "max_kimg": max_kimg, "seed": seed})
    pairs, spec = TrainingPairs.of(images, user, user, **told.pairs), ConditionSpec((told.field,))
    result = train(Job(pairs, spec, MODEL, options), folder=folder)
    z = torch.randn(IMAGES, MODEL.z_dim, generator=torch.Generator().manual_seed(1)).repeat(N_USERS, 1)
    condition = Condition({told.field.name: told.asked.repeat_interleave(IMAGES, 0)})
    with torch.inference_mode():
        x = result.generator(z, condition).clamp(-1, 1)
    return ((x + 1) * 127.5).mean((2, 3)).numpy().reshape(N_USERS, IMAGES, 3)


def nearest(colours):
    """Return which person's colour is nearest to each mean colour."""
    return np.linalg.norm(colours[..., None, :] - COLOURS.astype(float), axis=-1).argmin(-1)


WAYS = {"vector": by_vector(TASTES.repeat(PAIRS, axis=0)), "label": by_label(), "sequence": by_behaviour()}


@pytest.fixture(scope="module", params=WAYS)
def obeyed(request, tmp_path_factory):
    """Return the mean colours for each person after about five seconds of training, told of them in each way."""
    return mean_colours(WAYS[request.param], tmp_path_factory.mktemp("obeyed"))


def test_everybody_gets_their_own_colour(obeyed):
    """Each picture's mean colour is nearest to the colour of the person it was made for, whatever z.

    Ten seeds of each way were tried and all had all 32 pictures right; guessing would have it once in 4^32.
    """
    assert nearest(obeyed).tolist() == [[user] * IMAGES for user in range(N_USERS)]


def test_the_colours_are_hit(obeyed):
    """Pictures lie within 40 of 441 of their colour on average; ten seeds of each gave 5 to 21, grey is at 145."""
    assert np.linalg.norm(obeyed - COLOURS[:, None].astype(float), axis=-1).mean() < 40


def test_the_same_z_gives_everybody_something_else(obeyed):
    """For each z the four pictures are as far apart as the colours are, within a half."""
    for pictures in obeyed.swapaxes(0, 1):
        found = np.linalg.norm(pictures[:, None] - pictures[None], axis=-1)
        wanted = np.linalg.norm(COLOURS[:, None].astype(float) - COLOURS[None], axis=-1)
        assert (np.abs(found - wanted) <= wanted / 2).all()


def test_a_condition_that_means_nothing_is_not_obeyed(tmp_path):
    """The control: where vectors are dealt at random, at most two thirds of the pictures hit the "own" colour.

    What is right then is chance: a quarter is expected, since vector and colour are independent.
    """
    dealt = np.random.default_rng(0).integers(0, N_USERS, 40 * N_USERS)
    colours = mean_colours(by_vector(TASTES[dealt]), tmp_path, max_kimg=1.5)
    assert (nearest(colours) == np.arange(N_USERS)[:, None]).mean() < 2 / 3
