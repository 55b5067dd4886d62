"""One attempt at a night in a process of its own, in which something is killed at a moment with SIGKILL.

The attempt is forked from a process that has imported everything and started no thread: a new interpreter would take
longer to import than some stages take.
"""

import atexit
import ctypes
import functools
import importlib
import mmap
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from personalgen.config import load_settings
from personalgen.registry.promotion import Verdict
from personalgen.steps import Workspace
from personalgen.steps.night import STAGES

CONFIG = Path(__file__).parent.parent / "tests" / "flows" / "tiny.toml"
START = "start"
"""The stage of a night that has not reached its first one: its process, and Prefect's server, are being started."""
ORDER = (START, *STAGES)
LONGEST_SEC = 600.0
"""After which a night that lost a process, and did not end, counts as hung."""
LINGER_SEC = 15.0
"""How long processes of a night may outlive it; Prefect's server takes some seconds to leave."""
_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Night:
    """What is asked of a night."""

    name: str
    home: Path
    world: Path
    overrides: tuple[str, ...] = ()
    promoted: bool = False
    """Whether the gate promotes whatever was measured."""
    by_prefect: bool = False
    """Through Prefect's flow with bucket workers in processes; else the flow's function over the steps themselves."""

    def workspace(self) -> Workspace:
        """Return the workspace of this night."""
        more = ("buckets.runner=processes", "buckets.users=40") if self.by_prefect else ()
        places = (f"home={self.home}", f"world.folder={self.world}")
        return Workspace(load_settings(CONFIG, [*places, *self.overrides, *more]))

    def run(self, board: "Board") -> None:
        """Run the night in this process, for good: its tasks tell their stage from now on."""
        from flows import nightly as module

        for name in STAGES:
            task = getattr(module, name)
            task.fn = told(task.fn, functools.partial(board.write, name))
            if not self.by_prefect:
                setattr(module, name, task.fn)
        if self.promoted:
            verdict = Verdict(promote=True, reasons=("the campaign says so",))
            vars(importlib.import_module("personalgen.steps.promote"))["gate"] = lambda *_: verdict
        (module.run_night if self.by_prefect else module.nightly.fn)(self.workspace())


def told(step: Callable[P, R], tell: Callable[[], None]) -> Callable[P, R]:
    """Return the step, which calls `tell` first."""

    @functools.wraps(step)
    def telling(*arguments: P.args, **options: P.kwargs) -> R:
        tell()
        return step(*arguments, **options)

    return telling


class Board:
    """A word that a process and its forks see."""

    def __init__(self, word: str) -> None:
        """Begin with `word`."""
        self._memory = mmap.mmap(-1, 64)
        self.write(word)

    def __reduce__(self) -> tuple[type["Board"], tuple[str]]:
        """Give bucket workers, to whom Prefect sends the flow's tasks, a board of their own: they tell no stages."""
        return Board, (START,)

    def write(self, word: str) -> None:
        """Replace the word."""
        self._memory[:] = word.encode().ljust(64)

    def read(self) -> str:
        """Return the word."""
        return bytes(self._memory[:]).decode().strip()


@dataclass(frozen=True)
class Moment:
    """So many seconds after a night has reached a stage, or one behind it."""

    stage: str
    sec: float


@dataclass(frozen=True)
class Ended:
    """How an attempt ended."""

    how: str
    """done, failed, killed, or hung: it lost a process and neither went on nor ended."""
    stage: str
    """Where it was when it, or its process, was killed; else where it ended."""
    victim: str
    """night, server or worker; empty where nothing was killed."""
    sec: float
    left: tuple[str, ...]
    """Kinds of processes that outlived it and had to be killed."""
    stages_sec: dict[str, float]


def attempt(night: Night, *, log: Path, moment: Moment | None = None, victim: str = "night") -> Ended:
    """Run a night in a fork, killed at a moment (None: not killed); its output is appended to `log`.

    Where the victim is not there at that moment, the night is killed itself.
    """
    board, began, at, hit = Board(START), time.monotonic(), START, ""
    reached: dict[str, float] = {}
    child = os.fork()
    if child == 0:
        _be(night, board, log)
    status, longest_sec = None, LONGEST_SEC
    while status is None and time.monotonic() - began < longest_sec:
        reached.setdefault(board.read(), time.monotonic())
        if moment and not hit and _is_over(moment, reached):
            at, hit = board.read(), _kill(child, victim)
            longest_sec += time.monotonic() - began
        status = _status(child)
    if status is None:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    left, now = tuple(_end_all(child)), time.monotonic()
    how = "hung" if status is None else "killed" if os.WIFSIGNALED(status) else "failed" if status else "done"
    ends = dict(zip(reached, [*list(reached.values())[1:], now], strict=True))
    return Ended(how, at if hit else board.read(), hit, now - began, left, {s: ends[s] - reached[s] for s in reached})


def _is_over(moment: Moment, reached: dict[str, float]) -> bool:
    """Return whether the moment has come, where stages were reached at these times."""
    behind = ORDER[ORDER.index(moment.stage) :]
    times = [reached[stage] for stage in behind if stage in reached]
    return bool(times) and time.monotonic() - min(times) >= moment.sec


def _be(night: Night, board: Board, log: Path) -> None:
    """Be the night's process; does not return."""
    os.setsid()
    ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for output in (1, 2):
        os.dup2(stream, output)
    code = 1
    try:
        night.run(board)
        code = 0
    finally:
        if code:
            sys.excepthook(*sys.exc_info())
        atexit._run_exitfuncs()  # noqa: SLF001 - os._exit skips them, and so Prefect's server would stay
        os._exit(code)


def _status(child: int) -> int | None:
    """Return a child's status after a moment, None while it runs."""
    time.sleep(0.01)
    found, status = os.waitpid(child, os.WNOHANG)
    return status if found else None


def _kill(child: int, victim: str) -> str:
    """Kill the victim among the night's processes, or the night where it has none of that kind; return what died."""
    found = [process for process, kind in processes(child) if kind == victim]
    os.kill(found[0] if found else child, signal.SIGKILL)
    return victim if found else "night"


def _end_all(child: int) -> Iterator[str]:
    """Wait for what is left of a dead night's processes, then kill it; yield the kinds of what had to be killed."""
    deadline = time.monotonic() + LINGER_SEC
    while (left := list(processes(child))) and time.monotonic() < deadline:
        time.sleep(0.02)
    for process, kind in left:
        os.kill(process, signal.SIGKILL)
        yield kind


def processes(session: int) -> Iterator[tuple[int, str]]:
    """Yield (pid, kind) of the living processes of a session: night, server, worker or helper."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            state, _, _, own = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(own) == session and state != "Z":
            yield int(folder.name), _kind(command) if int(folder.name) != session else "night"


def _kind(command: str) -> str:
    if "uvicorn" in command:
        return "server"
    return "worker" if "spawn_main" in command else "helper"
