"""What all procedural worlds have in common: drawings by index and seed, people by seed, and as many fresh pictures."""

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from personalgen.errors import ConfigError
from personalgen.worlds.attributes import Attributes, AttributeSpace, known_attributes
from personalgen.worlds.base import PlantedUsers, Taste, WorldItems

_FRESH_STEP = 1_000_003
"""Distance between the seeds of a world and of fresh ones: no item has the random numbers, or the hue, of another."""

DrawingT = TypeVar("DrawingT")
"""What one picture shows, in the world's own words."""


class DrawnWorld(ABC, Generic[DrawingT]):
    """`n_items` pictures that cover the attributes evenly; a larger world of the same seed begins with the smaller."""

    name: str
    item: str
    """What one of them is called in ids."""
    licence = "Pictures, users and events: simulated by personalgen, Apache-2.0."

    def __init__(self, n_items: int, *, seed: int = 0) -> None:
        if n_items < 1:
            raise ConfigError(f"the world of {self.name} needs at least 1 item, found {n_items}. Nothing was written.")
        self._n_items = n_items
        self._seed = seed

    @property
    @abstractmethod
    def space(self) -> AttributeSpace:
        """The attributes of every picture; the first is `category`."""

    @abstractmethod
    def drawing(self, index: int, seed: int) -> DrawingT:
        """Return what the picture at a position of the world of this seed shows."""

    @abstractmethod
    def labels(self, drawing: DrawingT) -> dict[str, str]:
        """Return the texts of all attributes, and `category` and `colour`, in the same order for every drawing."""

    @abstractmethod
    def title(self, labels: dict[str, str]) -> str:
        """Return what a picture of these labels is called."""

    @abstractmethod
    def draw(self, drawing: DrawingT, image_px: int) -> NDArray[np.uint8]:
        """Return one (image_px, image_px, 3) uint8 picture."""

    @abstractmethod
    def taste(self, rng: np.random.Generator) -> Taste:
        """Return what one person loves."""

    @abstractmethod
    def utility_of_attributes(self, users: PlantedUsers, shown: Attributes) -> NDArray[np.float32]:
        """Return (n_users, n) true utilities, in nats."""

    @cached_property
    def _drawings(self) -> list[DrawingT]:
        return [self.drawing(index, self._seed) for index in range(self._n_items)]

    @cached_property
    def _items(self) -> WorldItems:
        labels = [self.labels(one) for one in self._drawings]
        return WorldItems(
            item_ids=tuple(f"{self.item}-{index:05d}" for index in range(self._n_items)),
            titles=tuple(self.title(one).capitalize() for one in labels),
            labels={name: tuple(one[name] for one in labels) for name in labels[0]},
        )

    def items(self) -> WorldItems:
        """Return the catalogue; its labels say all attributes."""
        return self._items

    def render(self, image_px: int) -> NDArray[np.uint8]:
        """Return (n_items, image_px, image_px, 3) uint8 pictures with smooth edges."""
        return np.stack([self.draw(one, image_px) for one in self._drawings])

    def sample_users(self, n_users: int, seed: int) -> PlantedUsers:
        """Return people, each with a taste of their own."""
        rng = np.random.default_rng([self._seed, seed, 1])
        tastes = tuple(self.taste(rng) for _ in range(n_users))
        return PlantedUsers(tuple(f"sim{seed}-{index:05d}" for index in range(n_users)), tastes)

    def fresh(self, n_items: int, seed: int) -> Self:
        """Return a world of `n_items` other pictures for any `seed` from 0.

        Raises:
            ConfigError: the seed is negative, which could give this world's own pictures.
        """
        if seed < 0:
            raise ConfigError(f"fresh pictures need a seed of at least 0, found {seed}. Nothing was drawn.")
        return type(self)(n_items, seed=self._seed + _FRESH_STEP * (seed + 1))

    def true_utility(self, users: PlantedUsers) -> NDArray[np.float32]:
        """Return (n_users, n_items) true utilities of what the labels say."""
        return self.utility_of_attributes(users, known_attributes(self._items, self.space))


def one_or_two(rng: np.random.Generator, values: tuple[str, ...]) -> tuple[str, ...]:
    """Return one of the values (60 %) or two, in alphabetical order."""
    return tuple(sorted(map(str, rng.choice(values, size=1 + int(rng.random() < 0.4), replace=False))))


def one_of(rng: np.random.Generator, values: tuple[str, ...]) -> str:
    """Return one of the values, all equally likely."""
    return str(rng.choice(values))
