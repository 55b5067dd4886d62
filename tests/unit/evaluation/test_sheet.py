import io

import numpy as np
import pytest
from PIL import Image

from personalgen.errors import DataError
from personalgen.evaluation import SheetRow, contact_sheet, grid, png_bytes, write_png

RED, BLUE = np.full((8, 8, 3), (255, 0, 0), np.uint8), np.full((8, 8, 3), (0, 0, 255), np.uint8)


def _count(sheet, colour):
    return int((np.asarray(sheet) == colour).all(axis=2).sum())


def test_sheet_shows_history_left_and_generated_right():
    """Every picture appears once at three times its size, history left of all generated pictures."""
    sheet = contact_sheet([SheetRow("a", [RED] * 3, [BLUE] * 2), SheetRow("b", [RED], [BLUE])])
    assert _count(sheet, (255, 0, 0)) == 4 * 24 * 24
    assert _count(sheet, (0, 0, 255)) == 3 * 24 * 24
    pixels = np.asarray(sheet)
    reds = np.flatnonzero((pixels == (255, 0, 0)).all(axis=2).any(axis=0))
    blues = np.flatnonzero((pixels == (0, 0, 255)).all(axis=2).any(axis=0))
    assert blues.min() - reds.max() > 16


def test_sheet_enlarges_without_smoothing():
    """A picture's colours are the only colours in its tile."""
    chequered = np.where(np.indices((8, 8)).sum(0)[..., None] % 2, RED, BLUE).astype(np.uint8)
    sheet = contact_sheet([SheetRow("", [chequered], [])])
    assert _count(sheet, (255, 0, 0)) == _count(sheet, (0, 0, 255)) == 32 * 9


def test_sheet_cuts_long_rows_and_captions():
    """At most the stated number of pictures is shown, and a long caption neither widens the sheet nor crashes it."""
    short = contact_sheet([SheetRow("x", [RED] * 9, [BLUE] * 9)], max_history=2, max_generated=3)
    assert _count(short, (255, 0, 0)) == 2 * 24 * 24
    assert _count(short, (0, 0, 255)) == 3 * 24 * 24
    long = contact_sheet([SheetRow("猫 " * 500 + "\n", [RED] * 9, [BLUE] * 9)], max_history=2, max_generated=3)
    assert long.size == short.size


def test_sheet_holds_pictures_of_two_sizes():
    """History at another size than generated pictures is shown as large as these."""
    sheet = contact_sheet([SheetRow("", [RED[:4, :4]], [BLUE])])
    assert _count(sheet, (255, 0, 0)) == _count(sheet, (0, 0, 255)) == 24 * 24


def test_a_user_without_history_still_has_a_row():
    """A cold user's row shows generated pictures only."""
    assert _count(contact_sheet([SheetRow("new", [], [BLUE])]), (0, 0, 255)) == 24 * 24


def test_nothing_to_show_is_refused():
    """No picture at all is an error, for sheets and for grids."""
    with pytest.raises(DataError, match="at least one picture"):
        contact_sheet([SheetRow("a", [], [])])
    with pytest.raises(DataError, match="found 0"):
        grid(np.empty((0, 8, 8, 3), np.uint8), 4)


def test_grid_places_images_row_by_row():
    """The fourth of five images in three columns opens the second row; the last cell stays background."""
    images = np.stack([np.full((4, 4, 3), 10 * k, np.uint8) for k in range(5)])
    canvas = grid(images, 3, pad_px=1)
    assert canvas.shape == (11, 16, 3)
    assert (canvas[6:10, 1:5] == 30).all()
    assert (canvas[6:10, 11:15] == 255).all()


def test_png_round_trip(tmp_path):
    """A written picture reads back pixel for pixel, and equal pictures give equal bytes."""
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    path = write_png(tmp_path / "a.png", image)
    assert np.array_equal(np.asarray(Image.open(path)), image)
    assert png_bytes(Image.fromarray(image)) == png_bytes(image) == path.read_bytes()
    assert Image.open(io.BytesIO(png_bytes(image))).mode == "RGB"
