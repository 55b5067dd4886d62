"""Contact sheets: what a user liked beside what was made for the user, for people to look at."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from personalgen.artifacts import write_bytes
from personalgen.errors import DataError

ImageArray = NDArray[np.uint8]

_MARGIN_PX, _PAD_PX, _GAP_PX = 16, 4, 28
_CAPTION_PX, _HEADER_PX = 22, 34
_PAPER, _INK, _QUIET, _RULE = "#ffffff", "#1c1f24", "#667080", "#d7dce3"


@dataclass(frozen=True)
class SheetRow:
    """One user: a caption, history (in the order to show) and generated pictures."""

    caption: str
    """Plain text above the row; cut to the sheet's width."""

    history: Sequence[ImageArray]
    """(height, width, 3) uint8 each."""

    generated: Sequence[ImageArray]
    """(height, width, 3) uint8 each."""


def contact_sheet(
    rows: Sequence[SheetRow],
    *,
    scale: int = 3,
    max_history: int = 6,
    max_generated: int = 6,
    header: tuple[str, str] = ("history", "generated"),
) -> Image.Image:
    """Return one RGB image: a row per user, history on the left, a gap, generated pictures on the right.

    Pixels are enlarged `scale` times without smoothing, so that what is seen is what was made; pictures smaller than
    the largest are enlarged to its size.

    Raises:
        DataError: there is no picture to show.
    """
    shown = [(row.history[:max_history], row.generated[:max_generated]) for row in rows]
    sides = [max(picture.shape[:2]) for left, right in shown for picture in (*left, *right)]
    if not sides:
        raise DataError("A contact sheet needs at least one picture, found none. Nothing was drawn.")
    tile = max(sides) * scale
    n_left, n_right = (max(len(pair[side]) for pair in shown) for side in (0, 1))
    right_x = _MARGIN_PX + n_left * (tile + _PAD_PX) + _GAP_PX
    width = right_x + n_right * (tile + _PAD_PX) + _MARGIN_PX
    row_height = _CAPTION_PX + tile + _MARGIN_PX
    sheet = Image.new("RGB", (width, _MARGIN_PX + _HEADER_PX + len(rows) * row_height), _PAPER)
    _draw_header(sheet, header, right_x)
    for k, (left, right) in enumerate(shown):
        top = _MARGIN_PX + _HEADER_PX + k * row_height
        _draw_caption(sheet, rows[k].caption, top)
        for x, pictures in ((_MARGIN_PX, left), (right_x, right)):
            _paste(sheet, pictures, x, top + _CAPTION_PX, tile)
    return sheet


def grid(images: ImageArray, columns: int, *, pad_px: int = 2, background: int = 255) -> ImageArray:
    """Return one uint8 picture of (n, height, width, 3) images, row by row; empty cells show the background.

    Raises:
        DataError: there is no image, or less than one column.
    """
    if not len(images) or columns < 1:
        raise DataError(f"A grid needs images and columns, found {len(images)} and {columns}. Nothing was drawn.")
    n, height, width, channels = images.shape
    n_rows = -(-n // columns)
    step_y, step_x = height + pad_px, width + pad_px
    canvas = np.full((n_rows * step_y + pad_px, columns * step_x + pad_px, channels), background, np.uint8)
    for k, image in enumerate(images):
        y, x = pad_px + k // columns * step_y, pad_px + k % columns * step_x
        canvas[y : y + height, x : x + width] = image
    return canvas


def png_bytes(image: Image.Image | ImageArray) -> bytes:
    """Return a picture as PNG."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    stream = io.BytesIO()
    picture.save(stream, format="PNG")
    return stream.getvalue()


def write_png(path: Path, image: Image.Image | ImageArray) -> Path:
    """Write a picture as PNG atomically; return the path."""
    return write_bytes(path, png_bytes(image))


def _draw_header(sheet: Image.Image, header: tuple[str, str], right_x: int) -> None:
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=18)
    for x, text in zip((_MARGIN_PX, right_x), header, strict=True):
        draw.text((x, _MARGIN_PX - 4), text, fill=_INK, font=font)
    line_x = right_x - (_GAP_PX + _PAD_PX) // 2
    draw.line([(line_x, _MARGIN_PX), (line_x, sheet.height - _MARGIN_PX)], fill=_RULE, width=1)


def _draw_caption(sheet: Image.Image, caption: str, top: int) -> None:
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    text, room = " ".join(caption.split()), sheet.width - 2 * _MARGIN_PX
    if draw.textlength(text, font=font) > room:
        while text and draw.textlength(text + "…", font=font) > room:
            text = text[:-1]
        text = text.rstrip() + "…"
    draw.text((_MARGIN_PX, top), text, fill=_QUIET, font=font)


def _paste(sheet: Image.Image, pictures: Sequence[ImageArray], x: int, y: int, tile: int) -> None:
    for k, picture in enumerate(pictures):
        enlarged = Image.fromarray(picture).resize((tile, tile), Image.Resampling.NEAREST)
        sheet.paste(enlarged, (x + k * (tile + _PAD_PX), y))
