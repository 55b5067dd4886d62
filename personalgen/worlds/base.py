"""Planted-taste worlds: catalogues and simulated people whose true tastes are known, behind one protocol.

A world can render its items, draw users and say what each user truly thinks of each item. Everything made of it is
marked as simulated wherever it shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from personalgen.errors import DataError

Taste = dict[str, tuple[str, ...]]
"""The attribute values that a person loves, by attribute name."""


@dataclass(frozen=True)
class WorldItems:
    """The catalogue of a world; all tuples and arrays share one order."""

    item_ids: tuple[str, ...]
    titles: tuple[str, ...]
    labels: dict[str, tuple[str, ...]]
    """Known attributes by name, for example category and colour."""


@dataclass(frozen=True)
class PlantedUsers:
    """Simulated people and their planted tastes."""

    user_ids: tuple[str, ...]
    tastes: tuple[Taste, ...]
    """Per user: what is loved; a world may add what is disliked under a name of its own."""

    def take(self, user_ids: Sequence[str]) -> "PlantedUsers":
        """Return the named people, in that order.

        Raises:
            DataError: somebody is not of this world.
        """
        of_user = dict(zip(self.user_ids, self.tastes, strict=True))
        strangers = [user_id for user_id in user_ids if user_id not in of_user]
        if strangers:
            raise DataError(
                f"{len(strangers)} of {len(user_ids)} users are not of this world, {strangers[0]!r} first: their "
                "tastes are not known. Draw people with the seed and size of the history. Nothing was measured."
            )
        return PlantedUsers(tuple(user_ids), tuple(of_user[user_id] for user_id in user_ids))


class World(Protocol):
    """What every world can do."""

    name: str
    licence: str

    def items(self) -> WorldItems:
        """Return the catalogue, always in the same order."""
        ...

    def render(self, image_px: int) -> NDArray[np.uint8]:
        """Return (n_items, image_px, image_px, 3) uint8 pictures in the order of `items`."""
        ...

    def sample_users(self, n_users: int, seed: int) -> PlantedUsers:
        """Return `n_users` people; the same seed gives the same people, another one others with other ids."""
        ...

    def true_utility(self, users: PlantedUsers) -> NDArray[np.float32]:
        """Return (n_users, n_items) true utilities, in nats of the choice model."""
        ...


def attribute_utility(users: PlantedUsers, items: WorldItems, nats: dict[str, float]) -> NDArray[np.float32]:
    """Return (n_users, n_items): the sum of `nats` over the attributes whose value the user loves."""
    total = np.zeros((len(users.user_ids), len(items.item_ids)), dtype=np.float32)
    for attribute, weight in nats.items():
        values = np.asarray(items.labels[attribute])
        loved = [np.isin(values, taste[attribute]) for taste in users.tastes]
        total += weight * np.stack(loved).astype(np.float32)
    return total
