"""Past days, each drawn as of its day: a night of its own each, under which nothing moves that users see."""

from collections.abc import Sequence
from datetime import date, time
from typing import Any

from prefect import flow

from flows.nightly import RETRIED, as_task, one_night
from flows.veiled import unveiled, veiled
from personalgen import steps
from personalgen.steps import MIDNIGHT, PastDay, Workspace

prepare_past = as_task(steps.prepare_past, RETRIED)
look_back = as_task(steps.look_back, RETRIED)
draw_past = as_task(steps.draw_past, RETRIED)
conclude_past = as_task(steps.conclude_past, RETRIED)


@flow(name="backfill", validate_parameters=False, persist_result=False)
@veiled
def backfill(workspace: Workspace, days: Sequence[PastDay]) -> list[dict[str, Any]]:
    """Draw past days one after another, the oldest first; return each in numbers."""
    return [run_day(workspace, past) for past in days]


def run_backfill(
    workspace: Workspace,
    first: date,
    last: date,
    *,
    version: int | None = None,
    everybody: bool = False,
    at: time = MIDNIGHT,
) -> list[dict[str, Any]]:
    """Run `backfill` for the days from `first` to `last`, settled by `days_to_backfill`; return each in numbers."""
    days = steps.days_to_backfill(workspace, first, last, version=version, everybody=everybody, at=at)
    with unveiled():
        return backfill(workspace, days)


def run_day(workspace: Workspace, past: PastDay) -> dict[str, Any]:
    """Draw one past day, unless that was done; another night may begin between two days."""
    with one_night(workspace) as flow_run_id:
        night = prepare_past(workspace, past, flow_run_id=flow_run_id)
        done = steps.is_done(workspace, night)
        if not done:
            with steps.attempt(workspace, night):
                generated = draw_past(workspace, night, past, look_back(workspace, night, past))
                conclude_past(workspace, night, past, generated)
        steps.drop_tables(workspace, night)
        return steps.past_summary(night, already_done=done)
