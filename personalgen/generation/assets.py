"""The row of one generated image, and a shard's rows as the Arrow table of its sidecar."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pyarrow as pa

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

_EVENTS_TO_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


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


def rows_to_table(rows: Sequence[AssetRow]) -> pa.Table:
    """Return the sidecar's table; `top_events` becomes JSON text."""
    columns = {field.name: [getattr(row, field.name) for row in rows] for field in fields(AssetRow)}
    columns["top_events"] = [_EVENTS_TO_JSON(events) for events in columns["top_events"]]
    return pa.table(columns, schema=SCHEMA)


def table_to_rows(table: pa.Table) -> tuple[AssetRow, ...]:
    """Return the rows that `rows_to_table` wrote."""
    return tuple(
        AssetRow(**{**record, "top_events": tuple(json.loads(record["top_events"]))})
        for record in table.select(SCHEMA.names).to_pylist()
    )
