"""`serve`: nights by the clock, on one machine."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from personalgen.cli.terminal import ConfigOption, SetOption, quiet_environment, workspace
from personalgen.errors import ConfigError
from personalgen.locks import SERVE, HeldError, hold

if TYPE_CHECKING:
    from personalgen.steps import Workspace

_BEAT_SEC = 30
"""Seconds between the heartbeats of a run: the fewest that Prefect allows."""


def serve(config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Run nights by the clock until SIGTERM or Ctrl-C; start a Prefect server where none runs."""
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO")  # a log of what ran, here and beside each run in the UI
    quiet_environment()
    with workspace(config, overrides, quiet=True) as opened, _only_server(opened):
        home = prefect_home(opened)
        _tell_children(overrides or ())
        from flows.server import kept_server

        address = os.environ.get("PREFECT_API_URL")
        if address:
            _serve(opened, config, address)
            return
        with kept_server(home, opened.settings.schedule.port, say=_say) as own:
            _serve(opened, config, own)


def prefect_home(opened: "Workspace") -> Path:
    """Return Prefect's folder below this home, and make Prefect use it unless another is set."""
    home = opened.data / ".prefect"
    home.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PREFECT_HOME", str(home))
    return home


def use_own_server(home: Path) -> None:
    """Use the server that `serve` keeps for this home, if it runs and none is named: two on one database would wait."""
    from flows.server import running_server

    if "PREFECT_API_URL" not in os.environ and (address := running_server(home)):
        os.environ["PREFECT_API_URL"] = address


def _serve(opened: "Workspace", config: Path | None, address: str) -> None:
    """Serve with a server whose address prefect reads when it is imported."""
    os.environ["PREFECT_API_URL"] = address
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", str(_BEAT_SEC))
    from flows.serving import serve_nights

    _say(f"Prefect server at {address.removesuffix('/api')}")
    serve_nights(opened, config, say=_say)
    _say("stopped; the schedule stays, and the next `personalgen serve` catches up")


def _tell_children(overrides: Sequence[str]) -> None:
    """Hand overrides to runs by the environment: as parameters, a server would keep them, secrets and all."""
    from personalgen.option_values import ENV_PREFIX

    for override in overrides:
        key, _, value = override.partition("=")
        os.environ[ENV_PREFIX + key.strip().upper().replace(".", "__")] = value


@contextmanager
def _only_server(opened: "Workspace") -> Iterator[None]:
    """Hold the lock of those who serve this home.

    Raises:
        ConfigError: somebody serves it already.
    """
    try:
        with hold(opened.data / SERVE, since=opened.now()):
            yield
    except HeldError as error:
        raise ConfigError(
            f"`personalgen serve` runs for {opened.settings.root} already: {error}. Stop it first, or choose another "
            "home. Nothing was started."
        ) from None


def _say(text: str) -> None:
    sys.stderr.write(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {text}\n")
    sys.stderr.flush()
