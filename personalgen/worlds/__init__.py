"""Planted-taste worlds: catalogues and simulated people whose true tastes are known."""

from personalgen.errors import ConfigError
from personalgen.worlds.base import PlantedUsers, World, WorldItems
from personalgen.worlds.history import HistoryOptions, add_days, write_history
from personalgen.worlds.openmoji import OpenMojiWorld
from personalgen.worlds.shapes import ShapesWorld

__all__ = [
    "WORLDS",
    "HistoryOptions",
    "OpenMojiWorld",
    "PlantedUsers",
    "ShapesWorld",
    "World",
    "WorldItems",
    "add_days",
    "find_world",
    "write_history",
]

WORLDS: dict[str, type[World]] = {"openmoji": OpenMojiWorld, "shapes": ShapesWorld}


def find_world(name: str) -> World:
    """Return the world called `name`.

    Raises:
        ConfigError: there is none of this name.
    """
    if name not in WORLDS:
        raise ConfigError(f"world.name is {name!r}; expected one of {', '.join(sorted(WORLDS))}. Nothing was written.")
    return WORLDS[name]()
