"""What a Prefect server may start: each deployment takes a config file and an instant, as JSON, and opens the rest.

A line of `DEPLOYMENTS` is all that another one needs. `personalgen serve` and prefect.yaml deploy the same flows.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from prefect import Flow, get_run_logger

from flows.backfill import run_backfill
from flows.generate_only import generate_night
from flows.nightly import run_night, scheduled_time
from flows.retrain import retrain_night
from flows.veiled import shown, veiled
from personalgen.config import load_settings
from personalgen.steps import Workspace

TAG: Final = "personalgen"
"""Of every run that a deployment started. Its tasks have none: for each tag of a task Prefect asks the server for a
slot, and a server that is away at that moment would end the night."""
FLOW: Final = "personalgen"
_TOLD_EVERY_SEC = 30.0
Logger = logging.Logger | logging.LoggerAdapter[Any]


def _deployed(name: str, run: Callable[[Workspace, datetime | None], Any]) -> Flow[..., Any]:
    """Return a flow of parameters that JSON can hold, which opens a workspace and runs a flow of ours in it."""

    def entry(config: str = "", overrides: list[str] | None = None, as_of: datetime | None = None) -> Any:
        with _opened(config, overrides or ()) as workspace:
            return run(workspace, _utc(as_of) or _reached(scheduled_time()))

    entry.__name__ = entry.__qualname__ = name.replace("-", "_")
    entry.__doc__ = f"Run `{name}` with a TOML file, key=value overrides, and the events before `as_of` (UTC)."
    return Flow(veiled(shown(entry)), name=FLOW, flow_run_name=name, persist_result=False)


def _backfill(
    first: date,
    last: date,
    model: int | None = None,
    everybody: bool = False,  # noqa: FBT001, FBT002 - a parameter of a deployment has a name
    config: str = "",
    overrides: list[str] | None = None,
) -> Any:
    """Draw the days from `first` to `last` as of their midnights, with what was live then or version `model`."""
    with _opened(config, overrides or ()) as workspace:
        return run_backfill(workspace, first, last, version=model, everybody=everybody)


nightly = _deployed("nightly", run_night)
retrain = _deployed("retrain", retrain_night)
generate_only = _deployed("generate-only", generate_night)
backfill: Flow[..., Any] = Flow(veiled(shown(_backfill)), name=FLOW, flow_run_name="backfill", persist_result=False)

DEPLOYMENTS: Final[dict[str, Flow[..., Any]]] = {
    "nightly": nightly,
    "retrain": retrain,
    "generate-only": generate_only,
    "backfill": backfill,
}
"""By name; each is an attribute of this module too, with _ for -, which is where a worker finds it."""


@contextmanager
def _opened(config: str, overrides: Sequence[str]) -> Iterator[Workspace]:
    """Yield the workspace of a run that nobody watches: it waits for the home, and tells its progress to the log."""
    settings = load_settings(Path(config) if config else None, overrides)
    workspace = Workspace(settings, progress=_logged(get_run_logger()), waits=True)
    try:
        yield workspace
    finally:
        workspace.close()


def _logged(logger: Logger) -> Callable[..., None]:
    """Return a progress display that writes a line when a stage begins, and every half a minute."""
    last: dict[str, Any] = {"stage": "", "at": 0.0}

    def update(stage: str, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        if stage != last["stage"] or now - last["at"] >= _TOLD_EVERY_SEC:
            last.update(stage=stage, at=now)
            logger.info("%s: %s of %s %s", stage, f"{done:,}", f"{total:,}" if total else "unknown", note)

    return update


def _reached(planned: datetime | None) -> datetime | None:
    """Return when a run was planned for, once it is that time: Prefect lets it begin within the second before."""
    if planned is not None:
        time.sleep(max(planned.timestamp() - time.time(), 0.0))
    return planned


def _utc(instant: datetime | None) -> datetime | None:
    """Return an instant as aware UTC; one without a zone is UTC."""
    if instant is None:
        return None
    aware = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant
    return datetime.fromtimestamp(aware.timestamp(), UTC)  # Prefect hands over a type of its own
