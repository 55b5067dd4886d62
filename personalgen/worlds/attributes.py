"""What pictures show, where a world's attributes say all of it: categories, angles and numbers.

What is known of a world's own items and what a net reads in any picture have one form, so one formula of the world
gives the true utility of both. A category is a row of probabilities, and a utility is expected over them as if they
were independent of those of other categories; an angle or a number is a single value, taken as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from personalgen.worlds.base import PlantedUsers, Taste, World, WorldItems

FloatArray = NDArray[np.float64]

HUE_SPREAD_DEGREES = 40.0
"""Distance from a loved hue at which liking it has fallen to about 0.6 of its height."""


@dataclass(frozen=True)
class AttributeSpace:
    """Which attributes the items of a world have."""

    categories: Mapping[str, tuple[str, ...]]
    """The values of each attribute that is one of several."""
    angles: tuple[str, ...]
    """Attributes in degrees, on which 359 is next to 1."""
    numbers: tuple[str, ...] = ()
    """Attributes in [0, 1], whose ends are apart."""


@dataclass(frozen=True)
class Attributes:
    """What n pictures show."""

    categories: Mapping[str, FloatArray]
    """(n, n_values) probabilities of each attribute's values, in the order of the space; one-hot where it is known."""
    angles: Mapping[str, FloatArray]
    """(n,) degrees in [0, 360)."""
    numbers: Mapping[str, FloatArray] = field(default_factory=dict)
    """(n,) values in [0, 1]."""

    def n_pictures(self) -> int:
        """Return how many pictures this says something of."""
        return len(next(iter([*self.categories.values(), *self.angles.values(), *self.numbers.values()])))


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
        *(
            {name: np.array(items.labels[name], dtype=np.float64) for name in names}
            for names in (space.angles, space.numbers)
        ),
    )


def loved_values(users: PlantedUsers, name: str, values: tuple[str, ...]) -> FloatArray:
    """Return (n_users, n_values): 1 where the user loves the value of the attribute `name`, else 0."""
    return np.array([[value in taste[name] for value in values] for taste in users.tastes], dtype=np.float64)


def loved_numbers(users: PlantedUsers, name: str) -> FloatArray:
    """Return (n_users,) the degrees or the number that each user loves."""
    return np.array([float(taste[name][0]) for taste in users.tastes])


def hue_liking(loved: FloatArray, hue: FloatArray) -> FloatArray:
    """Return in [0, 1] how a hue is liked by who loves another, both in degrees: a von Mises bump of height 1."""
    concentration = 1 / np.radians(HUE_SPREAD_DEGREES) ** 2
    liking: FloatArray = np.exp(concentration * (np.cos(np.radians(hue - loved)) - 1))
    return liking


def taste_in_words(taste: Taste, space: AttributeSpace) -> str:
    """Return what a person loves, for captions: degrees are left out, and a bare number has its attribute's name."""
    named = {name: " or ".join(values) for name, values in taste.items() if name not in space.angles}
    plain = {*space.categories, "colour"}
    return ", ".join(words if name in plain else f"{name} {words}" for name, words in named.items())


def _is_one_of(labels: tuple[str, ...], values: tuple[str, ...]) -> FloatArray:
    return np.asarray(np.asarray(labels)[:, None] == np.asarray(values), dtype=np.float64)
