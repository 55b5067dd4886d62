"""Columns as sources give them, and their conversion to seconds, numbers, flags and text.

A conversion never raises on a value: what cannot be read comes back as missing, and the caller quarantines the row.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Column: TypeAlias = "pa.Array | list[Any]"
"""An Arrow array, or Python objects where a database mixes types in a column."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_SECONDS = 1 << 62
_TICKS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_FLAGS = {"true": True, "t": True, "yes": True, "y": True, "1": True, "": False} | dict.fromkeys(
    ("false", "f", "no", "n", "0"), False
)


@dataclass(frozen=True)
class BadRow:
    """A row that the reader itself could not take apart."""

    row: int
    what: str
    text: str
    """Its first characters."""


@dataclass(frozen=True)
class Batch:
    """Some consecutive rows of a source table, under the source's column names."""

    rows: NDArray[np.int64]
    """0-based position of each row in the source table."""
    columns: dict[str, Column]
    """Columns by the source's names, all as long as `rows`."""
    typed: bool = True
    """False where every value came as text (CSV)."""
    bad_rows: tuple[BadRow, ...] = ()
    """Rows met since the last batch that are not in `rows`."""

    @property
    def n_rows(self) -> int:
        """Rows of the source that this batch accounts for."""
        return len(self.rows) + len(self.bad_rows)


def distinct(column: Column) -> tuple[list[Any], NDArray[np.int64]]:
    """Return (distinct values, code of each row): a conversion then runs once for each distinct value.

    Values that are equal but of different types stay apart.
    """
    if not isinstance(column, list):
        column = _plain(column)
        if not pa.types.is_nested(column.type):
            encoded = column.dictionary_encode(null_encoding="encode")
            return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)
        column = column.to_pylist()
    codes: dict[tuple[type, Any], int] = {}
    rows = [codes.setdefault((type(value), _hashable(value)), len(codes)) for value in column]
    values: list[Any] = [None] * len(codes)
    for code, value in zip(rows, column, strict=True):
        values[code] = value
    return values, np.array(rows, dtype=np.int64)


def to_seconds(column: Column) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return (UTC seconds rounded down, mask of readable rows); unreadable, missing and negative times are masked.

    Numbers are seconds; datetimes and ISO-8601 text without a zone are UTC.
    """
    seconds, readable = _seconds(column)
    readable = readable & (seconds >= 0) & (seconds < _MAX_SECONDS)
    return np.where(readable, seconds, 0), readable


def to_floats(column: Column) -> NDArray[np.float64]:
    """Return float64 numbers; NaN where a value is missing or is no number (a boolean is none)."""
    if isinstance(column, list):
        return np.array([_float(value) for value in column], dtype=np.float64)
    column = _plain(column)
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return np.asarray(
            column.cast(pa.float64(), safe=False).fill_null(math.nan).to_numpy(zero_copy_only=False), dtype=np.float64
        )
    return _per_distinct(column, _float, np.float64)


def to_flags(column: Column) -> list[bool | None]:
    """Return booleans from booleans, 0 and 1, or words such as "yes"; missing is False, and None cannot be read."""
    values, codes = distinct(column)
    flags = [_flag(value) for value in values]
    return [flags[code] for code in codes]


def to_text(column: Column) -> list[str | None]:
    """Return values as text, the same whether they came typed or from CSV; None where missing or empty."""
    values, codes = distinct(column)
    texts = [text_of(value) for value in values]
    return [texts[code] for code in codes]


def text_of(value: object) -> str | None:
    """Return one value as text: bytes as UTF-8 with replacements, booleans in lower case, NaN and "" as None."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace") or None
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).encode("utf-8", "replace").decode() or None


def value_at(column: Column, index: int) -> object:
    """Return the Python value of one row."""
    value: object = column[index] if isinstance(column, list) else _plain(column)[index].as_py()
    return value


def shown(value: object) -> str:
    """Return a value as a quarantine detail shows it: repr and type, cut to a readable length."""
    text = repr(value.decode("utf-8", "replace") if isinstance(value, bytes) else value)
    return f"{text[:60] + '…' if len(text) > 60 else text} ({type(value).__name__})"


def ceil_seconds(moment: datetime) -> int:
    """Return the smallest whole UTC second that is not before an aware datetime."""
    return -((EPOCH - moment) // timedelta(seconds=1))


def _plain(column: pa.Array) -> pa.Array:
    """Return the array without dictionary encoding, binary read as text where it is UTF-8, timestamps at most in µs."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        try:
            return column.cast(pa.large_string())
        except pa.ArrowInvalid:
            return column
    return column


def _seconds(column: Column) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return seconds and readability by the fastest way that the type allows."""
    if isinstance(column, list):
        return _optional([_second(value) for value in column])
    column = _plain(column)
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("s"))
    kind = column.type
    if pa.types.is_timestamp(kind):
        return _filled(column.cast(pa.int64())) // _TICKS[kind.unit], _valid(column)
    if pa.types.is_signed_integer(kind):
        return _filled(column.cast(pa.int64())), _valid(column)
    if pa.types.is_floating(kind):
        return _float_seconds(to_floats(column))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _text_seconds(column)
    return _optional([_second(value) for value in column.to_pylist()])


def _float_seconds(numbers: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return floats rounded down, and which of them an int64 can hold."""
    readable = np.isfinite(numbers) & (np.abs(numbers) < _MAX_SECONDS)
    return np.floor(np.where(readable, numbers, 0)).astype(np.int64), readable


def _text_seconds(column: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Read text at once where all rows have one form, else row by row."""
    text = pc.utf8_trim_whitespace(column)
    for form in (pa.int64(), pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            return _seconds(text.cast(form))
        except pa.ArrowInvalid:
            continue
    return _optional([_second(value) for value in text.to_pylist()])


def _second(value: object) -> int | None:
    """Return UTC seconds of one value, rounded down, or None."""
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return (aware - EPOCH) // timedelta(seconds=1)
    if isinstance(value, date):
        return _second(datetime(value.year, value.month, value.day, tzinfo=UTC))
    if isinstance(value, (str, bytes)):
        return _text_second(value if isinstance(value, str) else value.decode("utf-8", "replace"))
    number = _float(value)
    return math.floor(number) if math.isfinite(number) and abs(number) < _MAX_SECONDS else None


def _text_second(text: str) -> int | None:
    """Return UTC seconds of a number or an ISO-8601 instant in text, or None."""
    try:
        return _second(datetime.fromisoformat(text.strip())) if not _NUMBER.fullmatch(text) else _second(float(text))
    except ValueError:
        return None


def _float(value: object) -> float:
    """Return one value as a float; NaN where it is no number."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal, str)):
        return math.nan
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def _flag(value: object) -> bool | None:
    """Return one value as a boolean, or None."""
    text = text_of(value) or ""
    return _FLAGS.get(re.sub(r"\.0+$", "", text.strip().lower()))


def _hashable(value: object) -> object:
    """Return a value that stands for `value` in a dictionary."""
    return repr(value) if isinstance(value, (list, dict, set, bytearray, memoryview)) else value


def _per_distinct(column: pa.Array, convert: Callable[[Any], float], dtype: type[np.float64]) -> NDArray[np.float64]:
    """Apply `convert` once to each distinct value."""
    values, codes = distinct(column)
    return np.array([convert(value) for value in values], dtype=dtype)[codes] if values else np.empty(0, dtype)


def _optional(values: Sequence[int | None]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return (values with 0 where None, mask of those that are not None)."""
    return _int64(0 if value is None else value for value in values), np.array(
        [v is not None for v in values], dtype=bool
    )


def _int64(values: Iterable[int]) -> NDArray[np.int64]:
    """Return an int64 array."""
    return np.fromiter(values, dtype=np.int64)


def _filled(column: pa.Array) -> NDArray[np.int64]:
    """Return an integer array with 0 for null."""
    return np.asarray(column.fill_null(0).to_numpy(zero_copy_only=False), dtype=np.int64)


def _valid(column: pa.Array) -> NDArray[np.bool_]:
    """Return the mask of rows that are not null."""
    return np.asarray(column.is_valid().to_numpy(zero_copy_only=False), dtype=bool)
