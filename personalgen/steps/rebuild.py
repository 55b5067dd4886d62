"""Builds an affinity state of all events of the source in a folder of its own, apart from any night.

A night has read and checked every event anyway, so it builds its state from that (ADR 12). Whoever wants the sums of a
large database for something else has the database make them where it can.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from personalgen.affinity import AffinityOptions, AffinityState
from personalgen.embeddings.fields import KNOWN_EVENTS
from personalgen.errors import ConfigError, PushDownError
from personalgen.steps.erased_ids import people_not_read
from personalgen.steps.own_identity import own_identity
from personalgen.steps.prepare import source_of
from personalgen.steps.workspace import Workspace
from personalgen.tables.all_events import AllEvents, open_all_events
from personalgen.tables.columns import ceil_seconds

AUTO, DATABASE, EVENTS = BY = ("auto", "database", "events")
"""Who makes the sums: the database where it can and less is read, the database or nobody, or this process."""


@dataclass(frozen=True)
class Rebuilt:
    """What was built."""

    folder: str
    as_of: str
    how: str
    """"summed by the database", or "read one by one" and why."""
    n_events: int
    """In the state."""
    n_rows_read: int
    """Sums and newest events that the database gave, or single events that could be used."""
    n_quarantined: int
    """Events that could not be used; a database that meets one makes no sums."""


def rebuild(workspace: Workspace, folder: Path, *, as_of: datetime | None = None, by: str = AUTO) -> Rebuilt:
    """Build the state of all events before `as_of`, by default now, in place of one that is in the folder.

    Items count by their id, whether or not their pictures can be used; who opted out, is not listed or was forgotten is
    not read. Later nights do not change this folder, and forgetting does not reach it.

    Raises:
        ConfigError: the folder is one of the home's own.
        PushDownError: `by` is "database", and it cannot make the sums; nothing was built.
        SourceError, DataError: as `prepare`.
    """
    _require_own_folder(workspace, folder)
    now, settings = workspace.now(), workspace.settings
    as_of = datetime.fromtimestamp(ceil_seconds(as_of or now), UTC)
    with open_all_events(
        source_of(workspace),
        limits=settings.limits,
        as_of=as_of,
        now=now,
        forgotten=people_not_read(workspace),
        identity=own_identity(workspace),
        folder=folder,
        progress=lambda stage, done: workspace.progress(stage, done, 0),
    ) as events:
        building = _Building(events, folder, as_of, AffinityOptions(settings.embeddings.half_life_days, KNOWN_EVENTS))
        state, how = building.run(by)
        n_quarantined = events.reading.quarantine.n_rows("interactions")
    n_events = sum(part.n_events for part in state.parts)
    return Rebuilt(str(folder), as_of.isoformat(), how, n_events, building.n_rows, n_quarantined)


def _require_own_folder(workspace: Workspace, folder: Path) -> None:
    """Return if no night keeps anything in the folder."""
    if folder.resolve().is_relative_to(workspace.data.resolve()):
        raise ConfigError(
            f"{folder} lies in {workspace.data}, where nights keep what they know. Name a folder elsewhere. "
            "Nothing was built."
        )


@dataclass
class _Building:
    """One build, and how many rows it has taken."""

    events: AllEvents
    folder: Path
    as_of: datetime
    options: AffinityOptions
    n_rows: int = 0

    def run(self, by: str) -> tuple[AffinityState, str]:
        """Return the state, and how it was made."""
        if by == EVENTS:
            return self._one_by_one(), "read one by one, as asked for"
        try:
            return self._by_database(only_if_less=by == AUTO), "summed by the database"
        except PushDownError as error:
            if by == DATABASE:
                raise PushDownError(
                    f"The database cannot sum these events: {error}. Mend the rows, or have every event read with "
                    "--by events. Nothing was built."
                ) from None
            return self._one_by_one(), f"read one by one: {error}"

    def _by_database(self, *, only_if_less: bool) -> AffinityState:
        """Return the state of sums that the database makes."""
        half_life_days, n_recent = self.options.half_life_days, self.options.n_recent
        made = self.events.aggregated(half_life_days=half_life_days, n_recent=n_recent, only_if_less=only_if_less)
        sums, newest = self._counted(made.sums), self._counted(made.newest)
        return AffinityState.build_from_sums(
            self.folder, sums, newest, as_of=self.as_of, options=self.options, items=self.events.item_ids
        )

    def _one_by_one(self) -> AffinityState:
        """Return the state of events that are read one by one."""
        self.n_rows = 0
        batches = self._counted(self.events.one_by_one())
        return AffinityState.build(
            self.folder, batches, as_of=self.as_of, options=self.options, items=self.events.item_ids
        )

    def _counted(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            self.n_rows += len(batch)
            yield batch
