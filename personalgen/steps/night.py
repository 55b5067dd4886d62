"""A night: what identifies it, where its results lie, and how a stage is run once.

A stage's result is a small JSON file in the night's folder, written last. A stage whose file is there is not run
again: that is how a killed night goes on where it stopped, and why the same night twice changes nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from personalgen.artifacts import read_json, write_json
from personalgen.catalogue import read, write
from personalgen.catalogue.facts import NightKind
from personalgen.errors import ConfigError, NotFoundError
from personalgen.registry.run import Run
from personalgen.registry.system_metrics import system_metrics
from personalgen.steps.workspace import Workspace

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    T = TypeVar("T", bound=DataclassInstance)
else:
    T = TypeVar("T")

STAGES = (
    "prepare",
    "recommend",
    "embed",
    "train",
    "evaluate",
    "register",
    "promote",
    "canary",
    "generate",
    "release",
    "score",
    "report",
)
_COMMANDS = {"register": "promote", "release": "generate", "report": "generate"}
"""The command of a stage that has none of its name."""


@dataclass(frozen=True)
class Night:
    """A prepared night, by reference: ids, paths and counts."""

    stage: ClassVar[str] = "prepare"

    key: str
    """32 hex digits of (source, as_of, source digest, config digest) and the kind: what a night *is*."""
    night_id: int
    folder: str
    """Results of the stages."""
    prepared: str
    """The sealed folder of validated tables."""
    as_of: str
    """UTC instant, exclusive, ISO 8601."""
    day: str
    """Date of as_of in the schedule's zone."""
    parent_run_id: str
    source: str
    n_interactions: int
    n_users: int
    n_items: int
    n_quarantined: int
    n_after_as_of: int
    n_opted_out_events: int = 0
    n_unlisted_events: int = 0
    kind: NightKind = "nightly"
    """What it may do: docs/nights.md."""
    from_scratch: bool = False
    """Whether it trains without a start, of a retrain alone."""

    @property
    def path(self) -> Path:
        """The night's folder."""
        return Path(self.folder)


def run_stage(workspace: Workspace, night: Night, kind: type[T], body: Callable[[Run], T]) -> T:
    """Return the stage's stored result, or run `body` inside the stage's MLflow run and store what it returns.

    `kind.stage` names the stage.
    """
    name = stage_name(kind)
    path = night.path / f"{name}.json"
    if path.is_file():
        return from_json(kind, read_json(path))
    with workspace.journal.stage(name), workspace.tracking.stage_run(name, night.parent_run_id) as run:
        workspace.journal.tell(mlflow_run_id=run.run_id)
        result = body(run)
        facts = asdict(result)
        run.log_dict(facts, name=f"{name}.json")
        run.log_metrics({key: float(value) for key, value in facts.items() if _is_number(value)})
    write_json(path, facts)
    return result


def has_result(night: Night, kind: type[Any]) -> bool:
    """Return whether the stage has run for this night."""
    return (night.path / f"{stage_name(kind)}.json").is_file()


def drop_results(night: Night, *, since: type[Any]) -> None:
    """Forget what this stage and all later ones found, the last one first, so that they run again."""
    for name in reversed(STAGES[STAGES.index(stage_name(since)) :]):
        (night.path / f"{name}.json").unlink(missing_ok=True)


def stage_result(night: Night, kind: type[T]) -> T:
    """Return what an earlier stage stored.

    Raises:
        NotFoundError: that stage has not run for this night.
    """
    require_results(night.path, (kind,), day=night.day, key=night.key)
    return from_json(kind, read_json(night.path / f"{stage_name(kind)}.json"))


def require_results(folder: Path, kinds: Sequence[type[Any]], *, day: str, key: str) -> None:
    """Return if these stages have run for the night of a folder, begun or not.

    Raises:
        NotFoundError: one has not; the first of them is named.
    """
    for name in map(stage_name, kinds):
        if not (folder / f"{name}.json").is_file():
            raise NotFoundError(
                f"{name} has not run yet for the night of {day} ({key[:12]}). "
                f"Run `personalgen {_COMMANDS.get(name, name)}` with the same config first. Nothing was changed."
            )


@contextmanager
def attempt(workspace: Workspace, night: Night) -> Iterator[Run]:
    """Keep the night's parent run open, and record how the attempt ended; the counts are recorded by the report."""
    store, tracking = workspace.settings.store, workspace.tracking
    with tracking.parent_run(night.key, run_id=night.parent_run_id) as run:
        try:
            with system_metrics(tracking.uri, run.run_id, every_sec=store.system_metrics_sec):
                yield run
        except BaseException:
            write.finish_night(workspace.engine, night.night_id, status="failed", at=workspace.now())
            raise


def is_done(workspace: Workspace, night: Night) -> bool:
    """Return whether the night ended well before: then there is nothing left to do."""
    found = read.night_by_key(workspace.engine, night.key)
    return found is not None and found.status == "done"


def require_newest(workspace: Workspace, as_of: datetime, newest: datetime | None) -> None:
    """Return if no later night is done: an earlier one would move people back to preferences that they have left."""
    if newest is not None and as_of < newest:
        raise ConfigError(
            f"as_of is {as_of.isoformat()}, and the night up to {newest.isoformat()} is done in "
            f"{workspace.settings.root}: this one would give people back the preferences that they had then. Look back "
            "in a home of its own with --set home=…. The catalogue was not changed."
        )


def stage_name(kind: type[Any]) -> str:
    """Return the stage whose result `kind` is."""
    return str(kind.stage)


def from_json(kind: type[T], raw: dict[str, Any]) -> T:
    """Return the dataclass that was written as JSON; lists become tuples, unknown keys are ignored."""
    known = {entry.name for entry in fields(kind)}
    return kind(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in raw.items() if key in known}
    )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
