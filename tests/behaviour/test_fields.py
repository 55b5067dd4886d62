"""One small model that was told six things of four colours: after seconds of training each of them is obeyed alone."""

import numpy as np
import pytest
import torch

from personalgen.conditions import Condition
from personalgen.embeddings import ConditionOptions, FieldRows, PreferenceTable, condition_spec
from personalgen.embeddings.fields import BEHAVIOUR, DISLIKES, INTERESTS, LABELS, OF_PICTURE, PREFERENCE, TEXT
from personalgen.embeddings.preference import NO_EVENTS
from personalgen.generation.options import OperatingPoint
from personalgen.generation.sampler import Sampler
from personalgen.models import ModelOptions
from personalgen.training import Behaviour, Job, TrainingOptions, TrainingPairs, train

FIELDS = (PREFERENCE, BEHAVIOUR, DISLIKES, INTERESTS, LABELS, TEXT)
COLOURS = np.array([[220, 40, 40], [40, 200, 60], [50, 70, 220], [230, 220, 50]], dtype=np.uint8)
MODES, DIM, PAIRS, EVENTS, IMAGES = len(COLOURS), 4, 40, 3, 8
TASTES = 2 * np.eye(MODES, DIM, dtype=np.float32)
WORDS = np.random.default_rng(0).standard_normal((MODES, 384)).astype(np.float32)
SPEC = condition_spec(
    ConditionOptions(fields=FIELDS, behaviour_events=EVENTS), DIM, tuple(f"colour={mode}" for mode in range(MODES))
)
MODEL = ModelOptions(resolution=8, z_dim=8, style_dim=32, width=16, max_width=16, discriminator_width=16, group_size=4)
# Every option that decides the result, so that new defaults leave these tests alone.
OPTIONS = TrainingOptions(
    max_kimg=6.0,
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
    condition_dropout=0.05,
    condition_jitter=0.1,
    field_dropout=dict.fromkeys(FIELDS, 0.6),
    augment=0.0,
    flip=False,
    ema_kimg=0.3,
    snapshot_kimg=1000.0,
    seed=0,
    contrast_weight=0.0,
)
NEXT = np.roll(np.arange(MODES), -1)
"""What the people of each colour dislike: the next one."""


def pairs():
    """Return the likes of four people, each of whom likes one colour and has seen nothing else before."""
    user = np.repeat(np.arange(MODES), PAIRS)
    images = np.broadcast_to(COLOURS[:, None, None], (MODES, 8, 8, 3)).copy()
    place = torch.arange(MODES * PAIRS)
    behaviour = Behaviour(
        name=BEHAVIOUR,
        longest=EVENTS,
        item_features=torch.from_numpy(TASTES),
        item_of_event=torch.from_numpy(user),
        weight_of_event=torch.ones(len(user)),
        day_of_event=place.float(),
        start_of_pair=torch.from_numpy(user * PAIRS),
        stop_of_pair=place,
    )
    return TrainingPairs.of(
        images,
        user,
        user,
        of_pair={PREFERENCE: TASTES[user], DISLIKES: TASTES[NEXT[user]], INTERESTS: interests().values[user]},
        absent={INTERESTS: ~interests().mask[user]},
        of_image={LABELS: np.eye(MODES, dtype=np.float32), TEXT: WORDS},
        behaviour=behaviour,
    )


def interests():
    """Return one interest of each of the four people, at the place of their taste."""
    values = np.zeros((MODES, 4, DIM + 1), dtype=np.float32)
    values[:, 0] = np.concatenate([TASTES, np.ones((MODES, 1))], axis=1)
    return FieldRows(values, values[:, :, -1] > 0)


def told(name):
    """Return a condition of the four modes in which one field alone is present; none where there is no name."""
    events = np.concatenate([TASTES, np.ones((MODES, 1)), np.zeros((MODES, 1))], axis=1, dtype=np.float32)
    everything = {
        BEHAVIOUR: FieldRows(np.repeat(events[:, None], EVENTS, axis=1), np.ones((MODES, EVENTS), dtype=bool)),
        DISLIKES: FieldRows(TASTES[NEXT], np.ones(MODES, dtype=bool)),
        INTERESTS: interests(),
    }
    names = tuple(f"u{mode}" for mode in range(MODES))
    table = PreferenceTable(names, TASTES, np.ones(MODES, np.int32), (NO_EVENTS,) * MODES, "b", everything)
    pictures = Condition({LABELS: torch.eye(MODES), TEXT: torch.from_numpy(WORDS)})
    condition = table.to_condition(SPEC, pictures)
    return condition.drop(torch.ones(MODES, dtype=torch.bool), [other for other in FIELDS if other != name])


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    """Return the model after some fifteen seconds of training."""
    return train(Job(pairs(), SPEC, MODEL, OPTIONS), folder=tmp_path_factory.mktemp("fields")).generator


def nearest(generator, condition, point=None):
    """Return (modes, IMAGES): the colour that each picture is nearest to."""
    rows = condition.take(torch.arange(MODES).repeat_interleave(IMAGES))
    images = Sampler(generator, operating_point=point).sample(rows, list(range(IMAGES)) * MODES)
    colours = images.mean(axis=(1, 2)).reshape(MODES, IMAGES, 1, 3)
    return np.linalg.norm(colours - COLOURS.astype(float), axis=-1).argmin(-1)


@pytest.mark.parametrize("name", FIELDS)
def test_each_field_is_obeyed_alone(generator, name):
    """With everything else absent at least 30 of 32 pictures have the colour that the one field tells."""
    assert (nearest(generator, told(name)) == np.arange(MODES)[:, None]).sum() >= 30


def test_a_strength_decides_which_of_two_fields_is_heard(generator):
    """Where taste and label disagree, the one at strength 0 counts for nothing."""
    taste, label = told(PREFERENCE), told(LABELS).take(NEXT.tolist())
    both = taste.drop(torch.ones(MODES, dtype=torch.bool), [LABELS]).joined(
        Condition({LABELS: label.values[LABELS]}, {LABELS: label.masks[LABELS]})
    )
    for silent, heard in ((LABELS, np.arange(MODES)), (PREFERENCE, NEXT)):
        found = nearest(generator, both, OperatingPoint(strengths={silent: 0.0}))
        assert (found == heard[:, None]).sum() >= 30


def test_a_users_pictures_are_drawn_without_what_is_not_asked(generator):
    """Labels and text are absent from a user's condition unless they are given."""
    masks = told(PREFERENCE).masks
    assert not any(masks[name].any() for name in OF_PICTURE)
