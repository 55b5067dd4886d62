"""Events on their way into buckets: batches are cut by user and appended to one file a bucket.

So memory is that of one bucket, however many events there are. Users that are whole numbers are spread by a
multiplicative hash of the number, texts by one of their first and last eight bytes and their length: the same user
is always in the same bucket.
Items get a key each: their number, or the place of their text in a list that only grows.
"""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from personalgen.affinity.events import Events, Ids, Keys, Places, bounds_of, coded
from personalgen.errors import DataError

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_COLUMNS = (np.dtype(np.int64), np.dtype(np.int32), np.dtype(np.float32))
_EDGE = 8


class ItemKeys:
    """Keys of items. Whole numbers are their own keys; texts are numbered as they come."""

    def __init__(self, texts: "pa.Array | None" = None) -> None:
        """Go on from the texts that have a key already."""
        self.texts, self.n_new = texts, 0

    def of(self, column: pa.Array) -> Keys:
        """Return the key of each item."""
        if pa.types.is_integer(column.type):
            keys: Keys = column.cast(pa.int64()).to_numpy(zero_copy_only=False)
            return keys
        texts = column.cast(pa.string())
        if self.texts is None:
            self.texts = pa.array([], pa.string())
        place = pc.index_in(texts, value_set=self.texts)
        if place.null_count:
            fresh = texts.filter(place.is_null()).unique()
            self.texts, self.n_new = pa.concat_arrays([self.texts, fresh]), self.n_new + len(fresh)
            place = pc.index_in(texts, value_set=self.texts)
        found: Keys = place.to_numpy().astype(np.int64)
        return found


class Spill:
    """One file a bucket, appended to batch by batch; read back bucket by bucket and removed with the folder."""

    def __init__(self, folder: Path, n_buckets: int) -> None:
        """Open the files in a folder that is there."""
        self.n_buckets, self.is_text = n_buckets, False
        self._paths = [folder / f"{bucket:04d}" for bucket in range(n_buckets)]
        self._files: list[BinaryIO] = []

    def __enter__(self) -> Self:
        self._files = [path.open("wb") for path in self._paths]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files:
            file.close()

    def add(self, users: pa.Array, events: Events) -> None:
        """Append the events of a batch to the files of their users."""
        self.is_text = not pa.types.is_integer(users.type)
        own: Keys | pa.Array
        if self.is_text:
            texts = users.cast(pa.string())
            order, bounds = _by_bucket(_bucket_of(_mixed(texts), self.n_buckets), self.n_buckets)
            own = texts.take(pa.array(order))
        else:
            keys = users.cast(pa.int64()).to_numpy(zero_copy_only=False)
            order, bounds = _by_bucket(_bucket_of(keys.view(np.uint64), self.n_buckets), self.n_buckets)
            own = keys[order]
        events = events.take(order)
        for file, start, stop in zip(self._files, bounds[:-1], bounds[1:], strict=True):
            if stop > start:
                self._write(file, own[start:stop], events, slice(start, stop))

    def buckets(self) -> Iterator[tuple[int, Ids, NDArray[np.int32], Events]]:
        """Yield each bucket's number, users (ascending), which of them each event is of, and the events."""
        for bucket, path in enumerate(self._paths):
            data = path.read_bytes()
            path.unlink()
            if data:
                yield (bucket, *self._read(data))

    def _write(self, file: BinaryIO, users: "Keys | pa.Array", events: Events, rows: slice) -> None:
        """Append how many, the users, and column by column the events."""
        file.write(np.int64(rows.stop - rows.start).tobytes())
        if self.is_text:
            lengths, data = _bytes_of(users)
            file.write(np.int64(len(data)).tobytes() + lengths.tobytes())
            file.write(data)
        else:
            file.write(users.data)
        file.writelines(column[rows].data for column in (events.item, events.seconds, events.weight))

    def _read(self, data: bytes) -> tuple[Ids, NDArray[np.int32], Events]:
        users, parts, place = [], [], 0

        def column(kind: Any, count: int) -> NDArray[Any]:
            nonlocal place
            found = np.frombuffer(data, dtype=kind, count=count, offset=place)
            place += found.nbytes
            return found

        while place < len(data):
            count = int(column(np.int64, 1)[0])
            if self.is_text:
                n_bytes = int(column(np.int64, 1)[0])
                offsets = np.append(0, np.cumsum(column(np.int32, count))).astype(np.int32)
                buffers = [None, pa.py_buffer(offsets), pa.py_buffer(column(np.uint8, n_bytes))]
                users.append(pa.Array.from_buffers(pa.string(), count, buffers))
            else:
                users.append(column(np.int64, count))
            parts.append(Events(*(column(kind, count) for kind in _COLUMNS)))
        events = Events.joined(parts)
        return (*(_coded_texts(users) if self.is_text else coded(np.concatenate(users))), events)


def _by_bucket(bucket: NDArray[np.uint16], n_buckets: int) -> tuple[Places, Places]:
    """Return the order by bucket, and where each bucket begins and ends in it."""
    order = np.argsort(bucket, kind="stable")
    return order, bounds_of(np.bincount(bucket, minlength=n_buckets))


def _bucket_of(hashed: NDArray[np.uint64], n_buckets: int) -> NDArray[np.uint16]:
    """Return the bucket of each number: the highest bits of its product with the golden ratio."""
    if n_buckets == 1:
        return np.zeros(len(hashed), dtype=np.uint16)
    bits = n_buckets.bit_length() - 1
    return ((hashed * _GOLDEN) >> np.uint64(64 - bits)).astype(np.uint16)


def _mixed(texts: pa.Array) -> NDArray[np.uint64]:
    """Return a number of the first and the last eight bytes of each text and of its length."""
    lengths, data = _bytes_of(texts)
    border = np.zeros(_EDGE, dtype=np.uint8)
    padded = np.concatenate([border, np.frombuffer(data, dtype=np.uint8), border])
    at_byte = np.ndarray(len(data) + _EDGE + 1, dtype="<u8", buffer=padded, strides=(1,))  # one number at each byte
    ends = np.cumsum(lengths, dtype=np.int64)
    # Of a shorter text what stands before or behind it is shifted out.
    missing = 8 * np.minimum(np.maximum(_EDGE - lengths, 0), 7).astype(np.uint64)
    tails, heads = at_byte[ends] >> missing, at_byte[ends - lengths + _EDGE] << missing
    mixed = (tails * _GOLDEN) ^ (heads >> np.uint64(1)) ^ lengths.astype(np.uint64)
    return np.where(lengths > 0, mixed ^ (mixed >> np.uint64(29)), 0)


def _bytes_of(texts: pa.Array) -> tuple[NDArray[np.int32], memoryview]:
    """Return the length of each text in bytes, and all their bytes."""
    _, offsets, data = texts.buffers()
    places = np.frombuffer(offsets, dtype=np.int32, count=len(texts) + 1, offset=4 * texts.offset)
    whole = memoryview(b"" if data is None else data)[places[0] : places[-1]]
    return np.diff(places), whole


def _coded_texts(users: list[pa.Array]) -> tuple[NDArray[np.object_], NDArray[np.int32]]:
    """Return the different texts, ascending, and which of them each one is."""
    encoded = pa.concat_arrays(users).dictionary_encode()
    texts = encoded.dictionary.to_numpy(zero_copy_only=False)
    order = np.argsort(texts)
    rank = np.empty(len(texts), dtype=np.int32)
    rank[order] = np.arange(len(texts), dtype=np.int32)
    return texts[order], rank[encoded.indices.to_numpy()]


def seconds_after(landmark: int, timestamp: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return times as seconds after the landmark.

    Raises:
        DataError: a time is more than 68 years away.
    """
    seconds = timestamp - landmark
    if len(seconds) and max(-int(seconds.min()), int(seconds.max())) >= 1 << 31:
        raise DataError(
            f"times of events lie from {int(timestamp.min())} to {int(timestamp.max())} seconds since 1970, which is "
            f"more than 68 years from {landmark}, when the state began. Nothing was added."
        )
    return seconds.astype(np.int32)
