"""What a server's list of runs says after a pause, and what is done about it: Prefect itself catches nothing up.

It plans a few runs ahead and lets a late one start whenever somebody serves again, and it believes for ever that the
run of a dead process is running. So `serve` looks at the list before it begins.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

from prefect import State
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments import run_deployment
from prefect.server.schemas.schedules import CronSchedule
from prefect.states import Cancelled, Crashed

from flows.deployments import FLOW
from personalgen.catalogue import read
from personalgen.schedule import nights_to_run
from personalgen.steps import Workspace

_MOST_RUNS = 200
_LONGEST_PAUSE = timedelta(days=366)
Standing = Literal["planned", "begun", "ended"]


@dataclass(frozen=True)
class Known:
    """A run that the server knows."""

    run_id: UUID
    instant: datetime
    """The night it runs: its `as_of`, else when it was scheduled."""
    standing: Standing
    ours: bool
    """Whether the schedule or an earlier catch-up made it, and not a person."""
    crashed: bool = False
    """Whether it ended as its process died, and not by an error or a person."""


@dataclass(frozen=True)
class Plan:
    """What is done about runs and missed nights."""

    cancel: tuple[UUID, ...]
    start: tuple[tuple[datetime, str], ...]
    """Instants without a run, with the key under which the server makes one run and no second."""


def plan(known: Sequence[Known], wanted: Sequence[datetime], *, now: datetime) -> Plan:
    """Return which planned runs of the past are cancelled, and for which wanted instants a run is made.

    A run that ended did not finish its night, or the instant would not be wanted: it is run again.
    """
    alive = {run.instant for run in known if run.standing != "ended"}
    late = [run for run in known if run.standing == "planned" and run.ours and run.instant <= now]
    tries = {instant: sum(run.instant == instant for run in known) for instant in wanted}
    return Plan(
        cancel=tuple(run.run_id for run in late if run.instant not in wanted),
        start=tuple((instant, night_key(instant, tries[instant])) for instant in wanted if instant not in alive),
    )


def crashed_night(
    known: Sequence[Known], newest: datetime | None, *, retries: int, now: datetime, settled: Collection[UUID] = ()
) -> tuple[datetime, str] | None:
    """Return the newest night and its next key, if its runs died at most `retries` times and did nothing else.

    An earlier one, one that is finished (`newest`), or one behind which a later one is due is not worth a run; one that
    failed or was cancelled waits. About runs that were over when `serve` began (`settled`) its catching up has decided.
    """
    due = [run.instant for run in known if run.standing != "planned" or run.instant <= now]
    instant = max(due, default=None)
    if instant is None or (newest and instant <= newest):
        return None
    runs = [run for run in known if run.instant == instant]
    if len(runs) > retries or not all(run.crashed for run in runs) or all(run.run_id in settled for run in runs):
        return None
    return instant, night_key(instant, len(runs))


def night_key(instant: datetime, tried: int) -> str:
    """Return the key of the run for an instant that was tried so many times before."""
    return f"nightly-{instant.isoformat()}" + (f"-{tried + 1}" if tried else "")


def scheduled_between(cron: str, zone: str, after: datetime, until: datetime) -> list[datetime]:
    """Return the instants after one and up to another at which Prefect schedules a cron line in a zone, UTC."""
    schedule = CronSchedule(cron=cron, timezone=zone)
    begin = after + timedelta(microseconds=1)
    found = asyncio.run(schedule.get_dates(start=begin, end=until))
    return sorted(instant.astimezone(UTC) for instant in found if after < instant <= until)


def missed_nights(workspace: Workspace, now: datetime) -> list[datetime]:
    """Return the scheduled instants between the newest finished night, or a year ago, and now."""
    options, zone = workspace.settings.schedule, workspace.settings.store.time_zone
    newest = read.newest_as_of(workspace.engine) if workspace.has_catalogue else None
    if newest is None or not options.cron:
        return []
    return scheduled_between(options.cron, zone, max(newest, now - _LONGEST_PAUSE), now)


def catch_up(workspace: Workspace, client: SyncPrefectClient, deployment_id: UUID) -> Plan:
    """Cancel late runs that the policy leaves out, start those that it wants, and return what was done."""
    now = workspace.now()
    wanted = nights_to_run(missed_nights(workspace, now), workspace.settings.schedule.catch_up)
    done = plan([_known(run) for run in _runs(client, [deployment_id])], wanted, now=now)
    for run_id in done.cancel:
        client.set_flow_run_state(run_id, _skipped(), force=True)
    for instant, key in done.start:
        _start(instant, key)
    return done


def ended_runs(client: SyncPrefectClient, deployment_id: UUID) -> frozenset[UUID]:
    """Return the runs of a deployment that are over."""
    runs = [_known(run) for run in _runs(client, [deployment_id])]
    return frozenset(run.run_id for run in runs if run.standing == "ended")


def retry_crashed(
    workspace: Workspace, client: SyncPrefectClient, deployment_id: UUID, *, settled: Collection[UUID]
) -> datetime | None:
    """Start the newest night again if its process died, and return its instant.

    `settled` runs are left as they are, but for a first night: before it nothing counts as missed.
    """
    newest = read.newest_as_of(workspace.engine) if workspace.has_catalogue else None
    known = [_known(run) for run in _runs(client, [deployment_id])]
    retries = workspace.settings.schedule.crash_retries
    found = crashed_night(known, newest, retries=retries, now=workspace.now(), settled=settled if newest else ())
    if found is None:
        return None
    _start(*found)
    return found[0]


def _start(instant: datetime, key: str) -> None:
    """Have the night of an instant run; the server makes one run of a key and no second."""
    run_deployment(
        f"{FLOW}/nightly",
        parameters={"as_of": instant.isoformat()},
        idempotency_key=key,
        timeout=0,
        as_subflow=False,
    )


def end_dead_runs(client: SyncPrefectClient, deployment_ids: Sequence[UUID]) -> int:
    """Mark runs as crashed whose process is gone; return how many. The caller knows that none of them lives."""
    dead = [run for run in _runs(client, deployment_ids) if _known(run).standing == "begun"]
    for run in dead:
        state: State[None] = Crashed(message="its process was gone when `personalgen serve` started")
        client.set_flow_run_state(run.id, state, force=True)
    return len(dead)


def _runs(client: SyncPrefectClient, deployment_ids: Sequence[UUID]) -> list[FlowRun]:
    """Return the newest runs of deployments."""
    return client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=list(deployment_ids))),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=_MOST_RUNS,
    )


def _known(run: FlowRun) -> Known:
    """Return what is asked of a run."""
    as_of = run.parameters.get("as_of")
    instant = datetime.fromisoformat(as_of) if as_of else run.expected_start_time
    standing: Standing = "planned"
    if run.state is None or not run.state.is_scheduled():
        standing = "ended" if run.state and run.state.is_final() else "begun"
    ours = bool(run.auto_scheduled) or (run.idempotency_key or "").startswith("nightly-")
    crashed = run.state is not None and run.state.is_crashed()
    return Known(run.id, (instant or datetime.now(UTC)).astimezone(UTC), standing, ours, crashed)


def _skipped() -> State[None]:
    return Cancelled(message="missed while nothing served, and left out by schedule.catch_up")
