"""Planted-taste worlds: catalogues and simulated people whose true tastes are known."""

from personalgen.worlds.base import PlantedUsers, World, WorldItems
from personalgen.worlds.history import HistoryOptions, add_days, write_history
from personalgen.worlds.openmoji import OpenMojiWorld

__all__ = ["HistoryOptions", "OpenMojiWorld", "PlantedUsers", "World", "WorldItems", "add_days", "write_history"]
