"""Planted-taste worlds: catalogues and simulated people whose true tastes are known."""

from personalgen.errors import ConfigError
from personalgen.worlds.attributes import (
    Attributes,
    AttributeSpace,
    AttributeWorld,
    known_attributes,
    taste_in_words,
)
from personalgen.worlds.base import PlantedUsers, World, WorldItems
from personalgen.worlds.faces import FacesWorld
from personalgen.worlds.history import HistoryOptions, add_days, write_history
from personalgen.worlds.landscapes import LandscapesWorld
from personalgen.worlds.openmoji import OpenMojiWorld
from personalgen.worlds.shapes import ShapesWorld

__all__ = [
    "WORLDS",
    "AttributeSpace",
    "AttributeWorld",
    "Attributes",
    "FacesWorld",
    "HistoryOptions",
    "LandscapesWorld",
    "OpenMojiWorld",
    "PlantedUsers",
    "ShapesWorld",
    "World",
    "WorldItems",
    "add_days",
    "find_attribute_world",
    "find_world",
    "known_attributes",
    "taste_in_words",
    "write_history",
]

WORLDS: dict[str, type[World]] = {
    "faces": FacesWorld,
    "landscapes": LandscapesWorld,
    "openmoji": OpenMojiWorld,
    "shapes": ShapesWorld,
}


def find_world(name: str) -> World:
    """Return the world called `name`.

    Raises:
        ConfigError: there is none of this name.
    """
    if name not in WORLDS:
        raise ConfigError(f"world.name is {name!r}; expected one of {', '.join(sorted(WORLDS))}. Nothing was written.")
    return WORLDS[name]()


def find_attribute_world(name: str) -> AttributeWorld:
    """Return the world called `name`, whose attributes decide the true utility.

    Raises:
        ConfigError: there is none of this name, or its pictures show more than its attributes say.
    """
    world = find_world(name)
    if not isinstance(world, AttributeWorld):
        known = [other for other, kind in WORLDS.items() if hasattr(kind, "utility_of_attributes")]
        raise ConfigError(
            f"world.name is {name!r}, whose pictures show more than its attributes say: what is drawn for its people "
            f"cannot be read. Take {' or '.join(known)}. Nothing was measured."
        )
    return world
