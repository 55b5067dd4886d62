from pathlib import Path

import numpy as np
import pytest

from personalgen.errors import ArtifactError
from personalgen.tables import load_prepared

T0 = 1_700_000_000


def test_events_are_sorted_codes(shop):
    """Sorted by user, time and item; user codes follow sorted ids, item codes the rows of the images."""
    shop.interactions = {
        "user_id": ["z", "a", "z", "a", "z"],
        "item_id": ["c", "c", "a", "b", "b"],
        "timestamp": [T0 + 1, T0 + 9, T0 + 5, T0 + 9, T0 + 5],
        "weight": [1.0, 2.0, 3.0, 4.0, 5.0],
    }
    prepared = shop.load()
    events = prepared.interactions()
    assert events.user_ids == ["a", "z"]
    assert events.item_ids == prepared.item_ids == ["a", "b", "c"]
    assert events.user_index.tolist() == [0, 0, 1, 1, 1]
    assert events.item_index.tolist() == [1, 2, 2, 0, 1]
    assert events.timestamp.tolist() == [T0 + 9, T0 + 9, T0 + 1, T0 + 5, T0 + 5]
    assert events.weight.tolist() == [4, 2, 1, 3, 5]
    assert len(events) == 5
    dtypes = (events.user_index.dtype, events.item_index.dtype, events.timestamp.dtype, events.weight.dtype)
    assert dtypes == (np.int32, np.int32, np.int64, np.float32)


def test_codes_do_not_depend_on_the_order_of_the_source(shop):
    """A shuffled source loads to the same arrays."""
    before = shop.load().interactions()
    shop.interactions = {name: cells[::-1] for name, cells in shop.interactions.items()}
    folder = Path(shop.load().folder)
    for path in folder.iterdir():
        path.unlink()
    after = shop.load().interactions()
    for name in ("user_index", "item_index", "timestamp", "weight"):
        assert (getattr(before, name) == getattr(after, name)).all()


def test_histories_are_summed_up_by_user(shop):
    """Events, likes (positive weights), and when the first and the last were, by user id."""
    shop.interactions = {
        "user_id": ["z", "a", "z", "a", "z"],
        "item_id": ["c", "c", "a", "b", "b"],
        "timestamp": [T0 + 1, T0 + 9, T0 + 5, T0 + 9, T0 + 5],
        "weight": [1.0, -2.0, 3.0, 4.0, 5.0],
    }
    told = shop.load().history_summary()
    assert told.column_names == ["user_id", "n_events", "n_likes", "first_event", "last_event"]
    assert [tuple(row.values()) for row in told.to_pylist()] == [
        ("a", 2, 1, T0 + 9, T0 + 9),
        ("z", 3, 3, T0 + 1, T0 + 5),
    ]


def test_images_are_mapped_not_loaded(shop):
    """The pixels stay in the file until they are used, and cannot be changed by mistake."""
    images = shop.load().images
    assert isinstance(images, np.memmap)
    assert not images.flags.writeable


def test_an_unsealed_or_absent_folder_is_refused(shop, tmp_path):
    """Without a manifest a folder is not finished, whatever it holds."""
    with pytest.raises(ArtifactError, match="no manifest"):
        load_prepared(tmp_path / "none")
    folder = Path(shop.prepare().folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match="no manifest"):
        load_prepared(folder)


def test_a_changed_or_missing_file_is_found(shop):
    """Verification reads every file; a missing file is noticed without it."""
    folder = Path(shop.prepare().folder)
    (folder / "users.parquet").write_bytes(b"other")
    with pytest.raises(ArtifactError, match="changed after it was written"):
        load_prepared(folder, verify=True)
    (folder / "users.parquet").unlink()
    with pytest.raises(ArtifactError, match="missing"):
        load_prepared(folder)


def test_what_was_reported_is_what_is_loaded(shop):
    """The report survives the manifest, counts and time zone included."""
    shop.interactions["item_id"][0] = "zz"
    tables = shop.prepare()
    assert load_prepared(tables.folder).tables == tables
    assert tables.as_of.utcoffset().total_seconds() == 0
