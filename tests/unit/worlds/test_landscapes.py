import numpy as np
import pytest

from personalgen.worlds.attributes import known_attributes
from personalgen.worlds.base import PlantedUsers
from personalgen.worlds.landscapes import (
    GROUND_NATS,
    GROUNDS,
    HORIZON_NATS,
    SKIES,
    SUN_NATS,
    TOGETHER_NATS,
    WEATHER_NATS,
    LandscapesWorld,
    height_liking,
)


@pytest.fixture(scope="module")
def world():
    """Return a world of its usual size."""
    return LandscapesWorld()


def mean_worth(world, users, ground, sky):
    """Return (n_users,) the mean utility of scenes of one ground under one sky."""
    labels = world.items().labels
    shown = (np.array(labels["category"]) == ground) & (np.array(labels["sky"]) == sky)
    return world.true_utility(users)[:, shown].mean(axis=1)


def bump(loved, height):
    """Return a Gaussian of height 1 whose standard deviation is a fifth of the range."""
    return 2.718281828459045 ** (-12.5 * (float(height) - float(loved)) ** 2)


def test_the_utility_is_no_plain_sum(world):
    """Ground, twice under the loved sky; weather; both heights, the sun's twice in the loved weather; by hand."""
    users, labels = world.sample_users(20, seed=3), world.items().labels
    columns = [labels[name] for name in ("category", "sky", "weather", "horizon", "sun")]
    expected = [
        GROUND_NATS * (ground in taste["category"])
        + TOGETHER_NATS * (ground in taste["category"] and sky in taste["sky"])
        + WEATHER_NATS * (weather in taste["weather"])
        + HORIZON_NATS * bump(taste["horizon"][0], horizon)
        + SUN_NATS * bump(taste["sun"][0], sun) * (2 if weather in taste["weather"] else 1)
        for taste in users.tastes
        for ground, sky, weather, horizon, sun in zip(*columns, strict=True)
    ]
    np.testing.assert_allclose(world.true_utility(users), np.reshape(expected, (20, -1)), rtol=1e-5, atol=1e-5)


def test_a_loved_ground_needs_its_sky(world):
    """The loved sky adds 1.75 nats to the loved ground and nothing to another: no sum of two attributes does that."""
    taste = {"category": ("sea",), "sky": ("night",), "weather": ("clear",), "horizon": ("0.5",), "sun": ("0.5",)}
    users = PlantedUsers(("u",), (taste,))
    gains = {
        ground: mean_worth(world, users, ground, "night") - mean_worth(world, users, ground, "day")
        for ground in GROUNDS
    }
    assert gains.pop("sea") == pytest.approx(TOGETHER_NATS, abs=0.35)
    assert np.abs(list(gains.values())).max() < 0.35


def test_probabilities_of_two_attributes_are_multiplied(world):
    """A ground at 0.5 under a sky at 0.5 has a quarter of what both are worth together, and half of the ground."""
    users = world.sample_users(30, seed=0)
    known = known_attributes(world.items(), world.space)
    half = {name: 0.5 * rows + 0.5 * np.roll(rows, 1, axis=1) for name, rows in known.categories.items()}
    shown = type(known)({**half, "weather": known.categories["weather"]}, {}, known.numbers)
    mean = sum(
        world.utility_of_attributes(
            users, type(known)({**known.categories, "category": g, "sky": s}, {}, known.numbers)
        )
        for g in (known.categories["category"], np.roll(known.categories["category"], 1, axis=1))
        for s in (known.categories["sky"], np.roll(known.categories["sky"], 1, axis=1))
    )
    np.testing.assert_allclose(world.utility_of_attributes(users, shown), mean / 4, atol=1e-5)


def test_liking_a_height_falls_to_both_sides():
    """Full at the loved height, 0.6 at a fifth of the range above and below, and the ends are apart."""
    liking = height_liking(np.array(0.5), np.array([0.3, 0.5, 0.7]))
    assert liking == pytest.approx([0.607, 1, 0.607], abs=1e-3)
    assert height_liking(np.array(0.0), np.array(1.0)) < 0.001


def test_a_scene_shows_the_heights_of_its_labels(world):
    """The sun's brightest rows, and the first row of plain sea, move up the picture as their labels say."""
    drawings = [d for d in (world.drawing(k, 0) for k in range(720)) if d.weather == "clear" and d.sky == "day"]
    suns = [np.argwhere(world.draw(d, 64)[..., 2] < 130)[:, 0][:60].mean() for d in drawings]
    assert np.corrcoef(suns, [d.sun for d in drawings])[0, 1] < -0.95
    seas = [d for d in drawings if d.ground == "sea"]
    edges = [(world.draw(d, 64)[:, 31, 0] < 60)[20:].argmax() for d in seas]
    assert np.corrcoef(edges, [d.horizon for d in seas])[0, 1] < -0.9


def test_a_sky_has_the_colour_of_its_name(world):
    """Scenes under different skies differ at the top of the picture, under one sky they agree, rain apart."""
    labels, top = world.items().labels, world.render(16)[:, 1].astype(float).mean(axis=1)
    clear = np.array(labels["weather"]) == "clear"
    rows = {sky: top[clear & (np.array(labels["sky"]) == sky)] for sky in SKIES}
    assert max(colours.std(axis=0).max() for colours in rows.values()) < 25
    means = np.stack([colours.mean(axis=0) for colours in rows.values()])
    apart = np.abs(means[:, None] - means[None]).max(axis=2) + 255 * np.eye(len(SKIES))
    assert apart.min() > 60
