"""Tables in a folder, as Parquet or CSV, streamed through Arrow."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from personalgen.errors import SourceError
from personalgen.tables.columns import BadRow, Batch
from personalgen.tables.source import nearest

_SUFFIXES = (".parquet", ".csv", ".csv.gz")
_CSV_BLOCK_BYTES = 4 << 20
_READ_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class FolderSource:
    """A folder of tables and images."""

    folder: Path
    image_root: Path

    @classmethod
    def open(cls, folder: Path, *, image_root: str | None = None) -> "FolderSource":
        """Return the source after checking that its folders exist; a relative image root starts at the folder.

        Raises:
            SourceError: one of the folders does not exist.
        """
        images = folder / (image_root or "")
        for name, path in (("source.path", folder), ("source.image_root", images)):
            if not path.is_dir():
                raise SourceError(f"{name} is {path}, which is not a folder. Mend the path. Nothing was read.")
        return cls(folder, images)

    @property
    def where(self) -> str:
        """How messages name the source."""
        return f"folder {self.folder}"

    def columns(self, table: str) -> list[str]:
        """Return the column names of a table, of its first file where it has several."""
        path = self._files(table)[0]
        with _readable(path):
            if _is_csv(path):
                return list(_open_csv(path, None, []).schema.names)
            return list(pa.parquet.read_schema(path).names)

    def batches(self, table: str, columns: Sequence[str], *, chunk_rows: int) -> Iterator[Batch]:
        """Yield the rows of a table; the rows of a folder of Parquet files are numbered through."""
        first = 0
        for path in self._files(table):
            read = _csv_batches(path, columns) if _is_csv(path) else _parquet_batches(path, columns, first, chunk_rows)
            with _readable(path):
                for batch in read:
                    first += len(batch.rows)
                    yield batch

    def _files(self, table: str) -> list[Path]:
        """Return the files of a table: one, or the Parquet files of a folder in the order of their names.

        Raises:
            SourceError: there is none, or two that could be meant.
        """
        named = self.folder / table
        if named.is_dir():
            return self._parts(named)
        found = [path for path in (named, *(self.folder / f"{table}{s}" for s in _SUFFIXES)) if path.is_file()]
        if len(found) == 1 and found[0].name.endswith(_SUFFIXES):
            return found
        if len(found) > 1:
            names = " and ".join(path.name for path in found)
            raise SourceError(f"{table!r} in {self.where} is ambiguous: {names}. Give the name with its extension.")
        here = sorted(path.name for path in self.folder.iterdir() if path.name.endswith(_SUFFIXES))
        hint = f" (nearest: {near!r})" if (near := nearest(table, here)) else ""
        raise SourceError(
            f"{self.where} has no table {table!r}{hint}: expected {table}{' or '.join(_SUFFIXES[:2])}. "
            f"Found: {', '.join(here) or 'no Parquet or CSV file'}."
        )

    def _parts(self, folder: Path) -> list[Path]:
        """Return the Parquet files of a folder, all of which hold the same columns."""
        parts = sorted(folder.rglob("*.parquet"))
        if not parts:
            raise SourceError(f"{folder} holds no .parquet file. Give the table's file or folder of Parquet files.")
        return parts


@dataclass
class _BadRows:
    """The rows that the CSV parser could not take apart."""

    all: list[BadRow] = field(default_factory=list)
    n_told: int = 0

    def skip(self, row: Any) -> str:
        """Note one row; the parser goes on. Its number counts from 1 and includes the header."""
        what = f"expected {row.expected_columns} columns, found {row.actual_columns}"
        self.all.append(BadRow(row.number - 2, what, row.text[:60]))
        return "skip"

    def untold(self) -> tuple[BadRow, ...]:
        """Return those noted since the last call."""
        new = tuple(self.all[self.n_told :])
        self.n_told = len(self.all)
        return new

    def source_rows(self, parsed: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the position in the file of parsed rows, counting the skipped ones in."""
        skipped = np.array(sorted(bad.row for bad in self.all), dtype=np.int64)
        return parsed + np.searchsorted(skipped - np.arange(len(skipped)), parsed, side="right")


def _parquet_batches(path: Path, columns: Sequence[str], first: int, chunk_rows: int) -> Iterator[Batch]:
    """Yield batches of a Parquet file, holding a part of a row group at a time."""
    with pa.parquet.ParquetFile(path, buffer_size=_READ_BUFFER_BYTES, pre_buffer=False) as file:
        if lacking := [name for name in columns if name not in file.schema_arrow.names]:
            raise SourceError(f"{path} lacks the columns {', '.join(lacking)}, which the table's first file has.")
        for batch in file.iter_batches(batch_size=chunk_rows, columns=list(columns)):
            rows = np.arange(first, first + batch.num_rows, dtype=np.int64)
            yield Batch(rows, {name: batch.column(name) for name in columns})
            first += batch.num_rows


def _csv_batches(path: Path, columns: Sequence[str]) -> Iterator[Batch]:
    """Yield batches of a CSV file as bytes, so that neither types nor encoding can fail half-way."""
    bad, first = _BadRows(), 0
    for batch in _open_csv(path, bad, columns):
        rows = bad.source_rows(np.arange(first, first + batch.num_rows, dtype=np.int64))
        first += batch.num_rows
        yield Batch(rows, {name: batch.column(name) for name in columns}, typed=False, bad_rows=bad.untold())
    if late := bad.untold():
        empty = {name: pa.nulls(0, pa.binary()) for name in columns}
        yield Batch(np.empty(0, dtype=np.int64), empty, typed=False, bad_rows=late)


def _open_csv(path: Path, bad: _BadRows | None, columns: Sequence[str]) -> Any:
    """Return Arrow's streaming reader; one thread, because only then does it number bad rows."""
    return pa.csv.open_csv(
        path,
        read_options=pa.csv.ReadOptions(use_threads=False, block_size=_CSV_BLOCK_BYTES),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=(bad or _BadRows()).skip),
        convert_options=pa.csv.ConvertOptions(
            column_types={name: pa.binary() for name in columns},
            include_columns=list(columns),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what Arrow says of a broken file into a SourceError."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = re.sub(r"\s+", " ", str(error))
        kind = "CSV" if _is_csv(path) else "Parquet"
        raise SourceError(f"{path} cannot be read as {kind}: {reason}. Write the file again.") from error


def _is_csv(path: Path) -> bool:
    """Return whether a file is CSV by its name."""
    return not path.name.endswith(".parquet")
