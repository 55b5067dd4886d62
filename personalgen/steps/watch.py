"""Watches over a night: its lines are written down, and whoever is to be told is told how it ended."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from personalgen.errors import BusyError
from personalgen.journal.discreet import told
from personalgen.journal.lines import TOLD_ELSEWHERE
from personalgen.journal.notices import Notice, send
from personalgen.steps.night import Night
from personalgen.steps.workspace import Workspace

_log = logging.getLogger(__name__)


@contextmanager
def watched(workspace: Workspace, *, flow_run_id: str | None = None) -> Iterator[None]:
    """Hold the home and keep the journal open; write and send how the night ended, whose error passes unchanged.

    A night that was stopped is written down, and sent to nobody. So is one that was refused: it never began.

    Raises:
        BusyError: another process holds the home, and this one does not wait.
    """
    journal = workspace.journal
    with journal.opened(prefect_flow_run_id=flow_run_id):
        try:
            with workspace.only_night():
                _log.info("night began")
                yield
        except BusyError as error:
            _log.warning("night refused: %s", told(error), extra=_facts(error))
            raise
        except BaseException as error:
            _log.error("night failed: %s", told(error), extra=_facts(error))
            if isinstance(error, Exception):  # whoever stopped it, by Ctrl-C or SIGTERM, knows
                _send(workspace, "failed", error)
            raise
        _log.info("night ended")
        if workspace.settings.notify.on_success:
            _send(workspace, "done", None)


def tell_night(workspace: Workspace, night: Night) -> None:
    """Name a night in every line from here on."""
    workspace.journal.tell(night_key=night.key, day=night.day, mlflow_run_id=night.parent_run_id)


def _facts(error: BaseException) -> dict[str, object]:
    """Return what a line about an error says beside its words."""
    return {"facts": {"error": type(error).__name__}, **TOLD_ELSEWHERE}


def _send(workspace: Workspace, outcome: str, error: BaseException | None) -> None:
    settings, fields = workspace.settings, workspace.journal.fields
    notice = Notice(
        outcome=outcome,
        day=fields.get("day", ""),
        stage=workspace.journal.failed_stage,
        error=type(error).__name__ if error else "",
        message=told(error) if error else "",
        night_key=fields.get("night_key", ""),
        mlflow_run_id=fields.get("mlflow_run_id", ""),
        prefect_flow_run_id=fields.get("prefect_flow_run_id", ""),
        source=settings.source.name,
        host=socket.gethostname(),
        home=str(settings.root),
    )
    send(notice, settings.notify)
