import io
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from personalgen.errors import ConfigError, InternalError
from personalgen.generation.encoders import choose_encoder
from personalgen.generation.options import ENCODERS

LOSSLESS = [name for name in ENCODERS if not name.startswith("jpeg95/")]
LOSSY = [name for name in ENCODERS if name.startswith("jpeg95/")]


def decoded(data):
    with Image.open(io.BytesIO(data), formats=["PNG", "WEBP", "JPEG"]) as image:
        image.load()
        return image.mode, np.asarray(image)


def smooth(n, edge=64, seed=0):
    """Return pictures of a few waves and little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:edge, :edge] / edge
    waves = np.sin(
        6 * (x * rng.normal(size=(n, 3, 1, 1)) + y * rng.normal(size=(n, 3, 1, 1))) + rng.random((n, 3, 1, 1))
    )
    pixels = 127.5 + 110 * waves.transpose(0, 2, 3, 1) + rng.normal(0, 2, (n, edge, edge, 3))
    return pixels.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", LOSSLESS)
@given(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_round_trip_through_pillow(name, n, height, width, seed):
    """Any image of any shape comes back bit for bit from another decoder, in order."""
    images = np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    images[:, :, : width // 2] = 77
    for data, image in zip(choose_encoder(name).encode(images), images, strict=True):
        mode, pixels = decoded(data)
        assert mode == "RGB"
        assert np.array_equal(pixels, image)


@pytest.mark.parametrize("name", ENCODERS)
def test_views_are_encoded_as_they_look(name):
    """A transposed or strided batch is not read in memory order."""
    base = np.random.default_rng(0).integers(0, 256, (6, 3, 16, 16), dtype=np.uint8)
    view = base.transpose(0, 2, 3, 1)[::2]
    assert choose_encoder(name).encode(view) == choose_encoder(name).encode(view.copy())


@pytest.mark.parametrize("name", LOSSY)
def test_jpeg_is_near_and_half_as_long(name):
    """Above 36 dB in every picture, red and blue as sharp as green (4:4:4), and well below the size of a PNG."""
    images = smooth(8)
    files = choose_encoder(name).encode(images)
    for data, image in zip(files, images, strict=True):
        mode, pixels = decoded(data)
        error = np.square(pixels.astype(float) - image).mean()
        assert (mode, pixels.shape) == ("RGB", image.shape)
        assert 10 * np.log10(255**2 / error) > 36
        with Image.open(io.BytesIO(data)) as file:
            assert [layer[1:3] for layer in file.layer] == [(1, 1)] * 3
    assert sum(map(len, files)) < 0.6 * sum(map(len, choose_encoder("png").encode(images)))


def test_both_jpeg_packages_write_one_quality():
    """Which of them is installed decides the speed: files are nearly as long."""
    lengths = [sum(map(len, choose_encoder(name).encode(smooth(8)))) for name in LOSSY]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.05)


@pytest.mark.parametrize("name", ENCODERS)
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


def test_a_format_takes_its_fastest_package(monkeypatch):
    """The name that is recorded says which one; the extension is the format's."""
    found = [choose_encoder(name) for name in ("png", "webp", "jpeg95")]
    assert [(encoder.name, encoder.extension) for encoder in found] == [
        ("png/fpng", "png"),
        ("webp/pillow", "webp"),
        ("jpeg95/simplejpeg", "jpg"),
    ]
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    assert choose_encoder("jpeg95").name == "jpeg95/pillow"


def test_a_pillow_without_webp_is_told_of(monkeypatch):
    """A build that lacks the format is found at the start, not at the first image."""
    monkeypatch.setattr(features, "check", lambda name: name != "webp")
    with pytest.raises(ConfigError, match=r"'webp', but the package pillow is not installed or was built without"):
        choose_encoder("webp")


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
