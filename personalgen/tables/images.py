"""Pictures of a source, decoded under caps: no pixel is decoded before the size in bytes and pixels is known."""

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from personalgen.tables.options import LimitsOptions

_FORMATS = ("PNG", "JPEG", "WEBP")
_WHITE = (255, 255, 255, 255)
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Picture:
    """A decoded picture."""

    pixels: NDArray[np.uint8]
    """(px, px, 3) uint8 RGB."""
    sha256: str
    """Hex digest of the file's bytes."""


@dataclass(frozen=True)
class ImageFault:
    """Why there is no picture."""

    reason: str
    """image_missing, image_too_large, image_truncated or image_undecodable."""
    detail: str


def read_picture(root: Path, name: str | None, *, image_px: int, limits: LimitsOptions) -> Picture | ImageFault:
    """Return the picture of a file under `root`, centre-cropped to a square of `image_px`, or why there is none."""
    data = _read_file(root, name, limits.max_image_bytes)
    if isinstance(data, ImageFault):
        return data
    pixels = decode_picture(data, image_px=image_px, max_pixels=limits.max_image_pixels)
    if isinstance(pixels, ImageFault):
        return ImageFault(pixels.reason, f"{name}: {pixels.detail}")
    return Picture(pixels, hashlib.sha256(data).hexdigest())


def decode_picture(data: bytes, *, image_px: int, max_pixels: int) -> NDArray[np.uint8] | ImageFault:
    """Return (image_px, image_px, 3) uint8 RGB of a PNG, JPEG or WebP, upright, over white; or why there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of what is refused or mended here anyway
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                if image.width * image.height > max_pixels:
                    size = f"{image.width:,} x {image.height:,} pixels"
                    return ImageFault("image_too_large", f"{size}, allowed are {max_pixels:,}; not decoded")
                return _square(image, image_px)
    except Image.DecompressionBombError as error:
        return ImageFault("image_too_large", f"{error}; not decoded")
    except Exception as error:  # noqa: BLE001 - untrusted bytes make the decoders raise nearly anything
        cut = _is_cut(data)
        reason = "image_truncated" if cut else "image_undecodable"
        return ImageFault(reason, f"{len(data):,} bytes{', the end is missing' if cut else ''}: {type(error).__name__}")


def _read_file(root: Path, name: str | None, max_bytes: int) -> bytes | ImageFault:
    """Return a file's bytes, reading neither outside `root` nor past the cap."""
    try:
        path = _locate(root, name)
        if isinstance(path, ImageFault):
            return path
        with path.open("rb") as stream:
            data = stream.read(max_bytes + 1)
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        return ImageFault("image_missing", f"{name!r} cannot be opened: {type(error).__name__}")
    if len(data) > max_bytes:
        return ImageFault("image_too_large", f"{name}: {size:,} bytes, allowed are {max_bytes:,}; not decoded")
    return data


def _locate(root: Path, name: str | None) -> Path | ImageFault:
    """Return where a picture is, if that is a plain file under `root`, links followed."""
    if not name:
        return ImageFault("image_missing", "no path is given")
    if "://" in name:
        return ImageFault("image_missing", f"{name!r} is a URI; only paths relative to the image root are read")
    path = (root / name).resolve()
    if Path(name).is_absolute() or not path.is_relative_to(root.resolve()):
        return ImageFault("image_missing", f"{name!r} leads out of the image root; it was not opened")
    return path if path.is_file() else ImageFault("image_missing", f"{name!r} is not a file under the image root")


def _square(image: Image.Image, image_px: int) -> NDArray[np.uint8]:
    """Return the centre square of an image at `image_px`, RGB."""
    turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION_TAG, 1))
    image.draft(
        "RGB", (2 * image_px, 2 * image_px)
    )  # a JPEG is decoded at a half, quarter or eighth where that is enough
    edge = min(image.size)
    left, top = (image.width - edge) // 2, (image.height - edge) // 2
    square = _resizable(image.crop((left, top, left + edge, top + edge)))
    small = square.resize((image_px, image_px), Image.Resampling.LANCZOS, reducing_gap=3.0)
    upright = small.transpose(turn) if turn is not None else small
    if upright.mode == "RGBA":
        upright = Image.alpha_composite(Image.new("RGBA", upright.size, _WHITE), upright)
    return np.asarray(upright.convert("RGB"), dtype=np.uint8)


def _resizable(image: Image.Image) -> Image.Image:
    """Return the image in a mode that can be averaged: RGB, RGBA, L or CMYK."""
    if image.mode.startswith("I"):  # 16 bits a pixel: Pillow would clip them to 255
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode in {"RGB", "L", "CMYK"} else image.convert("RGB")


def _is_cut(data: bytes) -> bool:
    """Return whether the bytes begin like an image and lack its end."""
    if not data:
        return True
    if data.startswith(b"\x89PNG"[: len(data)]):
        return b"IEND" not in data[-64:]
    if data.startswith(b"\xff\xd8"[: len(data)]):
        return b"\xff\xd9" not in data[-1024:]
    return data.startswith(b"RIFF"[: len(data)]) and int.from_bytes(data[4:8], "little") + 8 > len(data)
