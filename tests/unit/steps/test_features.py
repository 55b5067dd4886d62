import numpy as np
import pytest

from personalgen.embeddings import EmbeddingOptions, image_features, text_features
from personalgen.steps import features
from personalgen.steps.features import cached_rows, content_features


def silent(_name):
    """Return a progress callback that shows nothing."""
    return lambda *_: None


@pytest.fixture
def looked():
    """Return a list of what was looked at, and the function that looks: a row says which place it is of."""
    asked = []

    def look(rows):
        asked.append(rows.tolist())
        return np.stack([rows, rows + 0.5], axis=1).astype(np.float32)

    return asked, look


def test_only_what_is_new_is_looked_at(tmp_path, looked):
    """Known keys come from the parts, whatever their order; a key that occurs twice is looked at once."""
    asked, look = looked
    first = cached_rows(tmp_path, ["a", "b", "a"], 2, look)
    again = cached_rows(tmp_path, ["c", "b", "a", "d"], 2, look)
    assert asked == [[0, 1], [0, 3]]
    assert first.tolist() == [[0, 0.5], [1, 1.5], [0, 0.5]]
    assert again.tolist() == [[0, 0.5], [1, 1.5], [0, 0.5], [3, 3.5]]
    assert cached_rows(tmp_path, [], 2, look).shape == (0, 2)
    assert len(asked) == 2


def test_what_could_not_be_looked_at_is_looked_at_again(tmp_path, looked):
    """Its row is given and not kept: once it can be, it is found as if nothing had been."""
    asked, look = looked
    assert np.isnan(cached_rows(tmp_path, ["a"], 2, lambda rows: look(rows) * np.nan)).all()
    assert not list(tmp_path.glob("*.parquet"))

    def half(rows):
        return np.where(rows[:, None] == 1, look(rows), np.nan)

    assert np.isnan(cached_rows(tmp_path, ["a", "b"], 2, half)).any(axis=1).tolist() == [True, False]
    assert cached_rows(tmp_path, ["a", "b"], 2, look).tolist() == [[0, 0.5], [1, 1.5]]
    assert asked == [[0], [0, 1], [0]]


def test_many_parts_become_one(tmp_path, looked, monkeypatch):
    """And nothing is lost."""
    asked, look = looked
    monkeypatch.setattr(features, "_MOST_PARTS", 3)
    for count in range(1, 9):
        cached_rows(tmp_path, [str(k) for k in range(count)], 2, look)
    assert len(list(tmp_path.glob("*.parquet"))) < 6
    assert [len(rows) for rows in asked] == [1] * 8
    cached_rows(tmp_path, [str(k) for k in range(8)], 2, look)
    assert len(asked) == 8


def test_a_catalogue_that_grows_is_looked_at_where_it_is_new(tmp_path, monkeypatch):
    """Pictures beside texts, as the nets give them; another size or text is another folder or computed anew."""
    images = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    texts, keys = ["a red boat", "", "a cat"], ["x", "y", "z"]
    options = EmbeddingOptions(feature_px=32, text_dim=8)
    two = content_features(tmp_path, images[:2], keys[:2], texts[:2], options, silent)
    seen = []
    monkeypatch.setattr(
        features, "image_features", lambda own, **rest: seen.append(len(own)) or image_features(own, **rest)
    )
    three = content_features(tmp_path, images, keys, texts, options, silent)
    assert seen == [1]
    assert np.array_equal(three[:2], two)
    expected = np.concatenate([image_features(images, feature_px=32), text_features(texts, 8)], axis=1)
    assert np.allclose(three, expected, atol=1e-4)
    content_features(tmp_path, images, keys, texts, EmbeddingOptions(feature_px=64, text_dim=8), silent)
    assert seen == [1, 3]
