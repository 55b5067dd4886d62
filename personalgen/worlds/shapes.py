"""A procedural world for tests and proofs: one shape in one hue with one pattern, and people who love some of each.

Shape and pattern are categories, the hue is continuous: liking it falls off with the angle between two hues. Pictures
are drawn by numpy from signed distances, which gives smooth edges at any size; nothing is downloaded or installed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from personalgen.worlds.attributes import Attributes, AttributeSpace, hue_liking, loved_numbers, loved_values
from personalgen.worlds.base import PlantedUsers, Taste
from personalgen.worlds.drawing import (
    Canvas,
    Distance,
    Field,
    Pose,
    box,
    disc,
    hue_name,
    hue_rgb,
    spread_evenly,
)
from personalgen.worlds.drawn import DrawnWorld, one_of, one_or_two

SHAPE_NATS, HUE_NATS, PATTERN_NATS = 3.0, 2.0, 1.5
"""What a loved shape, exactly the loved hue and a loved pattern add to a true utility."""
_PERIOD = 0.5


@dataclass(frozen=True)
class _Drawing:
    """One picture of the catalogue."""

    shape: str
    pattern: str
    hue: float
    """Degrees in [0, 360)."""
    pose: Pose


class ShapesWorld(DrawnWorld[_Drawing]):
    """Shapes on white; `category` is the shape, `hue` is in degrees, `colour` its nearest name."""

    name, item = "shapes", "shape"

    def __init__(self, n_items: int = 512, *, seed: int = 0) -> None:
        super().__init__(n_items, seed=seed)

    @property
    def space(self) -> AttributeSpace:
        """Shape (as `category`), pattern and hue."""
        return AttributeSpace({"category": tuple(SHAPES), "pattern": tuple(PATTERNS)}, ("hue",))

    def drawing(self, index: int, seed: int) -> _Drawing:
        """Return the drawing of an item; shapes and patterns take turns, hues follow the golden ratio."""
        shapes, patterns = tuple(SHAPES), tuple(PATTERNS)
        return _Drawing(
            shape=shapes[index % len(shapes)],
            pattern=patterns[index // len(shapes) % len(patterns)],
            hue=360 * spread_evenly(index + seed),
            pose=Pose.drawn(np.random.default_rng([seed, index]), scale=(0.65, 0.85), degrees=12, shift=0.1),
        )

    def labels(self, drawing: _Drawing) -> dict[str, str]:
        """Return shape, colour, pattern and hue."""
        colour, hue = hue_name(drawing.hue), f"{drawing.hue:.1f}"
        return {"category": drawing.shape, "colour": colour, "pattern": drawing.pattern, "hue": hue}

    def title(self, labels: dict[str, str]) -> str:
        """Return for example "red striped square"."""
        return f"{labels['colour']} {labels['pattern']} {labels['category']}"

    def draw(self, drawing: _Drawing, image_px: int) -> NDArray[np.uint8]:
        """Return one (image_px, image_px, 3) uint8 shape on white."""
        canvas = Canvas(image_px, (1.0, 1.0, 1.0), drawing.pose)
        x, y = canvas.x, canvas.y
        inside, marked = (
            canvas.coverage(d(x, y))[..., None] for d in (SHAPES[drawing.shape], PATTERNS[drawing.pattern])
        )
        ink, tint = (hue_rgb(drawing.hue, saturation=s, value=v) for s, v in ((0.9, 0.85), (0.3, 1.0)))
        canvas.blend(inside, ink + marked * (tint - ink))
        return canvas.finished()

    def taste(self, rng: np.random.Generator) -> Taste:
        """Return one loved shape (60 %) or two, one hue and one pattern."""
        shapes = one_or_two(rng, tuple(SHAPES))
        hue, pattern = rng.uniform(0, 360), one_of(rng, tuple(PATTERNS))
        return {"category": shapes, "hue": (f"{hue:.1f}",), "colour": (hue_name(hue),), "pattern": (pattern,)}

    def utility_of_attributes(self, users: PlantedUsers, shown: Attributes) -> NDArray[np.float32]:
        """Return (n_users, n): 3 nats for a loved shape, 1.5 for the loved pattern, up to 2 for the hue.

        Those of shape and pattern are times their probabilities.
        """
        nats = {"category": SHAPE_NATS, "pattern": PATTERN_NATS}
        by_name = np.zeros((len(users.user_ids), len(shown.angles["hue"])))
        for name, values in self.space.categories.items():
            by_name += nats[name] * loved_values(users, name, values) @ shown.categories[name].T
        hue = hue_liking(loved_numbers(users, "hue")[:, None], shown.angles["hue"][None])
        return (by_name + HUE_NATS * hue).astype(np.float32)


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
    "circle": lambda x, y: disc(x, y, 0.95),
    "square": lambda x, y: box(x, y, 0.82, 0.82),
    "triangle": lambda x, y: np.maximum(np.abs(x) * np.sqrt(0.75) - (y + 0.1) * 0.5, y + 0.1) - 0.5,
    "star": _star,
    "ring": lambda x, y: np.abs(np.hypot(x, y) - 0.68) - 0.27,
    "cross": lambda x, y: np.minimum(box(x, y, 0.95, 0.33), box(x, y, 0.33, 0.95)),
    "moon": lambda x, y: np.maximum(np.hypot(x, y) - 0.95, 0.8 - np.hypot(x - 0.5, y)),
    "bar": lambda x, y: box(x, y, 1.0, 0.36),
}
PATTERNS: dict[str, Distance] = {
    "plain": lambda x, y: np.ones_like(x + y),
    "striped": lambda x, y: _stripe(x + 0 * y),
    "dotted": lambda x, y: np.hypot(_repeated(x), _repeated(y)) - 0.3 * _PERIOD,
    "checked": _checks,
}
