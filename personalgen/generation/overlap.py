"""Threads behind the one that draws: some encode the batches before it, one writes the shard before it.

Bits, order and boundaries are those of a single thread; a queue that is full makes its caller wait, so memory is flat.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from types import TracebackType
from typing import Any, Self

from personalgen.generation.encoders import Encoder, Refused
from personalgen.generation.sampler import Drawing

ENCODERS = min(4, os.cpu_count() or 1)
"""Threads that encode, and batches that wait: PNG needs one of them at 60,000 images a second, WebP all at 20,000."""


class OneBehind:
    """Makes calls in one other thread, in order, at most one of them unfinished.

    Use it as a context manager: at the end the last call is waited for.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._last: Future[None] | None = None

    def call(self, work: Callable[..., None], *arguments: Any) -> None:
        """Begin a call once the one before it is done; raises what that one raised instead, and begins nothing."""
        self.wait()
        self._last = self._thread.submit(copy_context().run, work, *arguments)

    def check(self) -> None:
        """Raise what the last call raised, if it did so already."""
        if self._last is not None and self._last.done():
            self._last.result()

    def wait(self) -> None:
        """Wait for the last call; raise what it raised."""
        if self._last is not None:
            self._last.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        if error is None:
            self.wait()


def encode_behind(drawings: Iterable[Drawing], encoder: Encoder) -> list[bytes | Refused]:
    """Return the files of all drawings in order, encoded while the next ones are drawn."""
    files: list[bytes | Refused] = []
    waiting: deque[Future[list[bytes | Refused]]] = deque()
    with ThreadPoolExecutor(ENCODERS, thread_name_prefix="encode") as threads:
        for drawing in drawings:
            waiting.append(threads.submit(_encode, encoder, drawing))
            if len(waiting) > ENCODERS:
                files += waiting.popleft().result()
        for batch in waiting:
            files += batch.result()
    return files


def _encode(encoder: Encoder, drawing: Drawing) -> list[bytes | Refused]:
    return encoder.encode(drawing.images())
