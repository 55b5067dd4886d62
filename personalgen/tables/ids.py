"""Canonical ids: one text for one user or item, whichever way the source stores it.

Decided once, at the source reader; everything inside the program, its seeds included, uses this text.
"""

import re
import unicodedata
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from personalgen.tables.columns import Column, distinct

_LONGEST_INT64 = 20
_FLOATED_INTEGER = re.compile(r"-?\d+\.0+", re.ASCII)


@dataclass(frozen=True)
class IdColumn:
    """The canonical ids of a column, each distinct one once."""

    ids: tuple[str | None, ...]
    """Canonical id of each distinct source value; None where it is none."""
    codes: NDArray[np.int64]
    """Position in `ids` of each row."""

    def at(self, row: int) -> str | None:
        """Return the canonical id of one row."""
        return self.ids[int(self.codes[row])]

    def numbered(self, number_of: Callable[[str], int], *, none: int) -> NDArray[np.int64]:
        """Return the number that a function gives each row's id, asked once an id; `none` where it has no id."""
        numbers = [none if one is None else number_of(one) for one in self.ids]
        return np.array(numbers, dtype=np.int64)[self.codes]

    def mapped(self, number_of: Mapping[str, int], *, none: int = -1, other: int = -1) -> NDArray[np.int64]:
        """Return the number of each row's id; `none` where it has no id, `other` where the id has no number."""
        numbers = [none if one is None else number_of.get(one, other) for one in self.ids]
        return np.array(numbers, dtype=np.int64)[self.codes]


def canonical_id(value: object, *, max_bytes: int = 255, typed: bool = True) -> str | None:
    """Return the canonical text of an id, or None where the value is none.

    Integers become decimal text; text becomes NFC and keeps its spaces. Null, floats, booleans, empty text, text with
    a NUL (no database could store it) and text over `max_bytes` of UTF-8 are no ids. Where the source has no types
    (`typed` is false, CSV), "12.0" is an integer that became a float on the way, and is refused like one.
    """
    text = _id_text(value)
    if text is None or (not typed and _FLOATED_INTEGER.fullmatch(text)):
        return None
    text = unicodedata.normalize("NFC", text)
    if not text or "\0" in text:
        return None
    try:
        return text if len(text.encode()) <= max_bytes else None
    except UnicodeEncodeError:
        return None


def canonical_ids(column: Column, *, max_bytes: int = 255, typed: bool = True) -> IdColumn:
    """Return the canonical ids of a column, converting each distinct value once."""
    values, codes = distinct(column)
    if not isinstance(column, list) and pa.types.is_integer(column.type) and max_bytes >= _LONGEST_INT64:
        return IdColumn(tuple(None if value is None else str(value) for value in values), codes)
    return IdColumn(tuple(canonical_id(value, max_bytes=max_bytes, typed=typed) for value in values), codes)


def _id_text(value: object) -> str | None:
    """Return the text of a value of a type that ids may have, else None."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return _utf8(value)
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, uuid.UUID)):
        return str(value)
    # A database's NUMERIC(10, 0) is an integer by declaration; NUMERIC(10, 2) is not.
    if isinstance(value, Decimal) and value.is_finite() and value.as_tuple().exponent == 0:
        return str(value)
    return None


def _utf8(value: bytes) -> str | None:
    """Return bytes as text, or None where they are not UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None
