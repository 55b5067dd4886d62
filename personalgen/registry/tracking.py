"""Runs in MLflow: one parent a night, one child a stage; a rerun re-opens them instead of making new ones.

Built on MlflowClient, which names the run in every call: MLflow's fluent functions keep the active run per thread.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from personalgen.registry.run import Run
from personalgen.registry.store import open_client, refusals

if TYPE_CHECKING:
    from mlflow import MlflowClient

NIGHT_TAG = "night_key"
STAGE_TAG = "stage"
PARENT_TAG = "mlflow.parentRunId"
RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"


@dataclass(frozen=True)
class Tracking:
    """A tracking store and one experiment in it, opened at first use."""

    uri: str
    """sqlite:///…, postgresql+psycopg://… or http(s)://…"""
    artifact_root: Path
    """Where a new experiment keeps its artifacts, for ever; an http server keeps its own."""
    experiment: str
    clock: Callable[[], float] = time.time
    """Seconds since 1970, for the times beside metrics."""

    @cached_property
    def _opened(self) -> "tuple[MlflowClient, str]":
        """Client and experiment id."""
        return open_client(self.uri, experiment=self.experiment, artifact_root=self.artifact_root)

    @property
    def client(self) -> "MlflowClient":
        """MLflow's client of the store.

        Raises:
            RegistryError: the store cannot be opened.
        """
        return self._opened[0]

    @property
    def experiment_id(self) -> str:
        """MLflow's id of the experiment."""
        return self._opened[1]

    @contextmanager
    def parent_run(self, night_key: str, *, run_id: str | None = None, name: str | None = None) -> Iterator[Run]:
        """Open the run of a night: `run_id` where it still exists, else the one of this night key, else a new one.

        Leaving marks it FINISHED, or FAILED after an error, or KILLED after an interrupt.
        """
        tags = {NIGHT_TAG: night_key}
        with self._open(tags, run_id=run_id, name=name or f"night-{night_key[:12]}") as run:
            yield run

    @contextmanager
    def stage_run(self, name: str, parent_run_id: str | None = None, *, run_id: str | None = None) -> Iterator[Run]:
        """Open the run of a stage: `run_id` where it still exists, else the parent's run of this stage, else a new one.

        Without a parent (a step called alone) every call makes a new run.
        """
        tags = {STAGE_TAG: name} | ({PARENT_TAG: parent_run_id} if parent_run_id else {})
        with self._open(tags, run_id=run_id, name=name, resume=parent_run_id is not None) as run:
            yield run

    @contextmanager
    def _open(self, tags: Mapping[str, str], *, run_id: str | None, name: str, resume: bool = True) -> Iterator[Run]:
        """Yield the run; on leaving, flush and set its status."""
        with refusals(f"the run {name} was not opened"):
            found = self._existing(run_id) or (self._find(tags) if resume else None)
            run = Run(self.client, found or self._create(tags, name), clock=self.clock)
            if found:
                self.client.update_run(found, status=RUNNING)
        status = FAILED
        try:
            yield run
            status = FINISHED
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            status = KILLED
            raise
        finally:
            try:
                run.flush()
            finally:
                self.client.set_terminated(run.run_id, status)

    def _create(self, tags: Mapping[str, str], name: str) -> str:
        """Return the id of a new run."""
        return str(self.client.create_run(self.experiment_id, tags=dict(tags), run_name=name).info.run_id)

    def _find(self, tags: Mapping[str, str]) -> str | None:
        """Return the id of the oldest run with all of `tags`, or None."""
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        runs = self.client.search_runs(
            [self.experiment_id], query, order_by=["attributes.start_time ASC"], max_results=1
        )
        return str(runs[0].info.run_id) if runs else None

    def _existing(self, run_id: str | None) -> str | None:
        """Return `run_id` where the store has it and it was not deleted, else None."""
        if run_id is None:
            return None
        client = self.client
        from mlflow import MlflowException

        try:
            return run_id if client.get_run(run_id).info.lifecycle_stage == "active" else None
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
