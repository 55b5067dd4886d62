"""The night, in order. Each task calls one step and hands on references; the order stands here and nowhere else."""

from datetime import datetime
from typing import Any

from prefect import flow, runtime, task
from prefect.cache_policies import NO_CACHE

from personalgen import steps
from personalgen.steps import Night, Workspace

# A step that is run again finds its stored result or its checkpoint, so a retry never does a thing twice.
_RETRIED: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False, "retries": 2, "retry_delay_seconds": [5, 30]}
_ONCE: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}

prepare = task(steps.prepare, name="prepare", **_RETRIED)
embed = task(steps.embed, name="embed", **_RETRIED)
train = task(steps.train, name="train", **_ONCE)
evaluate = task(steps.evaluate, name="evaluate", **_RETRIED)
register = task(steps.register, name="register", **_RETRIED)
promote = task(steps.promote, name="promote", **_RETRIED)
generate = task(steps.generate, name="generate", **_RETRIED)
release = task(steps.release, name="release", **_RETRIED)
report = task(steps.report, name="report", **_RETRIED)


@flow(name="nightly", validate_parameters=False, persist_result=False)
def nightly(workspace: Workspace, as_of: datetime | None = None) -> dict[str, Any]:
    """Run one night and return its summary; a night that is done already is returned as it stands.

    A scheduled run takes its scheduled time as `as_of`, never the clock's.
    """
    with workspace.only_night():
        night = prepare(workspace, as_of=as_of or scheduled_time(), flow_run_id=str(runtime.flow_run.id))
        done = steps.is_done(workspace, night)
        if not done:
            with steps.attempt(workspace, night):
                run_stages(workspace, night)
        return steps.summary(workspace, night, already_done=done)


def run_stages(workspace: Workspace, night: Night) -> None:
    """Run every stage after prepare."""
    embedded = embed(workspace, night)
    trained = train(workspace, night, embedded)
    evaluated = evaluate(workspace, night, embedded, trained)
    registered = register(workspace, night, trained, evaluated)
    decided = promote(workspace, night, evaluated, registered)
    generated = generate(workspace, night, embedded, decided)
    released = release(workspace, night, registered, decided, generated)
    report(workspace, night, embedded, evaluated, decided, generated, released)


def scheduled_time() -> datetime | None:
    """Return when a deployment scheduled this run, or None for a run that somebody started."""
    return runtime.flow_run.scheduled_start_time if runtime.deployment.id else None
