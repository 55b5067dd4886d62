"""One reading of a source: what the stages for users, items and interactions share."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from personalgen.tables.columns import BadRow, Batch
from personalgen.tables.identity import PLAIN, Identity
from personalgen.tables.options import LimitsOptions
from personalgen.tables.quarantine import Fault, QuarantineWriter
from personalgen.tables.source import Source, TableLayout

Progress = Callable[[str, int], None]
"""Called with the table's name and how many of its rows are done."""


@dataclass(frozen=True)
class Reading:
    """A source, the limits it is held to, where refused rows and progress go, and what the ids of users become."""

    source: Source
    limits: LimitsOptions
    quarantine: QuarantineWriter
    progress: Progress
    identity: Identity = PLAIN

    def batches(self, kind: str, layout: TableLayout, *, chunk_rows: int | None = None) -> Iterator[Batch]:
        """Yield a table's batches, quarantining the rows that the reader could not take apart."""
        n_rows = 0
        chunk_rows = min(chunk_rows or self.limits.chunk_rows, self.limits.chunk_rows)
        for batch in self.source.batches(layout.table, layout.names(), chunk_rows=chunk_rows):
            self.quarantine.add(kind, [Fault(bad.row, "bad_row", self._detail(bad)) for bad in batch.bad_rows])
            yield batch
            n_rows += batch.n_rows
            self.progress(kind, n_rows)

    def _detail(self, bad: BadRow) -> str:
        """Return what was found, without the row's text where it may hold an id that is to be hashed."""
        return bad.what if self.identity.hashes else f"{bad.what}: {bad.text!r}"
