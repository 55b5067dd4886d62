"""Where the work on buckets of users is done, if not one after another in this process: Prefect's task runners."""

import os
from collections.abc import Callable, Sequence
from multiprocessing import parent_process
from multiprocessing.connection import wait
from threading import Thread
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from flows.veiled import unveiled, veiled
from personalgen.config import BucketOptions
from personalgen.errors import ConfigError


def task_runner(options: BucketOptions) -> TaskRunner[Any]:
    """Return the runner that the settings ask for.

    Raises:
        ConfigError: Ray is asked for and not installed.
    """
    if options.runner == "processes":
        return ProcessPoolTaskRunner(max_workers=options.workers, initializer=end_with_the_night)
    if options.runner != "ray":
        return ThreadPoolTaskRunner(max_workers=options.workers)
    try:
        from prefect_ray import RayTaskRunner
    except ImportError:
        raise ConfigError(
            'buckets.runner = "ray" needs the extra `ray`: pip install "personalgen[ray]". Nothing was started.'
        ) from None
    runner: TaskRunner[Any] = RayTaskRunner(address=options.ray_address or None)
    return runner


def end_with_the_night() -> None:
    """End this worker when the night's process dies: it would wait for work for ever."""
    night = parent_process()
    if night is not None:
        Thread(target=_follow, args=(night.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    """Wait until the process of this sentinel is dead, then end."""
    wait([sentinel])
    os._exit(1)


@task(name="bucket", cache_policy=NO_CACHE, persist_result=False, retries=2, retry_delay_seconds=[1, 10])
@veiled
def bucket(work: Callable[[str, int], str], job: str, number: int) -> str:
    """Do the work on one bucket: files in, a file out, so that it may be done again."""
    return work(job, number)


def by_tasks(work: Callable[[str, int], str], job: str, buckets: Sequence[int]) -> list[str]:
    """Submit a task for each bucket to the flow's runner, and return what each returned, in order."""
    futures = [bucket.submit(work, job, number) for number in buckets]
    with unveiled():
        return [future.result() for future in futures]
