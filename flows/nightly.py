"""The night, in order. Each task calls one step and hands on references."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, ParamSpec, TypeVar

from prefect import Flow, State, flow, runtime
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext

from flows.artifacts import show_night, show_verdict, with_progress
from flows.leash import server_on_leash
from flows.runners import by_tasks, task_runner
from flows.veiled import StepTask, VeiledError, unveiled, veiled
from personalgen import steps
from personalgen.errors import UserError
from personalgen.steps import Night, Workspace


def may_pass(_task: object, _run: object, state: State[Any]) -> bool:
    """Return whether another try may help: what the caller must mend stays as it is, and fails at once."""
    found = state.result(raise_on_failure=False)
    return not isinstance(found.error if isinstance(found, VeiledError) else found, UserError)


ONCE: Final = {"cache_policy": NO_CACHE, "persist_result": False}
# A step that is run again finds its stored result or its checkpoint, so a retry never does a thing twice.
RETRIED: Final = {**ONCE, "retries": 2, "retry_delay_seconds": [5, 30], "retry_condition_fn": may_pass}
P = ParamSpec("P")
R = TypeVar("R")


def as_task(step: Callable[P, R], options: Mapping[str, Any]) -> Callable[P, R]:
    """Return a step as a Prefect task of its name."""
    return StepTask(step, **options)


prepare = as_task(steps.prepare, RETRIED)
recommend = as_task(steps.recommend, RETRIED)
embed = as_task(steps.embed, RETRIED)
train = as_task(steps.train, ONCE)
evaluate = as_task(steps.evaluate, RETRIED)
register = as_task(steps.register, RETRIED)
promote = as_task(steps.promote, RETRIED)
canary = as_task(steps.canary, RETRIED)
generate = as_task(steps.generate, RETRIED)
release = as_task(steps.release, RETRIED)
score = as_task(steps.score, RETRIED)
report = as_task(steps.report, RETRIED)


@flow(name="nightly", validate_parameters=False, persist_result=False)
@veiled
def nightly(workspace: Workspace, as_of: datetime | None = None) -> dict[str, Any]:
    """Run one night and return its summary; a night that is done already is returned as it stands.

    A scheduled run takes its scheduled time as `as_of`, never the clock's.
    """
    with one_night(workspace) as flow_run_id:
        night = prepare(workspace, as_of=as_of or scheduled_time(), flow_run_id=flow_run_id)
        return run_once(workspace, night, run_stages)


@contextmanager
def one_night(workspace: Workspace) -> Iterator[str]:
    """Hold the home and watch over the night in it; yield the id of the flow's run."""
    flow_run_id = str(runtime.flow_run.id)
    with server_on_leash(), steps.watched(workspace, flow_run_id=flow_run_id):
        yield flow_run_id


def run_once(workspace: Workspace, night: Night, stages: Callable[[Workspace, Night], None]) -> dict[str, Any]:
    """Run the stages of a night that is not done, and let go what is too old; return its summary."""
    done = steps.is_done(workspace, night)
    if not done:
        with steps.attempt(workspace, night):
            stages(workspace, night)
        steps.prune(workspace)
    summary = steps.summary(workspace, night, already_done=done)
    show_night(summary)
    return summary


def run_night(workspace: Workspace, as_of: datetime | None = None) -> dict[str, Any]:
    """Run `nightly` where the settings say that buckets of users are worked on; return its summary."""
    return run_there(nightly, workspace, as_of=as_of)


def run_there(whole: Flow[..., Any], workspace: Workspace, **parameters: Any) -> dict[str, Any]:
    """Run the flow of a night where the settings say that buckets of users are worked on; return its summary.

    Within the run of a deployment the night is that run, unless buckets need a runner of their own.
    """
    options = workspace.settings.buckets
    is_here = options.runner == "here"
    run: Callable[..., Any] = whole if is_here else whole.with_options(task_runner=task_runner(options))
    if is_here and FlowRunContext.get():
        run = whole.fn
    there = replace(
        workspace,
        progress=with_progress(workspace.progress),
        over_buckets=workspace.over_buckets if is_here else by_tasks,
    )
    try:
        with unveiled():
            summary: dict[str, Any] = run(there, **parameters)
    finally:
        there.close()
    return summary


def run_stages(workspace: Workspace, night: Night) -> None:
    """Run every stage after prepare."""
    recommended = recommend(workspace, night)
    embedded = embed(workspace, night, recommended)
    trained = train(workspace, night, embedded)
    evaluated = evaluate(workspace, night, embedded, trained)
    registered = register(workspace, night, trained, evaluated)
    decided = promote(workspace, night, evaluated, registered)
    decided = canary(workspace, night, embedded, decided)
    show_verdict(steps.verdict_markdown(night, registered, evaluated, decided), day=night.day)
    generated = generate(workspace, night, embedded, decided)
    released = release(workspace, night, registered, decided, generated)
    score(workspace, night)
    report(workspace, night, embedded, evaluated, decided, generated, released)


def scheduled_time() -> datetime | None:
    """Return when a deployment scheduled this run, or None for a run that somebody started."""
    planned = runtime.flow_run.scheduled_start_time if runtime.deployment.id else None
    return datetime.fromtimestamp(planned.timestamp(), UTC) if planned else None  # Prefect's own type is not ours
