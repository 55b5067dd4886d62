"""Which asset a picture is, by what it says of itself and by its bytes."""

from dataclasses import dataclass

from sqlalchemy import Engine, select

from personalgen.catalogue.read import reading
from personalgen.catalogue.schema import asset, model_version, night, shard


@dataclass(frozen=True)
class Candidate:
    """An asset of a night and a model that has the length and the checksum of a picture."""

    asset_id: int
    shard_path: str
    """Relative to the shard root."""
    shard_offset: int
    byte_length: int
    crc32: int


def knows_origin(engine: Engine, *, night_key: str, generator_sha256: str) -> bool:
    """Return whether the catalogue knows both this night and these weights."""
    with reading(engine) as connection:
        return all(
            connection.scalar(query) is not None
            for query in (
                select(night.c.night_id).where(night.c.night_key == night_key),
                select(model_version.c.version).where(model_version.c.generator_sha256 == generator_sha256),
            )
        )


def candidates(
    engine: Engine, *, night_key: str, generator_sha256: str, byte_length: int, crc32: int
) -> tuple[Candidate, ...]:
    """Return the assets of this length and checksum that the night drew with these weights; reads all of its rows."""
    query = (
        select(asset.c.asset_id, shard.c.path, asset.c.shard_offset, asset.c.byte_length, asset.c.crc32)
        .join(night, night.c.night_id == asset.c.night_id)
        .join(shard, shard.c.shard_id == asset.c.shard_id)
        .join(model_version, model_version.c.model_version_id == asset.c.model_version_id)
        .where(
            night.c.night_key == night_key,
            model_version.c.generator_sha256 == generator_sha256,
            asset.c.byte_length == byte_length,
            asset.c.crc32 == crc32,
        )
        .order_by(asset.c.asset_id)
    )
    with reading(engine) as connection:
        return tuple(Candidate(*row) for row in connection.execute(query))
