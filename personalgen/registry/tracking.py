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
    from mlflow.entities import Run as MlflowRun

NIGHT_TAG = "night_key"
STAGE_TAG = "stage"
PARENT_TAG = "mlflow.parentRunId"
HOME_TAG = "home_id"
ENDED_TAG = "ended_because"
RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
_ABANDONED = (
    "its process ended without a word, killed or with its machine; found, and closed, when a later night of this home "
    "began. The end time is that of the closing."
)


@dataclass(frozen=True)
class Tracking:
    """A tracking store and one experiment in it, opened at first use."""

    uri: str
    """sqlite:///…, postgresql+psycopg://… or http(s)://…"""
    artifact_root: Path
    """Where a new experiment keeps its artifacts, for ever; an http server keeps its own."""
    experiment: str
    home_id: str = ""
    """Tagged on every run, so that a home knows its own in a store that others share; empty tags nothing."""
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
        """Open the run of a night: `run_id` where it still exists, else this home's of this night key, else a new one.

        Leaving marks it FINISHED, or FAILED after an error, or KILLED after an interrupt.
        """
        tags = self._night_tags(night_key)
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

    def close_abandoned(self, *, but: str) -> list[str]:
        """End the runs of this home that nobody will end, as KILLED, with a tag that says why; return their ids.

        Call it where no other process of this home can have a run open. Those of the night `but` (its key) stay: they
        are about to be gone on with.
        """
        if not self.home_id:
            return []
        with refusals("runs of killed attempts were not closed"):
            asked = f"tags.`{HOME_TAG}` = '{self.home_id}' and attributes.status = '{RUNNING}'"
            open_runs = {str(run.info.run_id): run.data.tags for run in self._search(asked)}
            kept = self._find(self._night_tags(but))
            ended = [run_id for run_id, tags in open_runs.items() if kept not in {run_id, tags.get(PARENT_TAG)}]
            for run_id in ended:
                self.client.set_tag(run_id, ENDED_TAG, _ABANDONED)
                self.client.set_terminated(run_id, KILLED)
        return ended

    def _search(self, query: str) -> "Iterator[MlflowRun]":
        """Yield all runs that fit a filter."""
        token: str | None = None
        while True:
            page = self.client.search_runs([self.experiment_id], query, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def knows(self, run_id: str) -> bool:
        """Return whether the store has this run, and it was not deleted."""
        with refusals(f"the run {run_id} was not looked for"):
            return self._existing(run_id) is not None

    @contextmanager
    def _open(self, tags: Mapping[str, str], *, run_id: str | None, name: str, resume: bool = True) -> Iterator[Run]:
        """Yield the run; on leaving, flush and set its status."""
        with refusals(f"the run {name} was not opened"):
            found = self._existing(run_id) or (self._find(tags) if resume else None)
            run = Run(self.client, found or self._create(tags, name), clock=self.clock)
            if found:
                self.client.update_run(found, status=RUNNING)
        status = FAILED
        with refusals(f"the run {name} stays open; the same command goes on with it"):
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
        made = self.client.create_run(self.experiment_id, tags={**tags, **self._own_tags}, run_name=name)
        return str(made.info.run_id)

    def _night_tags(self, night_key: str) -> dict[str, str]:
        """Return what the run of a night is found by: another home may have the same night."""
        return {NIGHT_TAG: night_key, **self._own_tags}

    @property
    def _own_tags(self) -> dict[str, str]:
        """Return what every run of this home carries."""
        return {HOME_TAG: self.home_id} if self.home_id else {}

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
