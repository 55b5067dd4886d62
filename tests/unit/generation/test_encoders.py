import io
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from personalgen.errors import ConfigError, InternalError
from personalgen.generation.encoders import choose_encoder

NAMES = ["png/fpng", "png/isal", "png/zlib"]


def decoded(data):
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        image.load()
        return image.mode, np.asarray(image)


@pytest.mark.parametrize("name", NAMES)
@given(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_round_trip_through_pillow(name, n, height, width, seed):
    """Any image of any shape comes back bit for bit from another decoder, in order."""
    images = np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    images[:, :, : width // 2] = 77
    for data, image in zip(choose_encoder(name).encode(images), images, strict=True):
        mode, pixels = decoded(data)
        assert mode == "RGB"
        assert np.array_equal(pixels, image)


@pytest.mark.parametrize("name", NAMES)
def test_views_are_encoded_as_they_look(name):
    """A transposed or strided batch is not read in memory order."""
    base = np.random.default_rng(0).integers(0, 256, (6, 3, 16, 16), dtype=np.uint8)
    view = base.transpose(0, 2, 3, 1)[::2]
    assert all(np.array_equal(decoded(d)[1], v) for d, v in zip(choose_encoder(name).encode(view), view, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_encoding_is_deterministic_and_compresses(name):
    """Equal pixels give equal bytes, fewer than the pixels where there is structure."""
    image = np.zeros((1, 64, 64, 3), dtype=np.uint8)
    image[:, 20:40, 10:50] = (200, 30, 90)
    encoder = choose_encoder(name)
    assert encoder.encode(image) == encoder.encode(image.copy())
    assert len(encoder.encode(image)[0]) < image.size // 4


def test_auto_takes_the_fastest_that_is_installed(monkeypatch):
    """fpng, then isal, then the standard library; the choice is visible in the name."""
    monkeypatch.setitem(sys.modules, "fpng", None)
    assert choose_encoder("auto").name in {"png/isal", "png/zlib"}
    monkeypatch.setitem(sys.modules, "isal", None)
    assert choose_encoder().name == "png/zlib"


def test_a_named_encoder_is_never_replaced(monkeypatch):
    """Asking for fpng without fpng is an error that says how to get it."""
    monkeypatch.setitem(sys.modules, "fpng", None)
    with pytest.raises(ConfigError, match="pip install fpng"):
        choose_encoder("png/fpng")


def test_unknown_encoder_lists_the_known_ones():
    """The message names what would have been accepted."""
    with pytest.raises(ConfigError, match="png/isal"):
        choose_encoder("gif")


@pytest.mark.parametrize(("shape", "dtype"), [((1, 4, 4, 3), float), ((4, 4, 3), np.uint8), ((1, 3, 4, 4), np.uint8)])
def test_other_batches_are_refused(shape, dtype):
    """Floats, a single image and channels first are mistakes of the caller."""
    with pytest.raises(InternalError, match="uint8"):
        choose_encoder("png/zlib").encode(np.zeros(shape, dtype))


def test_an_empty_batch_encodes_to_nothing():
    """No images, no files."""
    assert choose_encoder().encode(np.zeros((0, 8, 8, 3), dtype=np.uint8)) == []
