"""The Prefect server of a home: found where one runs, started where none does, and started again when it dies.

Imports nothing of prefect, which reads the address of its server once, when it is imported.
"""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final
from urllib.error import URLError
from urllib.request import urlopen

from personalgen.artifacts import read_json, write_json
from personalgen.errors import ConfigError, ServerError

_LEASES = "prefect.server.concurrency.lease_storage.filesystem"
_START_SEC: Final = 180.0
_STOP_SEC: Final = 20.0
_LOOK_EVERY_SEC: Final = 1.0
_ASK_EVERY_SEC: Final = 0.2


@contextmanager
def kept_server(folder: Path, port: int, *, say: Callable[[str], None]) -> Iterator[str]:
    """Yield the address of a server whose files lie in `folder`; while inside, one that dies is started again.

    One that an earlier `serve` left is taken over. Leaving stops it.

    Raises:
        ServerError: it does not start.
        ConfigError: the port serves something else.
    """
    url = _ensure(folder, port, say)
    stopped = threading.Event()
    watch = threading.Thread(target=_watch, args=(folder, port, say, stopped), name="server-watch", daemon=True)
    watch.start()
    try:
        yield url
    finally:
        stopped.set()
        watch.join()
        _stop(folder)


def running_server(folder: Path) -> str | None:
    """Return the address of the server whose files lie in `folder`, or None where none runs."""
    with _lock(folder, fcntl.LOCK_SH) as free:
        if free or not (folder / "server.json").is_file():
            return None
    return str(read_json(folder / "server.json")["url"])


def _watch(folder: Path, port: int, say: Callable[[str], None], stopped: threading.Event) -> None:
    """Start the server again whenever it is gone."""
    while not stopped.wait(_LOOK_EVERY_SEC):
        if running_server(folder) is None:
            say("the Prefect server is gone; it is started again")
            with suppress(ServerError, ConfigError):  # said, and tried again in a second
                _ensure(folder, port, say)


def _ensure(folder: Path, port: int, say: Callable[[str], None]) -> str:
    """Return the address of a server that answers, started here if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    started: subprocess.Popen[bytes] | None = None
    deadline = time.monotonic() + _START_SEC
    while time.monotonic() < deadline and (started is None or started.poll() is None):
        url = running_server(folder)
        if url is None:
            started = _start_if_free(folder, port, say) or started
        elif _answers(url):
            return url
        time.sleep(_ASK_EVERY_SEC)
    told = _last_words(folder / "server.log")
    if "already in use" in told:
        raise _port_in_use(port)
    raise ServerError(
        f"the Prefect server of {folder} did not answer within {_START_SEC:.0f} seconds: {told or 'it said nothing'}. "
        f"See {folder / 'server.log'}. Nothing was scheduled."
    )


def _start_if_free(folder: Path, port: int, say: Callable[[str], None]) -> "subprocess.Popen[bytes] | None":
    """Return a server that was started now, or None where somebody else holds the folder at this moment."""
    with _lock(folder, fcntl.LOCK_EX) as free:
        if free is None:
            return None
        if _is_in_use(port):  # what answers there is not ours, as ours would hold the folder
            raise _port_in_use(port)
        say(f"starting a Prefect server at {_address(port)}, log in {folder / 'server.log'}")
        process = _start(folder, port, free)
        write_json(folder / "server.json", {"url": _address(port), "pid": process.pid})
        return process


def _start(folder: Path, port: int, lock: IO[str]) -> "subprocess.Popen[bytes]":
    """Start a server that holds the folder's lock for as long as it lives, and outlives this process."""
    environment = os.environ | {
        "PREFECT_HOME": str(folder),
        "PREFECT_API_URL": _address(port),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        # In memory, as Prefect has it, a restart of the server would end the runs that hold a slot.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": _LEASES,
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "server.log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - our own words
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[lock.fileno()],
            start_new_session=True,
        )


def _stop(folder: Path) -> None:
    """End the folder's server, if one runs."""
    if running_server(folder) is None:
        return
    pid = int(read_json(folder / "server.json")["pid"])
    for ending, patience in ((signal.SIGTERM, _STOP_SEC), (signal.SIGKILL, _STOP_SEC)):
        with suppress(ProcessLookupError):
            os.kill(pid, ending)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # one that an earlier `serve` started is nobody's child here
            if running_server(folder) is None:
                return
            time.sleep(0.1)


@contextmanager
def _lock(folder: Path, kind: int) -> Iterator[IO[str] | None]:
    """Yield the folder's lock, shared or exclusive, or None where a living server holds it."""
    if not folder.is_dir():
        yield None
        return
    with (folder / "server.lock").open("w") as stream:
        try:
            fcntl.flock(stream, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield stream


def _address(port: int) -> str:
    return f"http://127.0.0.1:{port}/api"


def _is_in_use(port: int) -> bool:
    """Return whether a program listens on a port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that ended are nobody's
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _port_in_use(port: int) -> ConfigError:
    return ConfigError(
        f"port {port} of 127.0.0.1 is in use by another program, perhaps by another home's server. Set "
        "schedule.port to a free one, or PREFECT_API_URL to the server that shall be used. Nothing was scheduled."
    )


def _answers(url: str) -> bool:
    """Return whether a server says that it is well."""
    try:
        with urlopen(f"{url}/health", timeout=5) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _last_words(log: Path) -> str:
    """Return the end of a log in one line."""
    return " ".join(log.read_text(encoding="utf-8", errors="replace").split())[-500:] if log.is_file() else ""
