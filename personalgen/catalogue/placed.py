"""Assets with the place of their bytes: what an export reads, shard by shard."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

from sqlalchemy import Engine, select

from personalgen.catalogue import schema
from personalgen.catalogue.read import reading
from personalgen.catalogue.views import v_assets


@dataclass(frozen=True)
class PlacedAsset:
    """One image and where its bytes lie."""

    asset_id: int
    user_id: str
    model_version: int
    seed: int
    score: float | None
    variant: int
    shard_path: str
    """Relative to the shard root."""
    member: str
    shard_offset: int
    byte_length: int
    crc32: int


def placed_assets(engine: Engine, *, live_only: bool = True, chunk_rows: int = 10_000) -> Iterator[PlacedAsset]:
    """Yield assets in the order of their bytes; by default those that users see now."""
    where = {
        "asset_id": schema.asset,
        "shard_offset": schema.asset,
        "member": schema.asset,
        "byte_length": schema.asset,
        "crc32": schema.asset,
        "variant": schema.asset,
    }
    columns = [
        schema.shard.c.path.label("shard_path") if name == "shard_path" else where.get(name, v_assets).c[name]
        for name in (field.name for field in fields(PlacedAsset))
    ]
    joined = v_assets.join(schema.asset, schema.asset.c.asset_id == v_assets.c.asset_id).join(
        schema.shard, schema.shard.c.shard_id == schema.asset.c.shard_id
    )
    query = select(*columns).select_from(joined).order_by(schema.asset.c.shard_id, schema.asset.c.shard_offset)
    if live_only:
        query = query.where(v_assets.c.is_live)
    with (
        reading(engine, streaming=True) as connection,
        connection.execution_options(yield_per=chunk_rows).execute(query) as rows,
    ):
        for row in rows:
            yield PlacedAsset(**row._asdict())
