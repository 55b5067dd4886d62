"""Prefect's temporary server lives no longer than the night that started it, however that one ends."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.settings import PREFECT_API_URL, temporary_settings

# Prefect's own, which takes as long to import as all of torch: who has not imported it started no server.
_SERVERS = "prefect.server.api.server"
# Waits at the end of a pipe that the night alone holds open: a word means that all is well, the pipe's end its death.
_WAIT = 'read -r word || kill -9 "$1"'


@contextmanager
def server_on_leash() -> Iterator[None]:
    """End the temporary server when this process is killed; without one (a server runs elsewhere) do nothing.

    Prefect ends it when Python exits, which a killed process does not: it would stay for ever, one for each kill.
    Bucket workers are told its address, so that none starts a server of its own.
    """
    server = sys.modules[_SERVERS].SubprocessASGIServer() if _SERVERS in sys.modules else None
    if server is None or server.server_process is None:
        yield
        return
    command = ["/bin/sh", "-c", _WAIT, "leash", str(server.server_process.pid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True, start_new_session=True) as leash:  # noqa: S603 - ours
        try:
            with temporary_settings({PREFECT_API_URL: server.api_url}):
                yield
        finally:
            leash.communicate("done\n")
