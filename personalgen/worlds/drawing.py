"""What the procedural worlds draw with: colours, distances and a canvas that takes one painted area over another.

An area is a signed distance, negative inside, on the coordinates of the canvas. How much of a pixel it covers follows
from the distance of the pixel's centre, so edges are smooth at any size, and nothing is downloaded or installed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float64]
Distance = Callable[[Field, Field], Field]
"""From x and y in units of the shape's radius to the signed distance from an edge, negative inside."""
Colour = tuple[float, float, float] | Field
"""Red, green and blue in [0, 1]: one colour, or (R, R, 3) one for each pixel."""

_GOLDEN = 0.6180339887498949
_COLOURS = ("red", "yellow", "green", "cyan", "blue", "magenta")


@dataclass(frozen=True)
class Pose:
    """Where a drawing stands on its canvas, which reaches from -1 to 1."""

    scale: float = 1.0
    """Length of the drawing's unit."""
    turn: float = 0.0
    """Radians."""
    centre: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def drawn(cls, rng: np.random.Generator, *, scale: tuple[float, float], degrees: float, shift: float) -> Self:
        """Return a pose whose scale, turn and centre are uniform within these bounds."""
        return cls(
            scale=float(rng.uniform(*scale)),
            turn=float(np.radians(rng.uniform(-degrees, degrees))),
            centre=(float(rng.uniform(-shift, shift)), float(rng.uniform(-shift, shift))),
        )


class Canvas:
    """A square picture in the making; `x` and `y` grow to the right and down, in the units of its pose."""

    def __init__(self, image_px: int, background: Colour, pose: Pose | None = None) -> None:
        pose = pose or Pose()
        axis = (np.arange(image_px) + 0.5) * 2 / image_px - 1
        x, y = axis[None] - pose.centre[0], axis[:, None] - pose.centre[1]
        cos, sin = np.cos(pose.turn) / pose.scale, np.sin(pose.turn) / pose.scale
        self.x, self.y = x * cos + y * sin, y * cos - x * sin
        self._pixel = 2 / image_px / pose.scale
        self._picture = np.ones((image_px, image_px, 3)) * np.asarray(background)

    def coverage(self, distance: Field) -> Field:
        """Return which share of each pixel lies inside, from the signed distance of its centre."""
        return np.clip(0.5 - distance / self._pixel, 0, 1)

    def paint(self, distance: Field, colour: Colour, *, opacity: float = 1.0) -> None:
        """Paint what is inside over what is there."""
        self.blend(opacity * self.coverage(distance)[..., None], colour)

    def blend(self, share: Field, colour: Colour) -> None:
        """Paint over what is there; `share` is (R, R, 1), which part of each pixel."""
        self._picture += share * (np.asarray(colour) - self._picture)

    def tint(self, light: Colour) -> None:
        """Multiply all that is there by the colour of a light."""
        self._picture *= np.asarray(light)

    def finished(self) -> NDArray[np.uint8]:
        """Return (image_px, image_px, 3) uint8."""
        return np.asarray(np.round(255 * self._picture), dtype=np.uint8)


def spread_evenly(index: int, step: float = _GOLDEN) -> float:
    """Return the `index`-th of values that cover [0, 1) evenly, however many are taken; the step is irrational."""
    return index * step % 1


def hue_rgb(hue: float, *, saturation: float, value: float) -> Field:
    """Return RGB in [0, 1] of a colour in HSV. Source: A. R. Smith, "Color gamut transform pairs" (1978)."""
    k = (np.array([5, 3, 1]) + hue / 60) % 6
    return value * (1 - saturation * np.clip(np.minimum(k, 4 - k), 0, 1))


def hue_name(hue: float) -> str:
    """Return the nearest of six colour names to a hue in degrees."""
    return _COLOURS[round(hue / 60) % len(_COLOURS)]


def box(x: Field, y: Field, width: float, height: float) -> Field:
    """Return the distance from a rectangle of these half-widths."""
    return np.maximum(np.abs(x) - width, np.abs(y) - height)


def disc(x: Field, y: Field, radius: float) -> Field:
    """Return the distance from a circle."""
    return np.hypot(x, y) - radius


def ellipse(x: Field, y: Field, width: float, height: float) -> Field:
    """Return about the distance from an ellipse of these half-axes: exact to first order at the edge."""
    level, slope = np.hypot(x / width, y / height), np.hypot(x / width**2, y / height**2)
    distance: Field = level * (level - 1) / np.maximum(slope, 1e-9)
    return distance


def union(*distances: Field) -> Field:
    """Return the distance from all areas together."""
    nearest: Field = np.minimum.reduce(np.broadcast_arrays(*distances))
    return nearest


def common(*distances: Field) -> Field:
    """Return the distance from what lies in every area."""
    farthest: Field = np.maximum.reduce(np.broadcast_arrays(*distances))
    return farthest
