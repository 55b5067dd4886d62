"""What pictures show, where a world's attributes say all of it: categories as probabilities, angles in degrees.

What is known of a world's own items and what a net reads in any picture have one form, so one formula of the world
gives the true utility of both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from personalgen.worlds.base import PlantedUsers, World, WorldItems

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class AttributeSpace:
    """Which attributes the items of a world have."""

    categories: Mapping[str, tuple[str, ...]]
    """The values of each attribute that is one of several."""
    angles: tuple[str, ...]
    """Attributes in degrees, on which 359 is next to 1."""


@dataclass(frozen=True)
class Attributes:
    """What n pictures show."""

    categories: Mapping[str, FloatArray]
    """(n, n_values) probabilities of each attribute's values, in the order of the space; one-hot where it is known."""
    angles: Mapping[str, FloatArray]
    """(n,) degrees in [0, 360)."""


@runtime_checkable
class AttributeWorld(World, Protocol):
    """A world whose attributes decide the true utility, and which can draw as many other pictures as one likes."""

    @property
    def space(self) -> AttributeSpace:
        """The attributes of every picture of this kind of world."""
        ...

    def fresh(self, n_items: int, seed: int) -> Self:
        """Return a world of this kind with pictures that this one does not have; other seeds give still others."""
        ...

    def utility_of_attributes(self, users: PlantedUsers, shown: Attributes) -> NDArray[np.float32]:
        """Return (n_users, n) true utilities of pictures that show this, expected over the probabilities, in nats."""
        ...


def known_attributes(items: WorldItems, space: AttributeSpace) -> Attributes:
    """Return what a world's own items show, from their labels."""
    return Attributes(
        {name: _is_one_of(items.labels[name], values) for name, values in space.categories.items()},
        {name: np.array([float(label) for label in items.labels[name]]) for name in space.angles},
    )


def loved_values(users: PlantedUsers, name: str, values: tuple[str, ...]) -> FloatArray:
    """Return (n_users, n_values): 1 where the user loves the value of the attribute `name`, else 0."""
    return np.array([[value in taste[name] for value in values] for taste in users.tastes], dtype=np.float64)


def _is_one_of(labels: tuple[str, ...], values: tuple[str, ...]) -> FloatArray:
    return np.asarray(np.asarray(labels)[:, None] == np.asarray(values), dtype=np.float64)
