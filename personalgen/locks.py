"""Locks of a home, for one night and one `serve` at a time: each goes with its holder, however that one dies."""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

NIGHT, SERVE = ".night.lock", ".serve.lock"
"""Names in the data folder of a home."""

_TRIES, _WAIT_SEC = 5, 0.05
"""Who asks for the holder has the lock for a moment, which must not refuse a night."""


@dataclass(frozen=True)
class Holder:
    """A living process that holds a lock."""

    pid: int
    since: str
    """UTC instant, ISO 8601."""

    def __str__(self) -> str:
        return f"process {self.pid}, since {self.since}"


class HeldError(Exception):
    """Another process holds the lock; `holder` is None where it has not said yet who it is."""

    def __init__(self, holder: Holder | None) -> None:
        super().__init__(str(holder or "a process that has just begun"))
        self.holder = holder


@contextmanager
def hold(path: Path, *, since: datetime, on_wait: Callable[[Holder | None], None] | None = None) -> Iterator[None]:
    """Hold the lock at `path` and write into it who does; with `on_wait` after telling it whom it waits for.

    Raises:
        HeldError: another process holds it, and nobody wants to wait.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as stream:
        if not _taken(stream, fcntl.LOCK_EX, tries=_TRIES):
            if on_wait is None:
                raise HeldError(_said(stream))
            on_wait(_said(stream))
            fcntl.flock(stream, fcntl.LOCK_EX)
        stream.truncate(0)
        stream.write(json.dumps(asdict(Holder(os.getpid(), since.isoformat(timespec="seconds")))))
        stream.flush()
        yield


def is_held(path: Path) -> bool:
    """Return whether a living process holds the lock; what a dead one wrote into it says nothing."""
    if not path.exists():
        return False
    with path.open() as stream:
        return not _taken(stream, fcntl.LOCK_SH, tries=1)


def _taken(stream: IO[str], kind: int, *, tries: int) -> bool:
    """Return whether the lock was free within some tries."""
    for attempt in range(tries):
        try:
            fcntl.flock(stream, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_WAIT_SEC if attempt + 1 < tries else 0)
        else:
            return True
    return False


def _said(stream: IO[str]) -> Holder | None:
    """Return who holds the lock as they wrote it, or None where they are about to."""
    stream.seek(0)
    text = stream.read()
    return Holder(**json.loads(text)) if text.endswith("}") else None
