"""A night that only generates: what people like now, drawn by what is live; nothing is trained or measured."""

from datetime import datetime
from typing import Any

from prefect import flow

from flows.nightly import (
    RETRIED,
    as_task,
    embed,
    generate,
    one_night,
    prepare,
    recommend,
    run_once,
    run_there,
    scheduled_time,
    score,
)
from flows.veiled import veiled
from personalgen import steps
from personalgen.steps import Night, Workspace

keep_live = as_task(steps.keep_live, RETRIED)
report_live = as_task(steps.report_live, RETRIED)


@flow(name="generate-only", validate_parameters=False, persist_result=False)
@veiled
def generate_only(workspace: Workspace, as_of: datetime | None = None) -> dict[str, Any]:
    """Draw for new and changed users with what is live; return the night's summary."""
    with one_night(workspace) as flow_run_id:
        night = prepare(workspace, as_of=as_of or scheduled_time(), flow_run_id=flow_run_id, kind="generate")
        return run_once(workspace, night, run_generating_stages)


def generate_night(workspace: Workspace, as_of: datetime | None = None) -> dict[str, Any]:
    """Run `generate_only` where the settings say that buckets of users are worked on; return its summary."""
    return run_there(generate_only, workspace, as_of=as_of)


def run_generating_stages(workspace: Workspace, night: Night) -> None:
    """Run every stage after prepare."""
    embedded = embed(workspace, night, recommend(workspace, night))
    decided = keep_live(workspace, night)
    generated = generate(workspace, night, embedded, decided)
    score(workspace, night)
    report_live(workspace, night, embedded, decided, generated)
