import hashlib
import io
import os
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from personalgen.tables.images import ImageFault, Picture, decode_picture, read_picture
from personalgen.tables.options import LimitsOptions

LIMITS = LimitsOptions()
PIXELS = 40_000_000


def encoded(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def noise(width=64, height=64):
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))


def huge_png(edge):
    """Return a small 1-bit PNG of edge x edge pixels, made row by row."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (edge + 7) // 8)
    data = b"".join(packer.compress(row) for _ in range(edge)) + packer.flush()
    header = struct.pack(">IIBBBBB", edge, edge, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    body = (struct.pack(">I", len(b)) + a + b + struct.pack(">I", zlib.crc32(a + b)) for a, b in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def decoded(data, image_px=8):
    return decode_picture(data, image_px=image_px, max_pixels=PIXELS)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_each_format_gives_a_square_of_rgb(form):
    """PNG, JPEG and WebP of any size become (px, px, 3) uint8 of the right colour."""
    pixels = decoded(encoded(Image.new("RGB", (90, 40), (200, 30, 60)), form))
    assert (pixels.shape, pixels.dtype) == ((8, 8, 3), np.uint8)
    assert np.abs(pixels.astype(int) - (200, 30, 60)).max() < 6


@pytest.mark.parametrize("form", ["GIF", "BMP", "TIFF"])
def test_other_formats_are_not_opened(form):
    """Only the three formats of the contract reach a decoder."""
    assert decoded(encoded(noise(), form)).reason == "image_undecodable"


def test_the_centre_square_is_kept():
    """A wide picture loses its sides, a tall one its top and bottom."""
    wide = Image.new("RGB", (60, 20), "red")
    wide.paste("blue", (20, 0, 40, 20))
    assert (decoded(encoded(wide)) == (0, 0, 255)).all()
    assert (decoded(encoded(wide.transpose(Image.Transpose.ROTATE_90))) == (0, 0, 255)).all()


def test_a_picture_of_the_right_size_is_unchanged():
    """No resampling touches a PNG that has the size already."""
    image = noise(16, 16)
    assert (decoded(encoded(image), 16) == np.asarray(image)).all()


@pytest.mark.parametrize(
    ("mode", "colour"), [("RGBA", (255, 0, 0, 0)), ("LA", (0, 0)), ("PA", None), ("P", None), ("RGBA-half", None)]
)
def test_transparency_lies_over_white(mode, colour):
    """What is transparent becomes white, whatever colour hides beneath it."""
    if mode == "RGBA-half":
        pixels = decoded(encoded(Image.new("RGBA", (8, 8), (255, 0, 0, 128))))
        assert np.abs(pixels.astype(int) - (255, 127, 127)).max() <= 1
        return
    if mode in {"P", "PA"}:
        image = Image.new("P", (8, 8), 0)
        image.putpalette([255, 0, 0] + [0] * 765)
        data = encoded(image, transparency=0)
    else:
        data = encoded(Image.new(mode, (8, 8), colour))
    assert (decoded(data) == 255).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK"])
def test_every_colour_mode_becomes_rgb(mode):
    """Black, grey, palette and print colours decode to their RGB."""
    image = Image.new("RGB", (16, 16), (255, 255, 255)).convert(mode)
    assert (decoded(encoded(image, "JPEG" if mode == "CMYK" else "PNG")) >= 250).all()


def test_sixteen_bit_grey_keeps_its_brightness():
    """A 16-bit PNG is scaled to 8 bits, not clipped to white."""
    data = encoded(Image.fromarray(np.full((8, 8), 0x4000, dtype=np.uint16)))
    assert (decoded(data) == 0x40).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright(orientation):
    """All eight EXIF orientations give the picture that a viewer shows."""
    image = Image.new("RGB", (32, 32), "white")
    image.paste("red", (0, 0, 16, 16))
    image.paste("blue", (16, 0, 32, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(image, "JPEG", quality=95, subsampling=0, exif=exif)
    from PIL import ImageOps

    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).resize((8, 8)))
    assert np.abs(decoded(data).astype(int) - expected.astype(int)).mean() < 3


def test_a_large_jpeg_decodes_like_its_small_self():
    """Decoding a JPEG at a fraction of its size gives the picture that full decoding and averaging gives."""
    ramp = np.linspace(0, 255, 512, dtype=np.uint8)
    image = Image.fromarray(np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], np.uint8(90)), axis=-1))
    pixels = decoded(encoded(image, "JPEG", quality=95), 16)
    expected = np.asarray(image.resize((16, 16), Image.Resampling.BOX))
    assert np.abs(pixels.astype(int) - expected.astype(int)).mean() < 3


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9])
def test_a_file_that_was_cut_is_called_truncated(form, share):
    """A file that ends early, an empty one included, is told apart from one that never was a picture."""
    data = encoded(noise(), form)
    assert decoded(data[: int(len(data) * share)]).reason == "image_truncated"


def test_damage_in_the_middle_is_undecodable():
    """A file with its end in place and broken data inside is not called truncated."""
    data = bytearray(encoded(noise()))
    data[60:400] = bytes(340)
    assert decoded(bytes(data)).reason == "image_undecodable"


@pytest.mark.parametrize("data", [b"hello, I am text", b"<svg xmlns='http://www.w3.org/2000/svg'/>", bytes(1000)])
def test_what_is_no_picture_is_undecodable(data):
    """Text, SVG and zeros are refused with a reason, not an exception."""
    assert decoded(data).reason == "image_undecodable"


def test_a_picture_over_the_pixel_cap_is_refused():
    """The size in the header is checked against the cap."""
    fault = decode_picture(encoded(noise(100, 101)), image_px=8, max_pixels=100 * 100)
    assert fault == ImageFault("image_too_large", "100 x 101 pixels, allowed are 10,000; not decoded")
    assert isinstance(decode_picture(encoded(noise(100, 100)), image_px=8, max_pixels=100 * 100), np.ndarray)


@pytest.mark.parametrize("edge", [7_000, 10_000, 20_000])
def test_a_gigantic_png_is_refused_without_decoding(edge):
    """Above Pillow's own limit, between its warning and its limit, and just above ours: image_too_large each time."""
    assert decoded(huge_png(edge)).reason == "image_too_large"


def test_a_gigantic_png_costs_no_memory_and_warns_of_nothing():
    """A 20,000 x 20,000 picture, 400 MB if decoded, is refused for under 20 MB, and nothing reaches the log."""
    code = """
import resource, sys
from pathlib import Path
from personalgen.tables.images import decode_picture
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
small, large = (Path(name).read_bytes() for name in sys.argv[1:])
decode_picture(small, image_px=8, max_pixels=40_000_000)
before = peak()
fault = decode_picture(large, image_px=8, max_pixels=40_000_000)
print(fault.reason, peak() - before < 20_000)
"""
    with tempfile.TemporaryDirectory() as folder:
        names = [Path(folder) / "small.png", Path(folder) / "large.png"]
        for name, edge in zip(names, (10_000, 20_000), strict=True):
            name.write_bytes(huge_png(edge))
        done = subprocess.run([sys.executable, "-W", "error", "-c", code, *names], check=True, capture_output=True)
    assert (done.stdout, done.stderr) == (b"image_too_large True\n", b"")


def test_files_are_read_with_their_digest(tmp_path):
    """The digest is that of the file's bytes."""
    (tmp_path / "a.png").write_bytes(data := encoded(noise()))
    picture = read_picture(tmp_path, "a.png", image_px=8, limits=LIMITS)
    assert isinstance(picture, Picture)
    assert picture.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "name",
    [
        None,
        "",
        "b.png",
        "sub",
        "../secret.png",
        "sub/../../secret.png",
        "link.png",
        "a\0b",
        "x" * 300,
        "http://x/a.png",
    ],
)
def test_what_is_not_a_file_under_the_root_is_missing(tmp_path, name):
    """No path, no file, a folder, a way out of the root, a link out of it, a NUL and a URI are image_missing."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(encoded(noise()))
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    assert read_picture(root, name, image_px=8, limits=LIMITS).reason == "image_missing"


def test_absolute_paths_are_refused_even_under_the_root(tmp_path):
    """A source says where a picture is relative to the root, or not at all."""
    (tmp_path / "a.png").write_bytes(encoded(noise()))
    fault = read_picture(tmp_path, str(tmp_path / "a.png"), image_px=8, limits=LIMITS)
    assert fault.reason == "image_missing"
    assert "leads out" in fault.detail


def test_a_pipe_is_not_waited_for(tmp_path):
    """A named pipe under the root is missing; opening it would block for ever."""
    os.mkfifo(tmp_path / "a.png")
    assert read_picture(tmp_path, "a.png", image_px=8, limits=LIMITS).reason == "image_missing"


def test_a_file_over_the_byte_cap_is_refused_unread(tmp_path):
    """The size of the file is checked before it is decoded."""
    (tmp_path / "a.png").write_bytes(encoded(noise()))
    with (tmp_path / "a.png").open("r+b") as file:
        file.truncate(30_000_000)
    fault = read_picture(tmp_path, "a.png", image_px=8, limits=LIMITS)
    assert fault.reason == "image_too_large"
    assert "30,000,000 bytes" in fault.detail
