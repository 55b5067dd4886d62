"""What Prefect's interface shows of a night: its numbers, links to its pages, how far long stages are.

An artifact that cannot be written is a line in the journal, and nothing else: the night is the work, not its picture.
"""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prefect import runtime
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from personalgen.steps.workspace import Progress

SUMMARY, REPORT, SHEET, VERDICT = "night-summary", "night-report", "contact-sheet", "promotion"
_EVERY_SEC = 30.0
_log = logging.getLogger(__name__)


def show_night(summary: Mapping[str, Any]) -> None:
    """Show the night's numbers as a table, and link its report and contact sheet.

    Links, not images: an image artifact takes a URL that a browser can fetch, and these are files of the machine.
    """
    table = [{"fact": name.replace("_", " "), "value": str(value)} for name, value in summary.items()]
    day = summary["day"]
    written(create_table_artifact, key=SUMMARY, table=table, description=f"Night of {day}")
    for key, name, text in ((REPORT, "report", "The night's page"), (SHEET, "sheet", "History beside pictures")):
        if summary.get(name):
            link = Path(summary[name]).as_uri()
            written(create_link_artifact, key=key, link=link, link_text=f"{text}, {day}", description=summary[name])


def show_verdict(markdown: str, *, day: str) -> None:
    """Show what became of the night's challenger, and why; catalogue and MLflow hold it whatever happens here."""
    written(create_markdown_artifact, markdown, key=VERDICT, description=f"What became of the challenger of {day}")


def with_progress(shown: Progress) -> Progress:
    """Return a progress display that shows stages of more than half a minute in Prefect, too, beside `shown`."""
    artifacts: dict[str, Any] = {}
    asked: dict[str, float] = {}

    def update(stage: str, done: int, total: int, note: str = "") -> None:
        shown(stage, done, total, note)
        now = time.monotonic()
        if not total or now - asked.setdefault(stage, now) < _EVERY_SEC:
            return
        asked[stage] = now
        percent = min(100.0 * done / total, 100.0)
        if artifacts.get(stage):
            written(update_progress_artifact, artifacts[stage], progress=percent)
        else:
            key = "progress-" + "".join(one if one.isalnum() else "-" for one in stage.lower())
            artifacts[stage] = written(create_progress_artifact, progress=percent, key=key, description=stage)

    return update


def written(write: Callable[..., Any], *arguments: Any, **facts: Any) -> Any:
    """Return what writing an artifact returned, or None where it failed, or no Prefect run is there to hold it."""
    if not runtime.flow_run.id:
        return None
    try:
        return write(*arguments, **facts)
    except Exception as error:  # noqa: BLE001 - whatever Prefect's server says, the night goes on
        _log.info("artifact %s not written: %s", facts.get("key", ""), type(error).__name__)
        return None
