import colorsys

import numpy as np
import pytest

from personalgen.worlds.attributes import hue_liking
from personalgen.worlds.base import PlantedUsers
from personalgen.worlds.drawing import hue_name
from personalgen.worlds.shapes import PATTERNS, SHAPES, ShapesWorld


def one_user(**taste):
    return PlantedUsers(("u",), ({name: (value,) for name, value in taste.items()},))


def test_items_cover_all_attributes_evenly():
    """Every shape with every pattern occurs, and hues are spread over the circle."""
    items = ShapesWorld(256).items()
    pairs = set(zip(items.labels["category"], items.labels["pattern"], strict=True))
    assert len(pairs) == len(SHAPES) * len(PATTERNS)
    hues = np.array([float(hue) for hue in items.labels["hue"]])
    assert np.histogram(hues, bins=8, range=(0, 360))[0].min() >= 30
    assert len(set(items.item_ids)) == 256


def test_all_tuples_share_one_order():
    """Titles and labels are as many as the ids, and a title says what the labels say."""
    items = ShapesWorld(20).items()
    assert {len(column) for column in (items.titles, *items.labels.values())} == {20}
    assert items.titles[1] == f"{items.labels['colour'][1]} plain square".capitalize()


@pytest.mark.parametrize("image_px", [8, 32, 65])
def test_pictures_are_shapes_on_white(image_px):
    """(n, px, px, 3) uint8 with white corners and something coloured in every picture."""
    pictures = ShapesWorld(32).render(image_px)
    assert (pictures.shape, pictures.dtype) == ((32, image_px, image_px, 3), np.uint8)
    corners = pictures[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.min() > 230
    assert ((pictures < 200).any(axis=3).mean(axis=(1, 2)) > 0.05).all()


def test_a_picture_shows_the_hue_of_its_label():
    """The median hue of the coloured pixels is the labelled one, within 3 degrees."""
    world = ShapesWorld(16)
    for picture, label in zip(world.render(64), world.items().labels["hue"], strict=True):
        coloured = picture.reshape(-1, 3)[np.ptp(picture.reshape(-1, 3).astype(int), axis=1) > 60] / 255
        hues = [360 * colorsys.rgb_to_hsv(*pixel)[0] for pixel in coloured[::20]]
        distances = [abs((hue - float(label) + 180) % 360 - 180) for hue in hues]
        assert np.median(distances) < 3


def test_shapes_and_patterns_look_different():
    """No two of the shapes, nor of the patterns, draw the same picture."""
    world = ShapesWorld(64)
    grey = world.render(32).min(axis=3).reshape(64, -1).astype(float)
    distances = np.abs(grey[:, None] - grey[None]).mean(axis=2) + 255 * np.eye(64)
    assert distances.min() > 4


def test_the_planted_tastes_have_the_highest_utility():
    """3 nats for a loved shape, 2 for exactly the loved hue, 1.5 for the loved pattern."""
    world = ShapesWorld(128)
    labels = world.items().labels
    target = 77
    users = one_user(category=labels["category"][target], hue=labels["hue"][target], pattern=labels["pattern"][target])
    utility = world.true_utility(users)
    assert (utility.shape, utility.dtype) == ((1, 128), np.float32)
    assert utility[0].argmax() == target
    assert utility[0, target] == pytest.approx(6.5)
    same_shape = np.array(labels["category"]) == labels["category"][target]
    assert utility[0, same_shape].min() >= 3
    assert utility[0, ~same_shape].max() <= 3.5


def test_every_user_prefers_what_was_planted():
    """On average a user's loved shape, colour and pattern are worth more than the rest."""
    world = ShapesWorld(128)
    users = world.sample_users(50, seed=0)
    utility = world.true_utility(users)
    for attribute in ("category", "colour", "pattern"):
        values = np.array(world.items().labels[attribute])
        loved = np.stack([np.isin(values, taste[attribute]) for taste in users.tastes])
        gain = [row[mask].mean() - row[~mask].mean() for row, mask in zip(utility, loved, strict=True)]
        assert min(gain) > 0


def test_liking_a_hue_falls_with_the_angle_around_the_circle():
    """Full at the loved hue, about 0.6 at 40 degrees, next to nothing opposite, and 359 is next to 1."""
    liking = hue_liking(np.array(0.0), np.array([0, 20, 40, 90, 180, 359]))
    assert liking[0] == 1
    assert (np.diff(liking[:5]) < 0).all()
    assert liking[2] == pytest.approx(0.62, abs=0.02)
    assert liking[4] < 0.05
    assert liking[5] == pytest.approx(float(hue_liking(np.array(0.0), np.array(1.0))))


def test_hues_have_the_nearest_name():
    """Names stand at every 60 degrees, and red closes the circle."""
    assert [hue_name(hue) for hue in (0, 29, 31, 120, 181, 240, 299, 331, 359.9)] == [
        "red", "red", "yellow", "green", "cyan", "blue", "magenta", "red", "red",
    ]  # fmt: skip
