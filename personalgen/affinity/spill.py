"""Events on their way into buckets: batches are cut by user and appended to one file a bucket.

So memory is that of one bucket, and of the items' texts where they are texts, however many events there are. Users
that are whole numbers are spread by a multiplicative hash of the number, texts by one of their first and last eight
bytes and their length: the same user is always in the same bucket.
Items get a key each: their number, or the place of their text in a list that only grows.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Generic, Self, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from personalgen.affinity.events import Events, Ids, Keys, Places, bounds_of, coded, ranks_in
from personalgen.errors import DataError

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_EDGE = 8
_SLICE = 1 << 15
"""Texts that are hashed in one go."""
_SEARCHED = 1 << 20
"""Events at least whose items' texts are looked up in one go."""
E = TypeVar("E", bound=Events)


class ItemKeys:
    """Keys of items. Whole numbers are their own keys; texts are numbered as they come."""

    def __init__(self, texts: "pa.Array | None" = None, *, n_new: int = 0) -> None:
        """Go on from the texts that have a key already, of which the last ones are in no file yet."""
        self.texts = pa.array([], pa.string()) if texts is None else texts
        self.n_new = n_new

    @classmethod
    def beforehand(cls, texts: Sequence[str]) -> "ItemKeys":
        """Return keys for texts in an order told before they come."""
        return cls(pa.array(texts, pa.string()), n_new=len(texts))

    def of(self, batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[pa.RecordBatch, Keys]]:
        """Yield each batch and the keys of its items.

        Arrow hashes all known texts for each search. So batches wait until there are as many events as texts, and all
        searches together cost what is linear in the events.
        """
        waiting: list[pa.RecordBatch] = []
        n_events = 0
        for batch in batches:
            if pa.types.is_integer(batch["item_id"].type):
                yield batch, batch["item_id"].cast(pa.int64()).to_numpy(zero_copy_only=False)
                continue
            waiting.append(batch)
            n_events += len(batch)
            if n_events >= max(_SEARCHED, len(self.texts)):
                yield from self._numbered(waiting)
                waiting, n_events = [], 0
        if waiting:
            yield from self._numbered(waiting)

    def _numbered(self, batches: Sequence[pa.RecordBatch]) -> Iterator[tuple[pa.RecordBatch, Keys]]:
        """Yield batches of texts and their places in the list, at the end of which stand those that are new."""
        texts = pa.chunked_array([batch["item_id"].cast(pa.string()) for batch in batches])
        found = pc.index_in(texts, value_set=self.texts)
        place: NDArray[np.int32] = found.fill_null(-1).to_numpy()
        if found.null_count:
            is_new = place < 0
            fresh = texts.filter(pa.array(is_new)).combine_chunks().dictionary_encode()
            place = place.copy()
            place[is_new] = len(self.texts) + fresh.indices.to_numpy()
            self.texts = pa.concat_arrays([self.texts, fresh.dictionary])
            self.n_new += len(fresh.dictionary)
        starts = bounds_of(np.array([len(batch) for batch in batches]))
        for batch, start, stop in zip(batches, starts[:-1], starts[1:], strict=True):
            yield batch, place[start:stop]


class Spill(Generic[E]):
    """One file a bucket, appended to batch by batch; read back bucket by bucket and removed with the folder."""

    def __init__(self, folder: Path, n_buckets: int, kind: type[E]) -> None:
        """Open the files in a folder that is there, for events of a kind."""
        self.n_buckets, self.kind = n_buckets, kind
        self.is_text = False
        self._item_type: np.dtype[Any] = np.dtype(np.int64)
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

    def add(self, users: pa.Array, events: E) -> None:
        """Append the events of a batch to the files of their users."""
        self.is_text, self._item_type = not pa.types.is_integer(users.type), events.item.dtype
        own: Keys | _Texts
        if self.is_text:
            texts = users.cast(pa.string())
            order, bounds = _by_bucket(_bucket_of(_mixed(texts), self.n_buckets), self.n_buckets)
            own = _Texts.of(texts.take(pa.array(order)))
        else:
            keys = users.cast(pa.int64()).to_numpy(zero_copy_only=False)
            order, bounds = _by_bucket(_bucket_of(keys.view(np.uint64), self.n_buckets), self.n_buckets)
            own = keys[order]
        columns = events.take(order).columns()
        for file, start, stop in zip(self._files, bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            if stop > start:
                ids = own.stored(start, stop) if isinstance(own, _Texts) else (own[start:stop].data,)
                # How many, the users, and column by column the events: one call a bucket.
                file.write(
                    b"".join((np.int64(stop - start).tobytes(), *ids, *(column[start:stop].data for column in columns)))
                )

    def buckets(self) -> Iterator[tuple[int, Ids, NDArray[np.int32], E]]:
        """Yield each bucket's number, users (ascending), which of them each event is of, and the events."""
        for bucket, path in enumerate(self._paths):
            data = path.read_bytes()
            path.unlink()
            if data:
                yield (bucket, *self._read(data))

    def _read(self, data: bytes) -> tuple[Ids, NDArray[np.int32], E]:
        users, texts, parts, place = [], [], [], 0

        def column(kind: Any, count: int) -> NDArray[Any]:
            nonlocal place
            found = np.frombuffer(data, dtype=kind, count=count, offset=place)
            place += found.nbytes
            return found

        while place < len(data):
            count = int(column(np.int64, 1)[0])
            if self.is_text:
                n_bytes, width = (int(number) for number in column(np.int64, 2))
                users.append(column(f"u{width}", count))
                texts.append(column(np.uint8, n_bytes))
            else:
                users.append(column(np.int64, count))
            item = column(self._item_type, count).astype(np.int64)
            parts.append(self.kind(item, *(column(kind, count) for kind in self.kind.kinds)))
        own, events = np.concatenate(users), self.kind.joined(parts)
        return (*(_coded_texts(own, b"".join(part.data for part in texts)) if self.is_text else coded(own)), events)


@dataclass(frozen=True)
class _Texts:
    """Texts as their lengths and bytes."""

    lengths: NDArray[np.int32]
    places: NDArray[np.int32]
    """Where each text begins in the bytes, and where the last one ends."""
    data: memoryview

    @classmethod
    def of(cls, texts: pa.Array) -> "_Texts":
        _, offsets, data = texts.buffers()
        places = np.frombuffer(offsets, dtype=np.int32, count=len(texts) + 1, offset=4 * texts.offset)
        whole = memoryview(b"" if data is None else data)[places[0] : places[-1]]
        return cls(np.diff(places), places - places[0], whole)

    def stored(self, start: int, stop: int) -> tuple[bytes, bytes, memoryview]:
        """Return some of them for a file: how many bytes, and how many for a length, the lengths, the bytes."""
        data, lengths = self.data[self.places[start] : self.places[stop]], self.lengths[start:stop]
        width = 1 if lengths.max() < 1 << 8 else 4
        return np.array([len(data), width]).tobytes(), lengths.astype(f"u{width}").tobytes(), data


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
    """Return a number of each text, slice by slice: what is made on the way stays in the processor's cache."""
    mixed = np.empty(len(texts), dtype=np.uint64)
    for start in range(0, len(texts), _SLICE):
        mixed[start : start + _SLICE] = _mixed_slice(texts[start : start + _SLICE])
    return mixed


def _mixed_slice(texts: pa.Array) -> NDArray[np.uint64]:
    """Return a number of the first and the last eight bytes of each text and of its length."""
    own = _Texts.of(texts)
    border = np.zeros(_EDGE, dtype=np.uint8)
    padded = np.concatenate([border, np.frombuffer(own.data, dtype=np.uint8), border])
    at_byte = np.ndarray(len(own.data) + _EDGE + 1, dtype="<u8", buffer=padded, strides=(1,))  # one number at each byte
    starts, ends = own.places[:-1], own.places[1:]
    # Of a shorter text what stands before or behind it is shifted out.
    missing = 8 * np.minimum(np.maximum(_EDGE - own.lengths, 0), 7).astype(np.uint64)
    tails, heads = at_byte[ends] >> missing, at_byte[starts + _EDGE] << missing
    mixed = (tails * _GOLDEN) ^ (heads >> np.uint64(1)) ^ own.lengths.astype(np.uint64)
    return np.where(own.lengths > 0, mixed ^ (mixed >> np.uint64(29)), 0)


def _coded_texts(lengths: NDArray[np.int32], data: bytes) -> tuple[NDArray[np.object_], NDArray[np.int32]]:
    """Return the different texts, ascending, and which of them each one is."""
    buffers = [None, pa.py_buffer(bounds_of(lengths)), pa.py_buffer(data)]
    encoded = pa.Array.from_buffers(pa.large_string(), len(lengths), buffers).dictionary_encode()
    # Arrow sorts by bytes, which in UTF-8 is the order of texts in Python, and several times as fast.
    order = pc.array_sort_indices(encoded.dictionary)
    return encoded.dictionary.take(order).to_numpy(zero_copy_only=False), ranks_in(order.to_numpy(), encoded)


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
