"""Where a run keeps its things: folders under home, catalogue, tracking and registry, opened when first used."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import NoReturn

from personalgen.artifacts import write_bytes
from personalgen.catalogue import read
from personalgen.catalogue.engine import Engine, open_catalogue, parse_url, sqlite_path
from personalgen.catalogue.migrations import current_revision, upgrade
from personalgen.catalogue.rows import LiveRelease
from personalgen.config import Settings
from personalgen.errors import BusyError
from personalgen.generation.roots import ShardRoot, open_root
from personalgen.journal.lines import Journal
from personalgen.locks import NIGHT, HeldError, Holder, hold, is_held
from personalgen.registry.models import ModelRegistry
from personalgen.registry.tracking import Tracking

EXPERIMENT = "nightly"
Progress = Callable[..., None]
Buckets = Callable[[Callable[[str, int], str], str, Sequence[int]], list[str]]
"""Runs a function of a job file and a bucket for each bucket, here or elsewhere; returns what each of them returned."""


def one_after_another(work: Callable[[str, int], str], job: str, buckets: Sequence[int]) -> list[str]:
    """Run each bucket in this process."""
    return [work(job, bucket) for bucket in buckets]


def _now() -> datetime:
    return datetime.now(UTC)


def _silent(_stage: str, _done: int, _total: int, _note: str = "") -> None:
    """Show nothing."""


class _NoData:
    """Lets nobody turn what holds it into data: Prefect would store a flow's parameters, passwords of URLs among them.

    It stores the type's name instead.
    """

    def __deepcopy__(self, _memo: object) -> NoReturn:
        raise TypeError("a workspace is no data: the URLs of its settings may hold passwords")


def revision_at(url: str) -> str | None:
    """Return the revision of the catalogue at a URL, or None where there is none yet; nothing is made.

    Raises:
        CatalogueError: the database cannot be opened.
    """
    engine = open_catalogue(url, read_only=True)
    try:
        return current_revision(engine)
    finally:
        engine.dispose()


@dataclass(frozen=True)
class Workspace:
    """Settings, the places they name, and the outside world: the clock and the progress display."""

    settings: Settings
    now: Callable[[], datetime] = _now
    """The wall clock, UTC."""
    progress: Progress = _silent
    """Called with (stage, done, total) during long work, and with a note where a stage has one."""
    over_buckets: Buckets = one_after_another
    """Where the work on buckets of users is done."""
    no_data: _NoData = field(default_factory=_NoData, repr=False, compare=False)
    """Keeps settings out of an orchestrator's database."""
    waits: bool = False
    """Whether a night waits for one that holds this home, instead of refusing."""

    @property
    def data(self) -> Path:
        """Folder of everything but mlflow.db."""
        return self.settings.root / "data"

    @cached_property
    def shard_root(self) -> ShardRoot:
        """Where shards lie; their paths are relative to it."""
        return open_root(self.settings.store.shard_root, default=self.data)

    @cached_property
    def engine(self) -> Engine:
        """The catalogue, at the newest revision."""
        self.data.mkdir(parents=True, exist_ok=True)
        engine = open_catalogue(self.settings.catalogue_url)
        upgrade(engine)
        return engine

    def close(self) -> None:
        """Close the catalogue's connections, where it was opened."""
        if "engine" in vars(self):
            self.engine.dispose()

    @property
    def has_catalogue(self) -> bool:
        """Whether there is a catalogue already: asking `engine` makes one.

        Raises:
            CatalogueError: the server does not answer.
        """
        path = sqlite_path(parse_url(self.settings.catalogue_url))
        if "engine" in vars(self):
            return True
        return path.exists() if path else revision_at(self.settings.catalogue_url) is not None

    @cached_property
    def journal(self) -> Journal:
        """The home's log: writes while it is open (`watch.watched`)."""
        return Journal(self.data / "logs", self.settings.logs, now=self.now)

    @cached_property
    def tracking(self) -> Tracking:
        """MLflow's runs."""
        return Tracking(self.settings.tracking_uri, self.data / "mlartifacts", EXPERIMENT, home_id=self.home_id)

    @cached_property
    def registry(self) -> ModelRegistry:
        """MLflow's model versions."""
        return ModelRegistry(self.tracking, self.settings.store.model_name)

    def live(self) -> LiveRelease | None:
        """Return what users see now, or None before the first release."""
        return read.live_release(self.engine)

    def follow_live(self) -> None:
        """Make the registry's alias follow what is live: the catalogue is the truth, and a kill may lie between."""
        live = self.live()
        self.registry.reconcile(live.version if live else None)

    def model_folder(self, model_version_id: int) -> Path:
        """Return where a registered generator, its card and its basis lie."""
        return self.settings.under_home(read.model_by_id(self.engine, model_version_id).folder)

    def report(self, stage: str) -> Callable[..., None]:
        """Return a (done, total, note) callback for one stage; a note is optional."""
        return lambda done, total, note="": self.progress(stage, done, total, note)

    @contextmanager
    def only_night(self, *, is_night: bool = True) -> Iterator[None]:
        """Hold the lock of this home; `is_night` says whether for a night or a stage of one, in words alone.

        Raises:
            BusyError: another process holds it, and this one does not wait.
        """
        try:
            with hold(self._lock, since=self.now(), on_wait=self._tell_wait if self.waits else None):
                yield
        except HeldError as error:
            raise BusyError(
                f"{'another' if is_night else 'a'} night is running in {self.settings.root}: {error}. Wait for it, or "
                "choose another home. Nothing was started."
            ) from None

    def _tell_wait(self, holder: Holder | None) -> None:
        self.progress("wait", 0, 0, f"for the night that is running in this home: {holder or 'just begun'}")

    @property
    def is_busy(self) -> bool:
        """Whether a living process holds the lock of this home."""
        return is_held(self._lock)

    @property
    def _lock(self) -> Path:
        return self.data / NIGHT

    @cached_property
    def home_id(self) -> str:
        """What tells this home from all others in a tracking store that several share; made once, under the lock."""
        path = self.data / ".home-id"
        if not path.is_file():
            write_bytes(path, uuid.uuid4().hex.encode())
        return path.read_text()
