"""One reading of a source: what the stages for users, items and interactions share."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from personalgen.tables.columns import Batch
from personalgen.tables.options import LimitsOptions
from personalgen.tables.quarantine import Fault, QuarantineWriter
from personalgen.tables.source import Source, TableLayout

Progress = Callable[[str, int], None]
"""Called with the table's name and how many of its rows are done."""


@dataclass(frozen=True)
class Reading:
    """A source, the limits it is held to, and where refused rows and progress go."""

    source: Source
    limits: LimitsOptions
    quarantine: QuarantineWriter
    progress: Progress

    def batches(self, kind: str, layout: TableLayout, *, chunk_rows: int | None = None) -> Iterator[Batch]:
        """Yield a table's batches, quarantining the rows that the reader could not take apart."""
        n_rows = 0
        chunk_rows = min(chunk_rows or self.limits.chunk_rows, self.limits.chunk_rows)
        for batch in self.source.batches(layout.table, layout.names(), chunk_rows=chunk_rows):
            self.quarantine.add(kind, [Fault(bad.row, "bad_row", bad.detail) for bad in batch.bad_rows])
            yield batch
            n_rows += batch.n_rows
            self.progress(kind, n_rows)
