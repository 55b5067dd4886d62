from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from personalgen.config import SplitOptions
from personalgen.embeddings import EmbeddingOptions
from personalgen.steps import data as module
from personalgen.steps import features
from personalgen.steps.data import SEEN, NightData
from personalgen.tables import JUDGE, TEST, TRAIN

IDS = [f"i{k}" for k in range(6)]


@pytest.fixture
def night_data(monkeypatch):
    """Return a function that makes a night's data of pictures and the splits of their items."""

    def make(pictures, splits):
        monkeypatch.setattr(module, "item_splits", lambda ids: np.array(splits[: len(ids)], dtype=np.int8))
        images = np.stack([np.full((2, 2, 3), value, dtype=np.uint8) for value in pictures])
        data = NightData(SimpleNamespace(images=images), SplitOptions())
        data.__dict__["history"] = SimpleNamespace(item_ids=IDS[: len(pictures)])
        return data

    return make


def test_a_picture_of_an_earlier_split_is_neither_trained_on_nor_evaluated(night_data):
    """Training before judge before test: what has the picture of an item before it is no new picture."""
    data = night_data([1, 1, 2, 2, 3, 1], [TRAIN, TEST, JUDGE, TEST, TEST, JUDGE])
    assert data.item_split.tolist() == [TRAIN, SEEN, JUDGE, SEEN, TEST, SEEN]
    assert data.train_items.tolist() == [True] + [False] * 5


def test_items_with_pictures_of_their_own_keep_their_split(night_data):
    """The same picture twice in one split changes nothing."""
    splits = [TRAIN, TRAIN, JUDGE, JUDGE, TEST, TEST]
    assert night_data([1, 1, 2, 2, 3, 3], splits).item_split.tolist() == splits


def test_features_are_kept_apart_by_picture_size(tmp_path, monkeypatch):
    """The same files, prepared at another size, are other pictures to the net."""
    monkeypatch.setattr(
        features, "image_features", lambda images, **_: np.full((len(images), 1280), images.shape[1], dtype=np.float32)
    )
    workspace = SimpleNamespace(data=tmp_path, report=lambda _: None)
    items = pd.DataFrame({"image_sha256": ["a", "b"], "title": ["x", None], "text": [None, None]})
    for px in (16, 32, 16):
        prepared = SimpleNamespace(images=np.zeros((2, px, px, 3), dtype=np.uint8), items=items)
        found = NightData(prepared, SplitOptions()).features(workspace, EmbeddingOptions(text_dim=0))
        assert (found[:, :4] == px).all()
    assert len(list((tmp_path / "features").glob("*.npy"))) == 2


def test_people_are_asked_about_tonight_or_when_their_later_events_begin():
    """Held back, at the first of the later events; whoever has none, and tonight everybody, at as_of."""
    as_of = datetime(2026, 1, 1, tzinfo=UTC)
    data = NightData(SimpleNamespace(tables=SimpleNamespace(as_of=as_of)), SplitOptions())
    times, later = np.array([10, 20, 30, 15, 40]), np.array([False, True, True, False, False])
    data.__dict__["history"] = SimpleNamespace(
        user_ids=("a", "b", "c"), user_index=np.array([0, 0, 0, 1, 1]), timestamp=times
    )
    data.__dict__["later"] = later
    now = int(as_of.timestamp())
    assert data.tonight().tolist() == [now] * 3
    assert data.held_back_from().tolist() == [20, now, now]


def test_people_have_the_segments_of_the_users_table():
    """In the order of the ids; an empty cell is none, and whoever opted out is not there."""
    columns = {"user_id": ["c", "a", "b"], "segment": ["new", "", None], "opted_out": [False, False, True]}
    nothing = np.empty(0, dtype=np.int64)
    events = SimpleNamespace(user_ids=[], item_ids=["x"], user_index=nothing, item_index=nothing)
    events.timestamp, events.weight = nothing, nothing.astype(np.float32)
    prepared = SimpleNamespace(users=pd.DataFrame(columns), interactions=lambda: events)
    history = NightData(prepared, SplitOptions()).history
    assert (history.user_ids, history.segments) == (("a", "c"), (None, "new"))
