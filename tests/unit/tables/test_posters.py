"""The real histories and posters, where they are there: ../shared beside the checkout."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from personalgen.tables import ColumnMapping, ItemColumns, LimitsOptions, SourceOptions, load_prepared, prepare_tables

POSTERS = Path(__file__).resolve().parents[4] / "shared" / "data" / "posters64"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SOURCE = SourceOptions(path=str(POSTERS), columns=ColumnMapping(items=ItemColumns(text=("genres", "tags"))))

pytestmark = pytest.mark.skipif(not POSTERS.is_dir(), reason="the posters are not in ../shared/data/posters64")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The posters, prepared at 64 px."""
    root = tmp_path_factory.mktemp("prepared")
    tables = prepare_tables(SOURCE, limits=LimitsOptions(), image_px=64, out_root=root, as_of=None, now=NOW)
    return load_prepared(tables.folder, verify=True)


def test_all_rows_of_the_posters_are_usable(prepared):
    """136,872 ratings, 1,974 people and 2,711 posters, none refused."""
    tables = prepared.tables
    assert (tables.n_interactions, tables.n_users, tables.n_items) == (136_872, 1_974, 2_711)
    assert tables.quarantine == ()
    assert tables.as_of == datetime(2018, 9, 18, 1, 49, 37, tzinfo=UTC)


def test_poster_pixels_are_those_of_the_files(prepared):
    """A poster that has the size already is decoded and not resampled."""
    from PIL import Image

    row = prepared.item_ids.index("1")
    with Image.open(POSTERS / "images" / "1.jpg") as image:
        assert (prepared.images[row] == np.asarray(image)).all()


def test_likes_and_dislikes_are_balanced(prepared):
    """Weights relative to each user's own mean: a share of dislikes between a third and a half, sizes in [0.5, 1]."""
    weight = prepared.interactions().weight
    assert 0.33 < (weight < 0).mean() < 0.5
    assert 0.5 <= np.abs(weight).min() <= np.abs(weight).max() <= 1


def test_an_earlier_night_reads_less(prepared, tmp_path):
    """With an as_of of 2010 the later ratings are counted and not read."""
    as_of = datetime(2010, 1, 1, tzinfo=UTC)
    few = replace(SOURCE, name="posters")
    tables = prepare_tables(few, limits=LimitsOptions(), image_px=16, out_root=tmp_path, as_of=as_of, now=NOW)
    assert tables.n_interactions + tables.n_after_as_of == prepared.tables.n_interactions
    assert load_prepared(tables.folder).interactions().timestamp.max() < as_of.timestamp()
