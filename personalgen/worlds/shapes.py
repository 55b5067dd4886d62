"""A procedural world for tests and proofs: one shape in one hue with one pattern, and people who love some of each.

Shape and pattern are categories, the hue is continuous: liking it falls off with the angle between two hues. Pictures
are drawn by numpy from signed distances, which gives smooth edges at any size; nothing is downloaded or installed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from personalgen.errors import ConfigError
from personalgen.worlds.attributes import Attributes, AttributeSpace, known_attributes, loved_values
from personalgen.worlds.base import PlantedUsers, WorldItems

SHAPE_NATS, HUE_NATS, PATTERN_NATS = 3.0, 2.0, 1.5
"""What a loved shape, exactly the loved hue and a loved pattern add to a true utility."""
HUE_SPREAD_DEGREES = 40.0
"""Distance from the loved hue at which liking it has fallen to about 0.6 of its height."""
_GOLDEN = 0.6180339887498949
_COLOURS = ("red", "yellow", "green", "cyan", "blue", "magenta")
_PERIOD = 0.5
_FRESH_STEP = 1_000_003
"""Distance between the seeds of a world and of fresh ones: no item has the random numbers, or the hue, of another."""

Field = NDArray[np.float64]
Distance = Callable[[Field, Field], Field]
"""From x and y in units of the shape's radius to the signed distance from an edge, negative inside."""


@dataclass(frozen=True)
class _Drawing:
    """One picture of the catalogue."""

    shape: str
    pattern: str
    hue: float
    """Degrees in [0, 360)."""
    scale: float
    """Radius, where the picture reaches from -1 to 1."""
    turn: float
    """Radians."""
    centre: tuple[float, float]


class ShapesWorld:
    """`n_items` pictures that cover shapes, patterns and hues evenly."""

    name = "shapes"
    licence = "Pictures, users and events: simulated by personalgen, Apache-2.0."

    def __init__(self, n_items: int = 512, *, seed: int = 0) -> None:
        if n_items < 1:
            raise ConfigError(f"the world of shapes needs at least 1 item, found {n_items}. Nothing was written.")
        self._n_items = n_items
        self._seed = seed

    @cached_property
    def _drawings(self) -> list[_Drawing]:
        return [_drawing(index, self._seed) for index in range(self._n_items)]

    @cached_property
    def _items(self) -> WorldItems:
        drawings = self._drawings
        colours = tuple(hue_name(one.hue) for one in drawings)
        return WorldItems(
            item_ids=tuple(f"shape-{index:05d}" for index in range(self._n_items)),
            titles=tuple(f"{c} {d.pattern} {d.shape}".capitalize() for c, d in zip(colours, drawings, strict=True)),
            labels={
                "category": tuple(one.shape for one in drawings),
                "colour": colours,
                "pattern": tuple(one.pattern for one in drawings),
                "hue": tuple(f"{one.hue:.1f}" for one in drawings),
            },
        )

    def items(self) -> WorldItems:
        """Return the catalogue; `category` is the shape, `hue` is in degrees, `colour` its nearest name."""
        return self._items

    def render(self, image_px: int) -> NDArray[np.uint8]:
        """Return (n_items, image_px, image_px, 3) uint8 shapes on white, with smooth edges."""
        return np.stack([_draw(one, image_px) for one in self._drawings])

    def sample_users(self, n_users: int, seed: int) -> PlantedUsers:
        """Return people who love one shape (60 %) or two, one hue and one pattern."""
        rng = np.random.default_rng([self._seed, seed, 1])
        tastes = []
        for _ in range(n_users):
            shapes = rng.choice(list(SHAPES), size=1 + int(rng.random() < 0.4), replace=False)
            hue, pattern = rng.uniform(0, 360), rng.choice(list(PATTERNS))
            tastes.append(
                {
                    "category": tuple(sorted(map(str, shapes))),
                    "hue": (f"{hue:.1f}",),
                    "colour": (hue_name(hue),),
                    "pattern": (str(pattern),),
                }
            )
        return PlantedUsers(tuple(f"sim{seed}-{index:05d}" for index in range(n_users)), tuple(tastes))

    @property
    def space(self) -> AttributeSpace:
        """Shape (as `category`), pattern and hue."""
        return AttributeSpace({"category": tuple(SHAPES), "pattern": tuple(PATTERNS)}, ("hue",))

    def fresh(self, n_items: int, seed: int) -> "ShapesWorld":
        """Return a world of `n_items` other pictures for any `seed` from 0.

        Raises:
            ConfigError: the seed is negative, which could give this world's own pictures.
        """
        if seed < 0:
            raise ConfigError(f"fresh pictures need a seed of at least 0, found {seed}. Nothing was drawn.")
        return ShapesWorld(n_items, seed=self._seed + _FRESH_STEP * (seed + 1))

    def true_utility(self, users: PlantedUsers) -> NDArray[np.float32]:
        """Return (n_users, n_items): 3 nats for a loved shape, 1.5 for the loved pattern, up to 2 for the hue."""
        return self.utility_of_attributes(users, known_attributes(self._items, self.space))

    def utility_of_attributes(self, users: PlantedUsers, shown: Attributes) -> NDArray[np.float32]:
        """Return (n_users, n): the nats of `true_utility`, those of shape and pattern times their probabilities."""
        nats = {"category": SHAPE_NATS, "pattern": PATTERN_NATS}
        by_name = np.zeros((len(users.user_ids), len(shown.angles["hue"])))
        for name, values in self.space.categories.items():
            by_name += nats[name] * loved_values(users, name, values) @ shown.categories[name].T
        loved = np.array([float(taste["hue"][0]) for taste in users.tastes])
        return (by_name + HUE_NATS * hue_liking(loved[:, None], shown.angles["hue"][None])).astype(np.float32)


def hue_liking(loved: NDArray[np.float64], hue: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return in [0, 1] how a hue is liked by who loves another, both in degrees: a von Mises bump of height 1."""
    concentration = 1 / np.radians(HUE_SPREAD_DEGREES) ** 2
    liking: NDArray[np.float64] = np.exp(concentration * (np.cos(np.radians(hue - loved)) - 1))
    return liking


def hue_name(hue: float) -> str:
    """Return the nearest of six colour names to a hue in degrees."""
    return _COLOURS[round(hue / 60) % len(_COLOURS)]


def _drawing(index: int, seed: int) -> _Drawing:
    """Return the drawing of an item; shapes and patterns take turns, hues follow the golden ratio."""
    rng = np.random.default_rng([seed, index])
    shapes, patterns = list(SHAPES), list(PATTERNS)
    return _Drawing(
        shape=shapes[index % len(shapes)],
        pattern=patterns[index // len(shapes) % len(patterns)],
        hue=360 * ((index + seed) * _GOLDEN % 1),
        scale=float(rng.uniform(0.65, 0.85)),
        turn=float(np.radians(rng.uniform(-12, 12))),
        centre=(float(rng.uniform(-0.1, 0.1)), float(rng.uniform(-0.1, 0.1))),
    )


def _draw(drawing: _Drawing, image_px: int) -> NDArray[np.uint8]:
    """Return one (image_px, image_px, 3) uint8 picture on white."""
    axis = (np.arange(image_px) + 0.5) * 2 / image_px - 1
    x, y = axis[None] - drawing.centre[0], axis[:, None] - drawing.centre[1]
    cos, sin = np.cos(drawing.turn) / drawing.scale, np.sin(drawing.turn) / drawing.scale
    x, y = x * cos + y * sin, y * cos - x * sin
    pixel = 2 / image_px / drawing.scale
    inside, marked = (_coverage(d(x, y), pixel)[..., None] for d in (SHAPES[drawing.shape], PATTERNS[drawing.pattern]))
    ink, tint = _rgb(drawing.hue, saturation=0.9, value=0.85), _rgb(drawing.hue, saturation=0.3, value=1.0)
    picture = 1 + inside * (ink + marked * (tint - ink) - 1)
    return np.round(255 * picture).astype(np.uint8)


def _coverage(distance: Field, pixel: float) -> Field:
    """Return which share of each pixel lies inside, from the signed distance of its centre."""
    return np.clip(0.5 - distance / pixel, 0, 1)


def _rgb(hue: float, *, saturation: float, value: float) -> NDArray[np.float64]:
    """Return RGB in [0, 1] of a colour in HSV. Source: A. R. Smith, "Color gamut transform pairs" (1978)."""
    k = (np.array([5, 3, 1]) + hue / 60) % 6
    return value * (1 - saturation * np.clip(np.minimum(k, 4 - k), 0, 1))


def _box(x: Field, y: Field, width: float, height: float) -> Field:
    return np.maximum(np.abs(x) - width, np.abs(y) - height)


def _star(x: Field, y: Field) -> Field:
    """Return the distance from five spikes: folded into half a spike, one straight edge is left."""
    radius, half = np.hypot(x, y), np.pi / 5
    angle = np.abs((np.arctan2(x, -y) + half) % (2 * half) - half)
    tip, dent = np.array([1.05, 0.0]), 0.45 * np.array([np.cos(half), np.sin(half)])
    edge = dent - tip
    along, across = radius * np.cos(angle) - tip[0], radius * np.sin(angle)
    distance: Field = (along * edge[1] - across * edge[0]) / np.hypot(*edge)
    return distance


def _repeated(x: Field) -> Field:
    """Return the coordinate within its period, centred."""
    return (x + _PERIOD / 2) % _PERIOD - _PERIOD / 2


def _stripe(x: Field) -> Field:
    """Return the distance from stripes of half a period."""
    return np.abs(_repeated(x)) - _PERIOD / 4


def _checks(x: Field, y: Field) -> Field:
    left, right = _stripe(x), _stripe(y)
    return np.minimum(np.abs(left), np.abs(right)) * np.sign(left * right)


SHAPES: dict[str, Distance] = {
    "circle": lambda x, y: np.hypot(x, y) - 0.95,
    "square": lambda x, y: _box(x, y, 0.82, 0.82),
    "triangle": lambda x, y: np.maximum(np.abs(x) * np.sqrt(0.75) - (y + 0.1) * 0.5, y + 0.1) - 0.5,
    "star": _star,
    "ring": lambda x, y: np.abs(np.hypot(x, y) - 0.68) - 0.27,
    "cross": lambda x, y: np.minimum(_box(x, y, 0.95, 0.33), _box(x, y, 0.33, 0.95)),
    "moon": lambda x, y: np.maximum(np.hypot(x, y) - 0.95, 0.8 - np.hypot(x - 0.5, y)),
    "bar": lambda x, y: _box(x, y, 1.0, 0.36),
}
PATTERNS: dict[str, Distance] = {
    "plain": lambda x, y: np.ones_like(x + y),
    "striped": lambda x, y: _stripe(x + 0 * y),
    "dotted": lambda x, y: np.hypot(_repeated(x), _repeated(y)) - 0.3 * _PERIOD,
    "checked": _checks,
}
