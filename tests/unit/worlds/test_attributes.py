import numpy as np
import pytest

from personalgen.errors import ConfigError, DataError
from personalgen.worlds import (
    Attributes,
    AttributeSpace,
    PlantedUsers,
    ShapesWorld,
    WorldItems,
    find_attribute_world,
    known_attributes,
    taste_in_words,
)
from personalgen.worlds.attributes import hue_liking
from personalgen.worlds.shapes import HUE_NATS, PATTERN_NATS, PATTERNS, SHAPE_NATS, SHAPES


def test_what_is_known_of_items_is_what_their_labels_say():
    """One-hot rows in the order of the space, and angles in degrees."""
    world = ShapesWorld(40)
    items, known = world.items(), known_attributes(world.items(), world.space)
    for name, probabilities in known.categories.items():
        values = np.array(world.space.categories[name])
        assert tuple(values[probabilities.argmax(axis=1)]) == items.labels[name]
        assert (np.sort(probabilities, axis=1)[:, -2:] == [0, 1]).all()
    assert [f"{hue:.1f}" for hue in known.angles["hue"]] == list(items.labels["hue"])


def test_known_attributes_give_the_true_utility():
    """For what the items are known to show, the utility equals `true_utility`, and a sum over the labels by hand."""
    world = ShapesWorld(64)
    users, labels = world.sample_users(30, seed=3), world.items().labels
    expected = [
        SHAPE_NATS * (shape in taste["category"])
        + PATTERN_NATS * (pattern in taste["pattern"])
        + HUE_NATS * hue_liking(np.array(float(taste["hue"][0])), np.array(float(hue)))
        for taste in users.tastes
        for shape, pattern, hue in zip(labels["category"], labels["pattern"], labels["hue"], strict=True)
    ]
    utility = world.utility_of_attributes(users, known_attributes(world.items(), world.space))
    assert (utility == world.true_utility(users)).all()
    np.testing.assert_allclose(utility, np.reshape(expected, (30, 64)), rtol=1e-6)


def test_the_utility_is_expected_over_the_probabilities():
    """A shape that is loved with probability 0.25 adds a quarter of its 3 nats; a pattern at 0.5 half of its 1.5."""
    world = ShapesWorld(1)
    shape, pattern = np.full((1, len(SHAPES)), 0.75 / 7), np.array([[0.5, 0.5, 0, 0]])
    shape[0, 2] = 0.25
    shown = Attributes({"category": shape, "pattern": pattern}, {"hue": np.array([180.0])})
    loved = {"category": (list(SHAPES)[2],), "pattern": (list(PATTERNS)[1],), "hue": ("180.0",)}
    assert world.utility_of_attributes(PlantedUsers(("u",), (loved,)), shown) == pytest.approx(0.75 + 0.75 + 2)


def test_numbers_are_read_from_the_labels():
    """Beside categories and angles, each as its kind; a space without numbers has none."""
    items = WorldItems(("a", "b"), ("A", "B"), {"kind": ("x", "y"), "turn": ("0.5", "359.5"), "height": ("0.25", "1")})
    known = known_attributes(items, AttributeSpace({"kind": ("y", "x")}, ("turn",), ("height",)))
    assert known.categories["kind"].tolist() == [[0, 1], [1, 0]]
    assert known.angles["turn"].tolist() == [0.5, 359.5]
    assert known.numbers["height"].tolist() == [0.25, 1]
    assert known.n_pictures() == 2
    assert known_attributes(items, AttributeSpace({}, ("turn",))).numbers == {}


def test_a_taste_is_told_in_words():
    """Degrees are left out, two values are an `or`, and what is no category has its name before it."""
    space = AttributeSpace({"category": ("bun", "long", "short")}, ("hue",), ("smile",))
    taste = {
        "category": ("bun", "long"),
        "hue": ("12.0",),
        "colour": ("red",),
        "smile": ("0.3",),
        "disliked": ("short",),
    }
    assert taste_in_words(taste, space) == "bun or long, red, smile 0.3, disliked short"


def test_only_worlds_whose_attributes_say_all_are_found():
    """The world of shapes is one; stickers show more than category and colour."""
    assert find_attribute_world("shapes").name == "shapes"
    with pytest.raises(
        ConfigError, match=r"'openmoji', whose pictures show more .* Take faces or landscapes or shapes"
    ):
        find_attribute_world("openmoji")


def test_people_are_taken_by_name():
    """Tastes follow the ids in the order asked for, and a stranger is refused."""
    users = ShapesWorld(1).sample_users(5, seed=0)
    taken = users.take(["sim0-00003", "sim0-00001"])
    assert taken == PlantedUsers(("sim0-00003", "sim0-00001"), (users.tastes[3], users.tastes[1]))
    with pytest.raises(DataError, match="1 of 2 users are not of this world, 'sim1-00000' first"):
        users.take(["sim0-00003", "sim1-00000"])
