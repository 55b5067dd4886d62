"""A procedural world of cartoon portraits: hair, eyewear, a mouth between sad and cheerful, and a coloured wall behind.

Its people differ from those of the shapes in two ways. Each dislikes one hair style, which takes from a utility, so
a dislike tells more than the absence of love. And of the mouth nobody loves a value of their own: more is always
better for who loves cheerful people, and less for who loves sad ones.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from personalgen.worlds.attributes import Attributes, AttributeSpace, hue_liking, loved_numbers, loved_values
from personalgen.worlds.base import PlantedUsers, Taste
from personalgen.worlds.drawing import Canvas, Field, Pose, box, common, disc, ellipse, hue_name, hue_rgb, union
from personalgen.worlds.drawing import spread_evenly as spread
from personalgen.worlds.drawn import DrawnWorld, one_of, one_or_two

STYLE_NATS, DISLIKED_NATS = 2.5, -1.5
"""What a loved and the disliked hair style add to a true utility."""
HAIR_NATS, EYEWEAR_NATS, SMILE_NATS, HUE_NATS = 1.25, 1.0, 1.5, 1.5
"""What the loved hair colour, the loved eyewear, the mouth most to one's mind and exactly the loved hue add."""
MOODS = ("cheerful", "sad")
_SMILE_STEP = 0.4142135623730951
_INK = (0.16, 0.13, 0.15)
_LIGHT_SKIN, _DARK_SKIN = np.array([1.0, 0.87, 0.75]), np.array([0.68, 0.46, 0.32])
_MOUTH = (0.45, 0.08, 0.1)


@dataclass(frozen=True)
class _Drawing:
    """One portrait of the catalogue; what nobody has an opinion on comes last."""

    style: str
    hair: str
    eyewear: str
    hue: float
    """Degrees in [0, 360)."""
    smile: float
    """From 0, corners down, to 1, corners up."""
    pose: Pose
    skin: float
    """From 0, light, to 1, dark."""
    shirt: float
    """Grey in [0, 1]."""
    width: float
    """Factor on the width of the head."""


class FacesWorld(DrawnWorld[_Drawing]):
    """Portraits before a wall; `category` is the hair style, `colour` and `hue` are the wall's."""

    name, item = "faces", "face"

    def __init__(self, n_items: int = 720, *, seed: int = 0) -> None:
        super().__init__(n_items, seed=seed)

    @property
    def space(self) -> AttributeSpace:
        """Hair style (as `category`), hair colour, eyewear, the wall's hue and the smile."""
        categories = {"category": tuple(STYLES), "hair": tuple(HAIR), "eyewear": tuple(EYEWEAR)}
        return AttributeSpace(categories, ("hue",), ("smile",))

    def drawing(self, index: int, seed: int) -> _Drawing:
        """Return the drawing of an item; categories take turns, hue and smile follow two irrational steps."""
        rng = np.random.default_rng([seed, index])
        pose = Pose.drawn(rng, scale=(0.94, 1.04), degrees=5, shift=0.05)
        skin, shirt, width = (float(rng.uniform(*bounds)) for bounds in ((0, 1), (0.3, 0.95), (0.95, 1.05)))
        turn, style = divmod(index, len(STYLES))
        return _Drawing(
            style=tuple(STYLES)[style],
            hair=tuple(HAIR)[turn % len(HAIR)],
            eyewear=tuple(EYEWEAR)[turn // len(HAIR) % len(EYEWEAR)],
            hue=360 * spread(index + seed),
            smile=spread(index + seed, _SMILE_STEP),
            pose=pose,
            skin=skin,
            shirt=shirt,
            width=width,
        )

    def labels(self, drawing: _Drawing) -> dict[str, str]:
        """Return hair style and colour, eyewear, the wall's colour and hue, and the smile."""
        words = {"category": drawing.style, "colour": hue_name(drawing.hue), "hair": drawing.hair}
        return words | {"eyewear": drawing.eyewear, "hue": f"{drawing.hue:.1f}", "smile": f"{drawing.smile:.3f}"}

    def title(self, labels: dict[str, str]) -> str:
        """Return for example "brown bun with glasses before a green wall"."""
        return f"{labels['hair']} {labels['category']}, {labels['eyewear']}, before a {labels['colour']} wall"

    def draw(self, drawing: _Drawing, image_px: int) -> NDArray[np.uint8]:
        """Return one (image_px, image_px, 3) uint8 portrait."""
        canvas = Canvas(image_px, hue_rgb(drawing.hue, saturation=0.5, value=0.95), drawing.pose)
        x, y = canvas.x / drawing.width, canvas.y
        behind, before = STYLES[drawing.style](x, y)
        skin = _LIGHT_SKIN + drawing.skin * (_DARK_SKIN - _LIGHT_SKIN)
        canvas.paint(behind, HAIR[drawing.hair])
        canvas.paint(ellipse(x, y - 1.15, 0.72, 0.38), (drawing.shirt,) * 3)
        canvas.paint(box(x, y - 0.7, 0.17, 0.22), 0.86 * skin)
        canvas.paint(union(_head(x, y), disc(np.abs(x) - 0.53, y - 0.1, 0.1)), skin)
        canvas.paint(before, HAIR[drawing.hair])
        _paint_eyes(canvas, np.abs(x) - 0.22, y - 0.06, drawing.eyewear)
        canvas.paint(_mouth(x, y - 0.4, drawing.smile), _MOUTH)
        return canvas.finished()

    def taste(self, rng: np.random.Generator) -> Taste:
        """Return one loved hair style (60 %) or two, one disliked, and one of everything else."""
        styles = one_or_two(rng, tuple(STYLES))
        disliked = one_of(rng, tuple(style for style in STYLES if style not in styles))
        hue = rng.uniform(0, 360)
        return {
            "category": styles,
            "disliked": (disliked,),
            "hair": (one_of(rng, tuple(HAIR)),),
            "eyewear": (one_of(rng, tuple(EYEWEAR)),),
            "hue": (f"{hue:.1f}",),
            "colour": (hue_name(hue),),
            "mood": (one_of(rng, MOODS),),
        }

    def utility_of_attributes(self, users: PlantedUsers, shown: Attributes) -> NDArray[np.float32]:
        """Return (n_users, n): 2.5 nats for a loved hair style and -1.5 for the disliked one.

        1.25 for the loved hair colour, 1 for the loved eyewear, up to 1.5 for the smile, or its absence, and up to 1.5
        for the hue. Those of categories are times their probabilities.
        """
        style = STYLE_NATS * loved_values(users, "category", tuple(STYLES))
        style += DISLIKED_NATS * loved_values(users, "disliked", tuple(STYLES))
        total = style @ shown.categories["category"].T
        total += HAIR_NATS * loved_values(users, "hair", tuple(HAIR)) @ shown.categories["hair"].T
        total += EYEWEAR_NATS * loved_values(users, "eyewear", tuple(EYEWEAR)) @ shown.categories["eyewear"].T
        smile = shown.numbers["smile"]
        total += SMILE_NATS * loved_values(users, "mood", MOODS) @ np.stack([smile, 1 - smile])
        total += HUE_NATS * hue_liking(loved_numbers(users, "hue")[:, None], shown.angles["hue"][None])
        return total.astype(np.float32)


def _head(x: Field, y: Field) -> Field:
    return ellipse(x, y - 0.1, 0.53, 0.58)


def _mouth(x: Field, y: Field, smile: float) -> Field:
    """Return about the distance from a bent stroke: a parabola, its distance by the slope, cut off at both ends."""
    bend, half = 0.48 * (smile - 0.5), 0.3
    across = (y - bend * (0.5 - (x / half) ** 2)) / np.hypot(1, 2 * bend * x / half**2)
    return common(np.abs(across) - 0.055, np.abs(x) - half)


def _paint_eyes(canvas: Canvas, x: Field, y: Field, eyewear: str) -> None:
    """Paint both eyes and what is worn before them; `x` is mirrored, from the middle of either eye."""
    canvas.paint(ellipse(x, y, 0.075, 0.095), _INK)
    if eyewear != "bare":
        bridge = box(x + 0.22, y + 0.03, 0.08, 0.03)
        lens = ellipse(x, y, 0.19, 0.17)
        canvas.paint(union(bridge, lens if eyewear == "shades" else np.abs(lens) - 0.033), _INK)


def _cap(x: Field, y: Field, fringe: float = -0.16) -> Field:
    """Return hair on top of the head, down to an arched fringe."""
    return common(ellipse(x, y - 0.06, 0.58, 0.66), y - fringe - 0.25 * x**2)


def _short(x: Field, y: Field) -> tuple[Field, Field]:
    return _cap(x, y), _cap(x, y)


def _long(x: Field, y: Field) -> tuple[Field, Field]:
    falling = common(box(x, y - 0.35, 0.7, 0.6), ellipse(x, y - 0.3, 0.8, 0.95))
    strands = common(ellipse(x, y - 0.2, 0.68, 0.85), 0.44 - np.abs(x), np.abs(y - 0.25) - 0.6)
    return union(falling, ellipse(x, y - 0.05, 0.66, 0.7)), union(_cap(x, y), strands)


def _curly(x: Field, y: Field) -> tuple[Field, Field]:
    angle = np.arctan2(x, -y - 0.1)
    cloud = np.hypot(x, y + 0.1) - 0.76 - 0.06 * np.cos(11 * angle)
    return cloud, common(cloud, y + 0.14 - 0.05 * np.cos(16 * x))


def _bun(x: Field, y: Field) -> tuple[Field, Field]:
    return disc(x, y + 0.72, 0.24), union(_cap(x, y, -0.24), disc(x, y + 0.72, 0.22))


def _mohawk(x: Field, y: Field) -> tuple[Field, Field]:
    crest = common(np.abs(x) - 0.15 - 0.08 * np.cos(14 * y), ellipse(x, y + 0.5, 0.3, 0.46))
    return crest, crest


def _pigtails(x: Field, y: Field) -> tuple[Field, Field]:
    tails = ellipse(np.abs(x) - 0.76, y - 0.12, 0.18, 0.36)
    return tails, union(_cap(x, y, -0.2), disc(np.abs(x) - 0.6, y + 0.2, 0.1))


STYLES: dict[str, Callable[[Field, Field], tuple[Field, Field]]] = {
    "short": _short,
    "long": _long,
    "curly": _curly,
    "bun": _bun,
    "mohawk": _mohawk,
    "pigtails": _pigtails,
}
"""Distances from the hair behind the head and from that before it."""
HAIR = {
    "black": (0.13, 0.11, 0.15),
    "brown": (0.42, 0.22, 0.1),
    "blond": (0.97, 0.82, 0.3),
    "ginger": (0.86, 0.36, 0.1),
}
EYEWEAR = ("bare", "glasses", "shades")
