"""Serves the nights of one home: tells a server of the deployments, mends its list of runs, and runs what is due.

One run at a time, by the runner's own limit and the home's lock. Prefect's limit of a deployment is not used: it is a
lease that the night must renew, and a server that is away at that moment would end the night.
"""

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType

from flows.catch_up import catch_up, end_dead_runs, ended_runs, retry_crashed
from flows.deployments import DEPLOYMENTS, FLOW, TAG
from flows.heartbeats import watch_heartbeats
from personalgen.errors import CatalogueError, ConfigError
from personalgen.steps import Workspace

_POLL_SEC: Final = 5.0
_AHEAD_SEC: Final = 20.0
"""A run's process starts so long before its time, as imports take a while; it begins at its time."""
_AGAIN_SEC: Final = 5.0
_LOOK_SEC: Final = 0.2
_CRASHED_SEC: Final = 15.0
"""Between two looks for a night whose process died."""
_HOME: Final = "home:"
_LOST: Final = (RuntimeError, httpx.HTTPError, OSError, ExceptionGroup)
"""What the runner and the client raise while the server is away."""
Say = Callable[[str], None]


def serve_nights(workspace: Workspace, config: Path | None, *, say: Say) -> None:
    """Run due nights until SIGTERM or SIGINT; a server that is away for a while is waited for.

    Raises:
        ConfigError: Prefect cannot read the cron line, or the server runs the nights of another home.
    """
    deployments = planned_deployments(workspace, config)
    settled: frozenset[UUID] | None = None
    with _signals() as stop, ThreadPoolExecutor(1) as beside:  # the runner would take the signals of a main thread
        while not stop.is_set():
            try:
                nightly, ended = _register(workspace, deployments, say)
                settled = ended if settled is None else settled  # a run that died since then may go on by itself
                say(f"serving {', '.join(DEPLOYMENTS)} of {workspace.settings.root}; {_when(workspace)}")
                retry = partial(_retry, workspace, nightly, settled, say)
                beside.submit(asyncio.run, _serve(deployments, stop, retry)).result()
            except _LOST as error:
                if not _is_away(error):
                    raise
                say(f"the Prefect server is away ({_reason(error)}); tried again in {_AGAIN_SEC:.0f} seconds")
                stop.wait(_AGAIN_SEC)


def planned_deployments(workspace: Workspace, config: Path | None) -> list[RunnerDeployment]:
    """Return what the server is told of; `nightly` with its schedule.

    Raises:
        ConfigError: Prefect cannot read the cron line.
    """
    parameters = {"config": str(config.resolve())} if config else {}
    return [_deployment(workspace, name, flow, parameters) for name, flow in DEPLOYMENTS.items()]


@contextmanager
def _signals() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    before = {n: signal.signal(n, lambda *_: stop.set()) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _register(workspace: Workspace, deployments: Sequence[RunnerDeployment], say: Say) -> tuple[UUID, frozenset[UUID]]:
    """Tell the server of the deployments, mend its list of runs before anything of it starts.

    Return `nightly`'s id, and its runs that are over.
    """
    with get_client(sync_client=True) as client:
        for deployment in deployments:
            _require_own(client, deployment)
        ids = {deployment.name: _told(deployment) for deployment in deployments}
        watch_heartbeats(client)
        with suppress(CatalogueError), workspace.only_night():  # where a night holds the home, its run may live
            if n_dead := end_dead_runs(client, list(ids.values())):
                say(f"{n_dead} runs of dead processes were marked as crashed")
        ended = ended_runs(client, ids["nightly"])
        done = catch_up(workspace, client, ids["nightly"])
        for instant, _ in done.start:
            say(f"the night of {instant.isoformat()} was missed and runs now")
        if done.cancel:
            say(f"{len(done.cancel)} late runs were cancelled: schedule.catch_up = {_policy(workspace)}")
    return ids["nightly"], ended


def _retry(workspace: Workspace, nightly: UUID, settled: frozenset[UUID], say: Say) -> None:
    """Start the newest night again if its process died; what is away now is asked the next time."""
    with suppress(CatalogueError, *_LOST), get_client(sync_client=True) as client:
        if instant := retry_crashed(workspace, client, nightly, settled=settled):
            say(f"the process of the night of {instant.isoformat()} died; it goes on now")


def _told(deployment: RunnerDeployment) -> UUID:
    """Tell the server of a deployment, and return the id that it has there."""
    made = deployment.apply()
    assert isinstance(made, UUID)  # noqa: S101 - a coroutine only where a loop runs
    return made


async def _serve(deployments: Sequence[RunnerDeployment], stop: threading.Event, retry: Callable[[], None]) -> None:
    """Run what is due until asked to stop, then end the night that runs; the schedule stays on."""
    runner = Runner(name=FLOW, query_seconds=_POLL_SEC, prefetch_seconds=_AHEAD_SEC, limit=1, pause_on_shutdown=False)
    for deployment in deployments:
        await runner.aadd_deployment(deployment)
    serving = asyncio.create_task(runner.start())
    looked = time.monotonic()
    while not (serving.done() or (stop.is_set() and runner.started)):
        await asyncio.wait([serving], timeout=_LOOK_SEC)
        if time.monotonic() - looked > _CRASHED_SEC:
            await asyncio.to_thread(retry)
            looked = time.monotonic()
    if not serving.done():
        await runner.astop()
    await serving


def _deployment(
    workspace: Workspace, name: str, flow: Flow[..., Any], parameters: Mapping[str, Any]
) -> RunnerDeployment:
    settings = workspace.settings
    planned = name == "nightly" and settings.schedule.cron
    try:
        schedule = Cron(settings.schedule.cron, timezone=settings.store.time_zone) if planned else None
        made = RunnerDeployment.from_flow(
            flow,
            name=name,
            schedule=schedule,
            parameters=dict(parameters),
            tags=[TAG, _home_tag(workspace)],
            description=f"Served by `personalgen serve` for {settings.root}.",
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
    except ValueError as error:
        raise ConfigError(
            f"schedule.cron = {settings.schedule.cron!r} is no cron line that Prefect reads: {error}. "
            "Nothing was scheduled."
        ) from None
    made.work_pool_name = made.work_queue_name = None  # set, so that a pool of an earlier deployment is left
    return made


def _require_own(client: SyncPrefectClient, deployment: RunnerDeployment) -> None:
    """Return if the server has no deployment of this name for another home."""
    with suppress(ObjectNotFound):
        known = client.read_deployment_by_name(f"{FLOW}/{deployment.name}")
        homes = [tag for tag in known.tags if tag.startswith(_HOME)]
        if homes and not set(homes) & set(deployment.tags):
            raise ConfigError(
                f"the Prefect server at PREFECT_API_URL runs {FLOW}/{deployment.name} for {homes[0]}, and this is "
                f"{deployment.tags[-1]}: one server serves one home by these names. Delete that deployment if it is "
                "of the past, or use another server. Nothing was scheduled."
            )


def _home_tag(workspace: Workspace) -> str:
    return f"{_HOME}{socket.gethostname()}:{workspace.settings.root}"


def _when(workspace: Workspace) -> str:
    cron, zone = workspace.settings.schedule.cron, workspace.settings.store.time_zone
    return f"nights at {cron!r} in {zone}" if cron else "no schedule: schedule.cron is empty"


def _policy(workspace: Workspace) -> str:
    return repr(workspace.settings.schedule.catch_up)


def _is_away(error: BaseException) -> bool:
    """Return whether the server may answer later: an answer that refuses what was asked stays."""
    first = _first(error)
    return not (isinstance(first, httpx.HTTPStatusError) and first.response.status_code < 500)


def _first(error: BaseException) -> BaseException:
    """Return the first error within groups of errors."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _reason(error: BaseException) -> str:
    """Return an error in one line."""
    first = _first(error)
    return " ".join(f"{type(first).__name__}: {first}".split())[:200]
