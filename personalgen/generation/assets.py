"""The images of a shard as columns, the table of its sidecar, and one of them as a row.

A million rows a night pass through here: between drawing and the catalogue nothing is made for each of them but what is
stored of it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from personalgen.embeddings.preference import events_to_json

NATURAL_KEY = ("user_key", "generator_digest", "condition_digest", "operating_point_digest", "variant")
SCHEMA = pa.schema(
    [
        pa.field("user_key", pa.int64(), nullable=False),
        pa.field("generator_digest", pa.int64(), nullable=False),
        pa.field("condition_digest", pa.int64(), nullable=False),
        pa.field("operating_point_digest", pa.int64(), nullable=False),
        pa.field("variant", pa.int16(), nullable=False),
        pa.field("member", pa.string(), nullable=False),
        pa.field("shard_offset", pa.int64(), nullable=False),
        pa.field("byte_length", pa.int32(), nullable=False),
        pa.field("crc32", pa.int64(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("score", pa.float32()),
        pa.field("n_events", pa.int32(), nullable=False),
        pa.field("top_events", pa.string(), nullable=False),
        pa.field("condition", pa.binary(), nullable=False),
    ]
)

ENCODER_KEY = b"personalgen.encoder"
"""Of the schema's metadata."""


@dataclass(frozen=True)
class AssetRow:
    """One generated image: its natural key, where its bytes lie, and what it was made from."""

    user_key: int
    generator_digest: int
    condition_digest: int
    operating_point_digest: int
    variant: int
    member: str
    """Name inside the tar."""
    shard_offset: int
    """Of the first byte of the file inside the tar."""
    byte_length: int
    crc32: int
    seed: int
    score: float | None
    """The judge's; None until somebody scores it."""
    n_events: int
    """Events behind the condition."""
    top_events: tuple[Mapping[str, Any], ...]
    """The events that weighed most, heaviest first."""
    condition: bytes
    """Little-endian float32 bytes of what the model was told of the user (`PreferenceTable.condition_rows`)."""

    @property
    def natural_key(self) -> tuple[int, ...]:
        """What identifies the image wherever and whenever it is made."""
        return tuple(getattr(self, name) for name in NATURAL_KEY)


@dataclass(frozen=True)
class AssetRows:
    """The images of one shard in the order of its members; equal where all columns are."""

    table: pa.Table
    """With the columns of `SCHEMA`; `top_events` is JSON text. The encoder's name stands in its metadata."""

    @classmethod
    def of_columns(cls, columns: Mapping[str, Any], *, encoder: str) -> "AssetRows":
        """Return the rows of arrays or lists, one for each column of `SCHEMA`; `top_events` as JSON text."""
        return cls(pa.table(dict(columns), schema=SCHEMA.with_metadata({ENCODER_KEY: encoder})))

    @classmethod
    def of(cls, rows: Iterable[AssetRow], *, encoder: str) -> "AssetRows":
        """Return rows that are made one by one: of an example or a test."""
        records = [asdict(row) | {"top_events": events_to_json(row.top_events)} for row in rows]
        return cls.of_columns({name: [record[name] for record in records] for name in SCHEMA.names}, encoder=encoder)

    @property
    def encoder(self) -> str:
        """What encoded the images.

        Raises:
            KeyError: the table does not tell.
        """
        return str((self.table.schema.metadata or {})[ENCODER_KEY].decode())

    def values(self, name: str) -> list[Any]:
        """Return a column as plain values, None where there is none."""
        return list(self.table[name].to_pylist())

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, place: int) -> AssetRow:
        record = self.table.slice(place, 1).to_pylist()[0]
        return AssetRow(**{**record, "top_events": tuple(json.loads(record["top_events"]))})

    def __iter__(self) -> Iterator[AssetRow]:
        return (self[place] for place in range(len(self)))
