"""A digest of tables that does not depend on the order of their rows.

Each row is hashed to 128 bits and the hashes are summed, so the same content gives the same digest whichever way, and
in whichever batches, it is read. Text goes through blake2b once per distinct value; rows of numbers are mixed by numpy.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
_KEYS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)
_TEXT_LANES = 2


def text_words(values: Sequence[str | None]) -> Words:
    """Return (n, 2) uint64: 128 bits of blake2b of each text; None differs from every text."""
    digests = b"".join(
        hashlib.blake2b(_framed(value), digest_size=16, person=b"personalgen-row").digest() for value in values
    )
    return np.frombuffer(digests, dtype="<u8").reshape(-1, _TEXT_LANES).astype(np.uint64)


def record_words(records: Iterable[Sequence[str | None]]) -> Words:
    """Return (n, 2) uint64: 128 bits of blake2b of each record of texts."""
    return text_words(
        ["".join(f"{-1 if one is None else len(one)}:{one or ''}" for one in record) for record in records]
    )


def mixed(columns: Sequence[Words]) -> Words:
    """Return (n, 2) uint64: rows of 64-bit words mixed under two keys.

    Source: splitmix64 (Steele, Lea, Flood 2014), its output function applied after each word.
    """
    lanes = []
    for key in _KEYS:
        state = np.full(len(columns[0]), key, dtype=np.uint64)
        for column in columns:
            state = _finalise(state ^ column)
        lanes.append(state)
    return np.stack(lanes, axis=1)


@dataclass
class RowSum:
    """The sum of row hashes, and how many there were."""

    n_rows: int = 0
    low: int = 0
    high: int = 0

    def add(self, words: Words) -> None:
        """Add (n, 2) row hashes; sums wrap at 2**64."""
        sums = words.sum(axis=0, dtype=np.uint64)
        self.low = (self.low + int(sums[0])) % 2**64
        self.high = (self.high + int(sums[1])) % 2**64
        self.n_rows += len(words)

    def hex(self) -> str:
        """Return the count and both sums as text."""
        return f"{self.n_rows}:{self.low:016x}{self.high:016x}"


def _finalise(state: Words) -> Words:
    """Return splitmix64's next output for each state; array arithmetic wraps at 2**64."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _framed(value: str | None) -> bytes:
    """Return bytes that tell None from text."""
    return b"" if value is None else b"\x01" + value.encode()
