"""From conditions and seeds to uint8 images: the same bits whatever ran before or stands beside in the batch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from personalgen.conditions import Condition
from personalgen.errors import ConditionError, InternalError
from personalgen.generation.options import OperatingPoint
from personalgen.models import Generator
from personalgen.seeding import draw_z
from personalgen.threads import torch_threads

CHUNK = 64
"""Images per conversion to uint8: larger chunks leave the cache and cost three to ten times as much an image."""


@dataclass(frozen=True, eq=False)
class Drawing:
    """Images that a device may still be drawing; another thread may wait for them."""

    pixels: tuple[Tensor, ...]
    """Chunks of (b, R, R, 3) uint8 in memory of the CPU, filled once `done` has happened."""
    finite: Tensor
    """One boolean: whether the generator returned nothing but finite values."""
    done: torch.cuda.Event | None
    """None where all of it is there."""

    def images(self) -> NDArray[np.uint8]:
        """Return (B, R, R, 3) uint8; waits for the device, outside Python's lock.

        Raises:
            InternalError: the generator returned a value that is not finite.
        """
        if self.done is not None:
            self.done.synchronize()
        if not self.finite:
            raise InternalError(
                "the generator returned values that are not finite: its training diverged. Roll back to an earlier "
                "model version (personalgen models rollback). No image of this batch was written."
            )
        chunks = [chunk.numpy() for chunk in self.pixels]
        return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)


class Sampler:
    """Draws images from a generator at one operating point.

    Every pass has exactly `batch_size` rows (the last one is padded) and runs in fp32 and eval mode on `n_threads` CPU
    threads: a row depends on its own condition and seed alone.
    """

    def __init__(
        self,
        generator: Generator,
        *,
        device: torch.device | str = "cpu",
        batch_size: int = 64,
        operating_point: OperatingPoint | None = None,
        n_threads: int = 1,
    ) -> None:
        """Refuse an operating point that the generator cannot be asked for.

        Raises:
            ConditionError: a strength names a field that the model does not have.
        """
        self.generator = generator.to(device).eval()
        self.device = torch.device(device)
        self.batch_size = batch_size
        self.operating_point = operating_point or OperatingPoint()
        self.n_threads = n_threads
        if unknown := sorted(self.operating_point.strengths.keys() - set(generator.spec.names)):
            raise ConditionError(
                f"generation.strengths names {unknown}; the model's fields are {list(generator.spec.names)}. "
                "Nothing was generated."
            )

    def sample(self, condition: Condition, seeds: Sequence[int]) -> NDArray[np.uint8]:
        """Return (len(seeds), R, R, 3) uint8; row k is drawn at row k of `condition` with z from seeds[k].

        Raises:
            InternalError: there is not one seed per row, or the generator returned a value that is not finite.
        """
        _check_seeds(condition, seeds)
        self.generator.spec.check(condition)
        edge = self.generator.resolution
        images = np.empty((len(seeds), edge, edge, 3), dtype=np.uint8)
        for start in range(0, len(seeds), self.batch_size):
            rows = slice(start, min(start + self.batch_size, len(seeds)))
            images[rows] = self.start(condition.take(rows), seeds[rows]).images()
        return images

    def start(self, condition: Condition, seeds: Sequence[int]) -> Drawing:
        """Return one batch of 1 to `batch_size` images as soon as the device has all of its work; see `sample`.

        On a CPU that is when they are drawn. On a GPU the next batch can be started meanwhile.

        Raises:
            InternalError: there is not one seed per row, or not 1 to `batch_size` of them.
        """
        _check_seeds(condition, seeds)
        if not 1 <= len(seeds) <= self.batch_size:
            raise InternalError(
                f"a batch has 1 to {self.batch_size} images, found {len(seeds)}. Nothing was generated."
            )
        self.generator.spec.check(condition)
        with torch.inference_mode(), reproducible(self.n_threads):
            index = torch.arange(self.batch_size).clamp(max=len(seeds) - 1)
            z = draw_z([seeds[k] for k in index.tolist()], self.generator.z_dim) * self.operating_point.truncation_psi
            told = condition.take(index).to(self.device)
            return drawing_of(self._guided(z.to(self.device), told)[: len(seeds)])

    def _guided(self, z: Tensor, condition: Condition) -> Tensor:
        """Return x_null + g (x_c - x_null), both on the same z; the plain x_c at g = 1.

        Source: Ho & Salimans 2022, equation 6, applied to images instead of scores. The strength of each field works
        inside the generator, before this.
        """
        guidance = self.operating_point.guidance
        at_condition: Tensor = self.generator(z, condition, self.operating_point.strengths)
        if guidance == 1.0:
            return at_condition
        null = self.generator.spec.null_condition(self.batch_size, device=self.device)
        at_null: Tensor = self.generator(z, null)
        return at_null + guidance * (at_condition - at_null)


@contextmanager
def reproducible(n_threads: int) -> Iterator[None]:
    """Fix the CPU thread count and the GPU's choice of algorithms; restore both."""
    exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with torch_threads(n_threads), exact:
        yield


def drawing_of(x: Tensor) -> Drawing:
    """Return (B, 3, R, R) images of a generator, in about [-1, 1], as what the device will make of them."""
    finite = torch.isfinite(x.sum())  # one value that is not finite makes the sum so
    pixels = tuple(_chunk_to_uint8(chunk) for chunk in x.split(CHUNK))
    if not x.is_cuda:
        return Drawing(pixels, finite, None)
    # A copy to the CPU that does not block goes to pinned memory: nothing waits for it but the event behind it.
    copies = tuple(chunk.to("cpu", non_blocking=True) for chunk in pixels)
    flag, done = finite.to("cpu", non_blocking=True), torch.cuda.Event()
    done.record(torch.cuda.current_stream(x.device))
    return Drawing(copies, flag, done)


def to_uint8(x: Tensor) -> NDArray[np.uint8]:
    """Return (B, H, W, 3) uint8 of (B, 3, H, W) images in about [-1, 1], rounded half up and clipped."""
    chunks = [_chunk_to_uint8(chunk).cpu().numpy() for chunk in x.split(CHUNK)]
    return np.concatenate(chunks) if chunks else np.empty((0, *x.shape[2:], 3), dtype=np.uint8)


def _chunk_to_uint8(x: Tensor) -> Tensor:
    """Return (b, H, W, 3) uint8 of one chunk, on its device.

    Channel by channel, which moves the channels last in two thirds of the time of a permuted copy.
    """
    pixels = _truncated((x * 127.5).add_(128.0).clamp_(0.0, 255.0))
    images = pixels.new_empty((*pixels[:, 0].shape, 3))
    for channel in range(3):
        images[..., channel] = pixels[:, channel]
    return images


def _truncated(x: Tensor) -> Tensor:
    """Return uint8 of values in [0, 256), on their device; on a CPU by NumPy, in half of torch's time."""
    if x.device.type != "cpu":
        return x.to(torch.uint8)
    with np.errstate(invalid="ignore"):  # of what is not finite, which nobody is given (`Drawing.images`)
        return torch.from_numpy(x.numpy().astype(np.uint8))


def _check_seeds(condition: Condition, seeds: Sequence[int]) -> None:
    if condition.batch_size != len(seeds):
        raise InternalError(f"{condition.batch_size} conditions came with {len(seeds)} seeds. Nothing was generated.")
