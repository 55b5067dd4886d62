import colorsys
from dataclasses import replace

import numpy as np
import pytest

from personalgen.worlds.attributes import hue_liking
from personalgen.worlds.base import PlantedUsers
from personalgen.worlds.drawing import Pose
from personalgen.worlds.faces import (
    DISLIKED_NATS,
    EYEWEAR_NATS,
    HAIR_NATS,
    HUE_NATS,
    SMILE_NATS,
    STYLE_NATS,
    STYLES,
    FacesWorld,
)


@pytest.fixture(scope="module")
def world():
    """Return a world of its usual size."""
    return FacesWorld()


def test_the_utility_is_a_sum_over_what_is_shown(world):
    """Loved less disliked style, hair, eyewear, hue, and a smile by the person's mood; by hand from the labels."""
    users, labels = world.sample_users(20, seed=3), world.items().labels
    columns = [labels[name] for name in ("category", "hair", "eyewear", "hue", "smile")]
    expected = [
        STYLE_NATS * (style in taste["category"])
        + DISLIKED_NATS * (style in taste["disliked"])
        + HAIR_NATS * (hair in taste["hair"])
        + EYEWEAR_NATS * (eyewear in taste["eyewear"])
        + HUE_NATS * hue_liking(np.array(float(taste["hue"][0])), np.array(float(hue)))
        + SMILE_NATS * (float(smile) if taste["mood"] == ("cheerful",) else 1 - float(smile))
        for taste in users.tastes
        for style, hair, eyewear, hue, smile in zip(*columns, strict=True)
    ]
    np.testing.assert_allclose(world.true_utility(users), np.reshape(expected, (20, -1)), rtol=1e-5, atol=1e-5)


def test_nobody_dislikes_what_they_love(world):
    """One style is disliked, never a loved one, and a portrait with it is worth less than with any other."""
    users = world.sample_users(200, seed=0)
    assert all(len(t["disliked"]) == 1 and t["disliked"][0] not in t["category"] for t in users.tastes)
    styles, utility = np.array(world.items().labels["category"]), world.true_utility(users)
    means = np.stack([utility[:, styles == style].mean(axis=1) for style in STYLES], axis=1)
    assert [list(STYLES)[k] for k in means.argmin(axis=1)] == [taste["disliked"][0] for taste in users.tastes]


def test_more_of_a_smile_is_always_better_or_worse(world):
    """For a cheerful mood the utility rises with the smile by 1.5 nats in all, for a sad one it falls as much."""
    users = world.sample_users(40, seed=0)
    smile = np.array([float(value) for value in world.items().labels["smile"]])
    cheerful, sad = (
        PlantedUsers(users.user_ids, tuple(t | {"mood": (mood,)} for t in users.tastes)) for mood in ("cheerful", "sad")
    )
    difference = world.true_utility(cheerful) - world.true_utility(sad)
    np.testing.assert_allclose(difference, np.broadcast_to(SMILE_NATS * (2 * smile - 1), difference.shape), atol=1e-5)


def test_the_wall_has_the_hue_of_its_label(world):
    """The corner pixel's hue is the labelled one, within 3 degrees."""
    for picture, label in zip(world.render(32)[:60], world.items().labels["hue"][:60], strict=True):
        hue = 360 * colorsys.rgb_to_hsv(*(picture[2, 0] / 255))[0]
        assert abs((hue - float(label) + 180) % 360 - 180) < 3


def test_the_corners_of_the_mouth_follow_the_smile(world):
    """Straight at 0.5; from corners down to corners up, middle and sides change places by over six pixels of 64."""
    bends = {}
    for smile in (0.0, 0.25, 0.5, 0.75, 1.0):
        drawing = replace(world.drawing(0, 0), smile=smile, pose=Pose(), skin=0.0)
        picture = world.draw(drawing, 64).astype(float)[36:56, 22:42]
        dark = 255 - picture[..., 1]
        height = (np.arange(20)[:, None] * dark**4).sum(axis=0) / (dark**4).sum(axis=0)
        bends[smile] = height[8:12].mean() - height[[1, 2, -3, -2]].mean()
    assert sorted(bends, key=bends.__getitem__) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert bends[0.5] == pytest.approx(0, abs=1)
    assert bends[1.0] - bends[0.0] > 6
