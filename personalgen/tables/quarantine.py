"""Rows that cannot be used: written to quarantine.parquet with a reason each, counted, and limited."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet

from personalgen.errors import DataError

SCHEMA = pa.schema(
    [
        ("table", pa.string()),
        ("row", pa.int64()),
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
_FLUSH_ROWS = 50_000


@dataclass(frozen=True)
class QuarantineCount:
    """How many rows of a table were refused for one reason."""

    table: str
    reason: str
    n_rows: int


@dataclass(frozen=True)
class Fault:
    """One refused row."""

    row: int
    """0-based position in the source table."""
    reason: str
    """Short code, such as bad_user_id."""
    detail: str
    """What was found."""
    user_id: str | None = None
    """Canonical id, where the row has one."""
    item_id: str | None = None
    """Canonical id, where the row has one."""


@dataclass
class QuarantineWriter:
    """Writes faults to a Parquet file in batches; use it as a context manager."""

    path: Path
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _examples: dict[tuple[str, str], Fault] = field(default_factory=dict)
    _waiting: list[tuple[str, Fault]] = field(default_factory=list)
    _writer: Any = None

    def __enter__(self) -> Self:
        self._writer = pa.parquet.ParquetWriter(self.path, SCHEMA, compression="zstd")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def add(self, table: str, faults: Iterable[Fault]) -> None:
        """Quarantine rows of a table."""
        for fault in faults:
            key = (table, fault.reason)
            self._counts[key] += 1
            self._examples.setdefault(key, fault)
            self._waiting.append((table, fault))
        if len(self._waiting) >= _FLUSH_ROWS:
            self._flush()

    def counts(self) -> tuple[QuarantineCount, ...]:
        """Return the counts by table and reason, in alphabetical order."""
        return tuple(QuarantineCount(table, reason, n) for (table, reason), n in sorted(self._counts.items()))

    def n_rows(self, table: str | None = None) -> int:
        """Return how many rows of a table, or of all, were refused."""
        return sum(n for (one, _), n in self._counts.items() if table in (None, one))

    def check_share(self, table: str, *, n_rows: int, limit: float) -> None:
        """Return if at most `limit` of a table's rows were refused.

        Raises:
            DataError: more were; the message tells the count and an example of each reason.
        """
        refused = self.n_rows(table)
        if refused <= limit * n_rows:
            return
        raise DataError(
            f"{refused:,} of {n_rows:,} rows of {table} ({refused / n_rows:.1%}) cannot be used; the limit is "
            f"{limit:.1%}: {self.summary(table)}. Mend the rows or the column mapping, or raise "
            "limits.max_quarantine_share. Nothing was written."
        )

    def summary(self, table: str) -> str:
        """Return the counts of a table by reason with an example each, most frequent first; "" without any."""
        mine = sorted((-n, reason) for (one, reason), n in self._counts.items() if one == table)
        return "; ".join(f"{reason} {-n:,} ({self._example(table, reason)})" for n, reason in mine)

    def _example(self, table: str, reason: str) -> str:
        """Return the first fault of a reason in words."""
        fault = self._examples[table, reason]
        return f"first in row {fault.row:,}: {fault.detail}"

    def _flush(self) -> None:
        """Write what waits."""
        if not self._waiting:
            return
        rows = [
            {
                "table": table,
                "row": f.row,
                "user_id": f.user_id,
                "item_id": f.item_id,
                "reason": f.reason,
                "detail": f.detail,
            }
            for table, f in self._waiting
        ]
        self._writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
        self._waiting.clear()
