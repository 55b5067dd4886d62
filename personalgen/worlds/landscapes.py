"""A procedural world of full-picture scenes: a ground under a sky in some weather, a horizon and a sun or moon.

Liking is no plain sum here. A loved ground is worth twice as much under the loved sky, which alone is worth nothing;
a sun at the height that somebody loves counts twice in the weather that they love. Of horizon and sun everybody loves
a height of their own, and liking falls off to both sides.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from personalgen.worlds.attributes import Attributes, AttributeSpace, FloatArray, loved_numbers, loved_values
from personalgen.worlds.base import PlantedUsers, Taste
from personalgen.worlds.drawing import Canvas, Field, box, common, disc, ellipse, union
from personalgen.worlds.drawing import spread_evenly as spread
from personalgen.worlds.drawn import DrawnWorld, one_of, one_or_two

GROUND_NATS, TOGETHER_NATS, WEATHER_NATS = 1.75, 1.75, 1.0
"""What a loved ground, a loved ground under the loved sky, and the loved weather add to a true utility."""
HORIZON_NATS, SUN_NATS = 1.75, 0.75
"""What a horizon and a sun at exactly the loved height add; the sun counts twice in the loved weather."""
HEIGHT_SPREAD = 0.2
"""Distance from a loved height at which liking it has fallen to about 0.6."""
_HORIZON_STEP, _SUN_STEP = 0.7548776662466927, 0.5698402909980532
"""The two steps that cover a square evenly. Source: M. Roberts, "The unreasonable effectiveness of quasirandom
sequences" (2018)."""


@dataclass(frozen=True)
class _Sky:
    """The colours of a time of day."""

    name: str
    """Of the colour of all of it."""
    top: tuple[float, float, float]
    low: tuple[float, float, float]
    """At the horizon."""
    sun: tuple[float, float, float]
    cloud: tuple[float, float, float]
    light: tuple[float, float, float]
    """What the ground's colours are multiplied by."""


@dataclass(frozen=True)
class _Drawing:
    """One scene of the catalogue; what nobody has an opinion on comes last."""

    ground: str
    sky: str
    weather: str
    horizon: float
    """From 0, low, to 1, half-way up."""
    sun: float
    """From 0, just above the highest horizon, to 1, at the top."""
    side: float
    """-1 or 1: the sun stands left or right, what is high on the other side."""
    place: float
    """Of the sun, from 0, towards the middle, to 1, towards the edge."""
    phase: float
    """Of waves, ridges and rain, in [0, 1)."""


class LandscapesWorld(DrawnWorld[_Drawing]):
    """Scenes without a white ground; `category` is the kind of land, `colour` the sky's."""

    name, item = "landscapes", "scene"

    def __init__(self, n_items: int = 720, *, seed: int = 0) -> None:
        super().__init__(n_items, seed=seed)

    @property
    def space(self) -> AttributeSpace:
        """Ground (as `category`), sky, weather, and the heights of horizon and sun."""
        categories = {"category": tuple(GROUNDS), "sky": tuple(SKIES), "weather": tuple(WEATHERS)}
        return AttributeSpace(categories, (), ("horizon", "sun"))

    def drawing(self, index: int, seed: int) -> _Drawing:
        """Return the drawing of an item; categories take turns, the heights follow two irrational steps."""
        side, place, phase = np.random.default_rng([seed, index]).random(3)
        turn, ground = divmod(index, len(GROUNDS))
        return _Drawing(
            ground=tuple(GROUNDS)[ground],
            sky=tuple(SKIES)[turn % len(SKIES)],
            weather=tuple(WEATHERS)[turn // len(SKIES) % len(WEATHERS)],
            horizon=spread(index + seed, _HORIZON_STEP),
            sun=spread(index + seed, _SUN_STEP),
            side=-1.0 if side < 0.5 else 1.0,
            place=float(place),
            phase=float(phase),
        )

    def labels(self, drawing: _Drawing) -> dict[str, str]:
        """Return ground, the sky's colour and time of day, weather, and both heights."""
        words = {"category": drawing.ground, "colour": SKIES[drawing.sky].name, "sky": drawing.sky}
        return words | {
            "weather": drawing.weather,
            "horizon": f"{drawing.horizon:.3f}",
            "sun": f"{drawing.sun:.3f}",
        }

    def title(self, labels: dict[str, str]) -> str:
        """Return for example "mountains, rainy evening"."""
        return f"{labels['category']}, {labels['weather']} {labels['sky']}"

    def draw(self, drawing: _Drawing, image_px: int) -> NDArray[np.uint8]:
        """Return one (image_px, image_px, 3) uint8 scene."""
        sky = SKIES[drawing.sky]
        canvas = Canvas(image_px, sky.top)
        x, edge = drawing.side * canvas.x, 0.62 - 0.6 * drawing.horizon
        fade = np.clip((canvas.y + 1) / (edge + 1), 0, 1)[..., None]
        canvas.blend(fade, sky.low)
        _paint_sun(canvas, x - 0.35 - 0.25 * drawing.place, canvas.y + 0.3 + 0.48 * drawing.sun, sky)
        WEATHERS[drawing.weather](canvas, x, sky)
        for distance, colour in GROUNDS[drawing.ground](x, canvas.y - edge, drawing.phase):
            canvas.paint(distance, np.minimum(np.multiply(colour, sky.light), 1))
        if drawing.weather == "rainy":
            _paint_rain(canvas, drawing.phase)
        return canvas.finished()

    def taste(self, rng: np.random.Generator) -> Taste:
        """Return one loved ground (60 %) or two, one sky, one weather, and two heights."""
        return {
            "category": one_or_two(rng, tuple(GROUNDS)),
            "sky": (one_of(rng, tuple(SKIES)),),
            "weather": (one_of(rng, tuple(WEATHERS)),),
            "horizon": (f"{rng.random():.2f}",),
            "sun": (f"{rng.random():.2f}",),
        }

    def utility_of_attributes(self, users: PlantedUsers, shown: Attributes) -> NDArray[np.float32]:
        """Return (n_users, n): 1.75 nats for a loved ground, as much again if under the loved sky.

        1 for the loved weather, up to 1.75 for the horizon, up to 0.75 for the sun, twice that in the loved weather.
        Categories count by their probabilities, and what needs two of them by the product: as if they were independent.
        """
        ground, sky, weather = (
            loved_values(users, name, values) @ shown.categories[name].T
            for name, values in self.space.categories.items()
        )
        horizon, sun = (
            height_liking(loved_numbers(users, n)[:, None], shown.numbers[n][None]) for n in self.space.numbers
        )
        total = ground * (GROUND_NATS + TOGETHER_NATS * sky) + WEATHER_NATS * weather
        total += HORIZON_NATS * horizon + SUN_NATS * sun * (1 + weather)
        return total.astype(np.float32)


def height_liking(loved: FloatArray, height: FloatArray) -> FloatArray:
    """Return in [0, 1] how a height is liked by who loves another: a bump of height 1."""
    liking: FloatArray = np.exp(-0.5 * ((height - loved) / HEIGHT_SPREAD) ** 2)
    return liking


def _paint_sun(canvas: Canvas, x: Field, y: Field, sky: _Sky) -> None:
    """Paint a sun with a halo, at night a crescent; `x` and `y` are from its middle."""
    canvas.paint(disc(x, y, 0.26), sky.sun, opacity=0.3)
    bite = -disc(x - 0.1, y + 0.05, 0.14) if sky is SKIES["night"] else -np.ones_like(x + y)
    canvas.paint(common(disc(x, y, 0.17), bite), sky.sun)


def _paint_clear(canvas: Canvas, x: Field, sky: _Sky) -> None:
    """Paint nothing."""


def _paint_clouds(canvas: Canvas, x: Field, sky: _Sky) -> None:
    """Paint one big and one small cloud on the side that the sun leaves free."""
    for left, top, size in ((0.45, 0.68, 1.0), (-0.1, 0.86, 0.5), (0.8, 0.3, 0.6)):
        across, down = (x + left) / size, (canvas.y + top) / size
        puffs = [
            ellipse(across - at, down - low, wide, 0.15) for at, low, wide in ((-0.2, 0.04, 0.2), (0.2, 0.04, 0.2))
        ]
        canvas.paint(size * union(*puffs, disc(across, down + 0.06, 0.19)), sky.cloud)


def _paint_gloom(canvas: Canvas, x: Field, sky: _Sky) -> None:
    """Paint a grey veil, and a dark band along the top."""
    canvas.blend(np.full((1, 1, 1), 0.35), np.multiply(0.55, sky.cloud))
    canvas.paint(canvas.y + 0.85 + 0.05 * np.cos(9 * x), np.multiply(0.4, sky.cloud))


def _paint_rain(canvas: Canvas, phase: float) -> None:
    """Paint slanted streaks over all of the picture."""
    across = (canvas.x + 0.35 * canvas.y + phase) * 4 % 1 - 0.5
    along = (canvas.y * 1.6 + 0.5 * np.floor((canvas.x + 0.35 * canvas.y + phase) * 4) + phase) % 1 - 0.5
    canvas.paint(common(np.abs(across) / 4 - 0.022, (np.abs(along) - 0.3) / 1.6), (0.85, 0.9, 1.0), opacity=0.5)


Layers = list[tuple[Field, tuple[float, float, float]]]
"""Areas from the farthest to the nearest, each with its colour by day; y is 0 at the horizon."""


def _sea(x: Field, y: Field, phase: float) -> Layers:
    waves = common(np.abs((y * 5 + 0.1 * np.sin(9 * (x + phase))) % 1 - 0.5) / 5 - 0.025, 0.06 - y)
    hull = common(ellipse(x + 0.45, y - 0.02, 0.3, 0.13), -y + 0.02)
    sail = common(((x + 0.62) * 0.41 - (y + 0.45) * 0.4) / 0.57, -(x + 0.62), y + 0.04)
    return [
        (-y + 0 * x, (0.12, 0.42, 0.72)),
        (waves, (0.45, 0.72, 0.9)),
        (hull, (0.5, 0.2, 0.12)),
        (sail, (1.0, 1.0, 0.97)),
    ]


def _hills(x: Field, y: Field, phase: float) -> Layers:
    far = -y - 0.14 * np.sin(3.2 * (x + phase) + 2) ** 2
    near = 0.28 + 0.12 * np.sin(2.6 * (x - phase)) - y
    return [(far, (0.45, 0.68, 0.28)), (near, (0.28, 0.55, 0.2))]


def _mountains(x: Field, y: Field, phase: float) -> Layers:
    def peak(middle: float, height: float) -> Field:
        return common((np.abs(x - middle) * 1.05 - (y + height)) / 1.45, y)

    big, small = peak(-0.45 + 0.1 * phase, 0.6), peak(0.42, 0.3)
    snow = common(big, y + 0.36 + 0.05 * np.cos(22 * x))
    meadow = -y + 0 * x
    return [(small, (0.62, 0.62, 0.72)), (big, (0.5, 0.5, 0.6)), (snow, (1.0, 1.0, 1.0)), (meadow, (0.36, 0.5, 0.32))]


def _dunes(x: Field, y: Field, phase: float) -> Layers:
    far = -y - 0.1 * np.abs(np.sin(2.4 * (x + phase)))
    apex = x + 0.5 * phase
    ridge = 0.16 + 0.3 * np.abs(apex) - y
    shade = common(ridge, 0.6 * (y - 0.16) - apex)
    return [(far, (0.95, 0.78, 0.45)), (ridge, (0.98, 0.85, 0.55)), (shade, (0.78, 0.56, 0.3))]


def _city(x: Field, y: Field, phase: float) -> Layers:
    towers = [(-0.85, 0.26), (-0.52, 0.5), (-0.2, 0.34), (0.12, 0.22), (0.45, 0.14), (0.8, 0.2)]
    walls = union(*(box(x - at, y - 0.1, 0.14, tall * (0.9 + 0.2 * phase) + 0.1) for at, tall in towers))
    windows = common(
        walls + 0.05, np.abs(((x + 0.85) * 6.06 + 0.5) % 1 - 0.5) / 6 - 0.04, np.abs(y * 5 % 1 - 0.5) / 5 - 0.045
    )
    street = -y + 0 * x
    return [(walls, (0.55, 0.57, 0.66)), (windows, (2.0, 1.8, 0.8)), (street, (0.34, 0.34, 0.37))]


def _forest(x: Field, y: Field, phase: float) -> Layers:
    def firs(step: float, at: float, foot: float, tall: float) -> Field:
        across = (x / step + at) % 1 - 0.5
        return common((np.abs(across * step) * tall / step * 2.1 - (y - foot + tall)) / 2, y - foot)

    row = -y + 0 * x
    return [
        (firs(0.26, phase, 0.02, 0.3), (0.1, 0.32, 0.2)),
        (row, (0.2, 0.42, 0.2)),
        (firs(0.5, phase / 2, 0.5, 0.5), (0.06, 0.25, 0.14)),
    ]


GROUNDS: dict[str, Callable[[Field, Field, float], Layers]] = {
    "sea": _sea,
    "hills": _hills,
    "mountains": _mountains,
    "dunes": _dunes,
    "city": _city,
    "forest": _forest,
}
SKIES = {
    "dawn": _Sky("pink", (0.62, 0.55, 0.85), (1.0, 0.78, 0.8), (1.0, 0.97, 0.8), (1.0, 0.9, 0.93), (0.85, 0.75, 0.82)),
    "day": _Sky("blue", (0.2, 0.52, 0.95), (0.72, 0.9, 1.0), (1.0, 0.93, 0.35), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    "evening": _Sky(
        "orange", (0.5, 0.16, 0.35), (1.0, 0.55, 0.15), (1.0, 0.85, 0.3), (0.85, 0.5, 0.5), (0.68, 0.45, 0.45)
    ),
    "night": _Sky(
        "navy", (0.02, 0.03, 0.15), (0.13, 0.17, 0.38), (0.95, 0.95, 0.85), (0.35, 0.38, 0.55), (0.45, 0.5, 0.7)
    ),
}
WEATHERS: dict[str, Callable[[Canvas, Field, _Sky], None]] = {
    "clear": _paint_clear,
    "cloudy": _paint_clouds,
    "rainy": _paint_gloom,
}
