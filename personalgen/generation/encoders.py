"""Image encoders behind one name each, format and package; the night records which one wrote its shards.

Per core at 64 px, images a second: PNG by fpng 65-71k, by isal 20k, by zlib 5k (by Pillow 1.7k); JPEG by simplejpeg
30k, by Pillow 15k; WebP 5k. All of them work outside Python's lock, so that a thread encodes while another draws.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personalgen.errors import ConfigError, InternalError
from personalgen.generation.options import ENCODERS, FORMATS

Images = NDArray[np.uint8]
Compress = Callable[[bytes], bytes]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_UP_FILTER = 2
_JPEG_QUALITY = 95
_PILLOW_FEATURE = {"WEBP": "webp", "JPEG": "jpg"}


@dataclass(frozen=True)
class Refused:
    """Stands where a file would, had the safety filter let the image through (`safety`)."""

    score: float


@dataclass(frozen=True)
class Encoder:
    """A named function from a batch of images to files."""

    name: str
    """As recorded with every shard, for example png/fpng."""
    extension: str
    """Of the members, without a dot."""
    encode_batch: Callable[[Images], Sequence[bytes | Refused]]

    def encode(self, images: Images) -> list[bytes | Refused]:
        """Return one encoded file, or why there is none, per image of a (B, H, W, 3) uint8 batch.

        Raises:
            InternalError: the batch has another shape or dtype.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise InternalError(
                f"{self.name} encodes (B, H, W, 3) uint8, found {images.shape} {images.dtype}. Nothing was encoded."
            )
        return list(self.encode_batch(np.ascontiguousarray(images)))


def choose_encoder(name: str = "auto") -> Encoder:
    """Return the encoder called `name`, of a format's name the fastest that is installed; `auto` is `png`.

    Raises:
        ConfigError: the name is unknown, or its package is not installed.
    """
    asked = "png" if name == "auto" else name
    names = [known for known in ENCODERS if asked in {known, known.partition("/")[0]}]
    if not names:
        raise ConfigError(
            f"generation.encoder is {name!r}; expected auto or one of {', '.join((*FORMATS, *ENCODERS))}. "
            "Nothing was generated."
        )
    found = next((encoder for encoder in map(_load, names) if encoder is not None), None)
    if found is None:
        package = names[-1].partition("/")[2]
        raise ConfigError(
            f"generation.encoder is {name!r}, but the package {package} is not installed or was built without that "
            f"format. Install it (pip install {package}) or set generation.encoder = 'auto'. Nothing was generated."
        )
    return found


def decode(data: bytes) -> Images:
    """Return (H, W, 3) uint8 of a file that one of the encoders wrote, whose bytes were checked."""
    from PIL import Image

    with Image.open(BytesIO(data), formats=["PNG", "JPEG", "WEBP"]) as image:
        return np.asarray(image.convert("RGB"))


def encode_png(images: Images, compress: Compress) -> list[bytes]:
    """Return PNG files of a (B, H, W, 3) uint8 batch: Up filter on every row, one IDAT chunk through `compress`.

    Source: PNG specification, third edition, sections 9.2 (filter type 2) and 11.2.
    """
    height, width = images.shape[1:3]
    head = _SIGNATURE + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    tail = _chunk(b"IEND", b"")
    return [head + _chunk(b"IDAT", compress(rows.tobytes())) + tail for rows in _up_filtered(images)]


def _up_filtered(images: Images) -> Images:
    """Return (B, H, 1 + 3W) uint8 scanlines: the filter byte, then each row less the row above, modulo 256."""
    flat = images.reshape(*images.shape[:2], -1)
    out = np.empty((*flat.shape[:2], flat.shape[2] + 1), dtype=np.uint8)
    out[:, :, 0] = _UP_FILTER
    out[:, 0, 1:] = flat[:, 0]
    np.subtract(flat[:, 1:], flat[:, :-1], out=out[:, 1:, 1:])
    return out


def _chunk(kind: bytes, data: bytes) -> bytes:
    """Return one PNG chunk: length, type, data, CRC."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def _fpng() -> Callable[[Images], list[bytes]]:
    """Return the batch encoder of the package fpng."""
    import fpng

    return lambda images: [fpng.from_ndarray(image) for image in images]


def _isal() -> Callable[[Images], list[bytes]]:
    """Return our PNG writer over Intel's deflate."""
    from isal import isal_zlib

    return lambda images: encode_png(images, lambda data: isal_zlib.compress(data, 1))


def _zlib() -> Callable[[Images], list[bytes]]:
    """Return our PNG writer over the standard library's deflate."""
    return lambda images: encode_png(images, lambda data: zlib.compress(data, 1))


def _simplejpeg() -> Callable[[Images], list[bytes]]:
    """Return the JPEG encoder of the package simplejpeg, a thin layer over libjpeg-turbo."""
    from simplejpeg import encode_jpeg

    return lambda images: [
        encode_jpeg(image, quality=_JPEG_QUALITY, colorspace="RGB", colorsubsampling="444") for image in images
    ]


def _pillow(**settings: Any) -> Callable[[Images], list[bytes]]:
    """Return Pillow's encoder of a format.

    Raises:
        ImportError: this build of Pillow does not write the format.
    """
    from PIL import Image, features

    if not features.check(_PILLOW_FEATURE[settings["format"]]):
        raise ImportError(f"this build of Pillow writes no {settings['format']}")

    def encode(image: NDArray[np.uint8]) -> bytes:
        buffer = BytesIO()
        Image.fromarray(image).save(buffer, **settings)
        return buffer.getvalue()

    return lambda images: [encode(image) for image in images]


_BUILDERS: dict[str, Callable[[], Callable[[Images], list[bytes]]]] = {
    "png/fpng": _fpng,
    "png/isal": _isal,
    "png/zlib": _zlib,
    "webp/pillow": partial(_pillow, format="WEBP", lossless=True, method=0, quality=0),
    "jpeg95/simplejpeg": _simplejpeg,
    "jpeg95/pillow": partial(_pillow, format="JPEG", quality=_JPEG_QUALITY, subsampling=0),
}
_EXTENSIONS = {"png": "png", "webp": "webp", "jpeg95": "jpg"}


def _load(name: str) -> Encoder | None:
    """Return the encoder, or None where its package is not installed."""
    try:
        return Encoder(name, _EXTENSIONS[name.partition("/")[0]], _BUILDERS[name]())
    except ImportError:
        return None
