import numpy as np
import pytest

from personalgen.errors import ConfigError
from personalgen.worlds import OpenMojiWorld, PlantedUsers, WorldItems, find_world
from personalgen.worlds.base import attribute_utility


def test_worlds_are_found_by_name():
    """The name in a config picks the world."""
    assert isinstance(find_world("openmoji"), OpenMojiWorld)
    assert find_world("shapes").name == "shapes"


@pytest.mark.parametrize("name", ["", "OpenMoji", "atlantis"])
def test_an_unknown_world_is_refused(name):
    """The message lists the worlds there are and says that nothing was written."""
    with pytest.raises(
        ConfigError, match=f"world.name is '{name}'; expected one of faces, landscapes, openmoji, shapes.*Nothing was"
    ):
        find_world(name)


def test_utility_is_the_sum_of_what_is_loved():
    """Each attribute adds its nats where the item's value is one that the user loves, and nothing elsewhere."""
    items = WorldItems(("a", "b", "c"), ("", "", ""), {"kind": ("x", "y", "x"), "colour": ("red", "red", "blue")})
    users = PlantedUsers(("u", "v"), ({"kind": ("x",), "colour": ("red",)}, {"kind": ("x", "y"), "colour": ("green",)}))
    utility = attribute_utility(users, items, {"kind": 3.0, "colour": 1.0})
    assert utility.dtype == np.float32
    assert utility.tolist() == [[4, 1, 3], [3, 3, 3]]
