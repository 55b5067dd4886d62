"""A blind pair as one picture: what a person liked on top, two pictures below, and nothing that tells who drew them."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from personalgen.evaluation.sheet import ImageArray

_MARGIN_PX, _GAP_PX, _TEXT_PX = 16, 16, 28
_HISTORY_PX, _PICTURE_PX = 96, 320
"""About how large a picture of the history, and one of the pair, is shown."""
_PAPER, _INK, _RULE = "#ffffff", "#1c1f24", "#d7dce3"


def pair_picture(history: Sequence[ImageArray], left: ImageArray, right: ImageArray, *, title: str = "") -> Image.Image:
    """Return one RGB image; pixels are enlarged by whole numbers without smoothing, so that what is seen was made.

    `history` and both pictures are (height, width, 3) uint8; a person without history leaves its row out.
    """
    liked = [_enlarged(picture, _HISTORY_PX) for picture in history]
    pair = [_enlarged(picture, _PICTURE_PX) for picture in (left, right)]
    rows = [row for row in (liked, pair) if row]
    words = [f"{title} · liked" if title else "liked"] if liked else []
    width = 2 * _MARGIN_PX + max(sum(one.width for one in row) + _GAP_PX * (len(row) - 1) for row in rows)
    height = 2 * _MARGIN_PX + sum(_TEXT_PX + max(one.height for one in row) for row in rows) + _GAP_PX * len(words)
    sheet, top = Image.new("RGB", (width, height), _PAPER), _MARGIN_PX
    for row, texts in zip(rows, [*([words] if liked else []), ["left", "right"]], strict=True):
        _paste_row(sheet, row, texts, top)
        top += _TEXT_PX + max(one.height for one in row) + _GAP_PX
    return sheet


def _paste_row(sheet: Image.Image, row: Sequence[Image.Image], texts: Sequence[str], top: int) -> None:
    """Paste pictures side by side, with a word above each as far as there are words."""
    draw, font, x = ImageDraw.Draw(sheet), ImageFont.load_default(size=18), _MARGIN_PX
    for k, picture in enumerate(row):
        if k < len(texts):
            draw.text((x, top), texts[k], fill=_INK, font=font)
        y = top + _TEXT_PX
        draw.rectangle((x - 1, y - 1, x + picture.width, y + picture.height), outline=_RULE)  # paper may be white too
        sheet.paste(picture, (x, y))
        x += picture.width + _GAP_PX


def _enlarged(picture: ImageArray, side_px: int) -> Image.Image:
    """Return a picture enlarged by the largest whole number with which it is no larger than a side, at least 1."""
    height, width = picture.shape[:2]
    times = max(1, side_px // max(height, width))
    return Image.fromarray(picture).resize((width * times, height * times), Image.Resampling.NEAREST)
