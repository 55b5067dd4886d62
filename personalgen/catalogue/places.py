"""Where the bytes of an image lie, asked so often that a statement's preparation would cost more than its answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from sqlalchemy import Connection, Engine

from personalgen.catalogue.read import reading
from personalgen.errors import NotFoundError

_PLACE = (
    "SELECT s.path, a.member, a.shard_offset, a.byte_length, a.crc32 "
    "FROM asset a JOIN shard s ON s.shard_id = a.shard_id WHERE a.asset_id = {}"
)


class Place(NamedTuple):
    """What `generation.shards.read_member` needs."""

    shard_path: str
    """Relative to the shard root."""
    member: str
    shard_offset: int
    byte_length: int
    crc32: int


class Places:
    """Looks assets up one by one on a connection that stays open, without building a statement each time."""

    def __init__(self, connection: Connection) -> None:
        self._cursor = connection.connection.cursor()
        self._statement = _PLACE.format("?" if connection.dialect.name == "sqlite" else "%s")

    def find(self, asset_id: int) -> Place:
        """Return where the bytes of an asset lie.

        Raises:
            NotFoundError: there is no such asset.
        """
        self._cursor.execute(self._statement, (asset_id,))
        row = self._cursor.fetchone()
        if row is None:
            raise NotFoundError(f"There is no asset {asset_id} in the catalogue. Nothing was changed.")
        return Place(*row)


@contextmanager
def places(engine: Engine) -> Iterator[Places]:
    """Yield `Places` on a connection of its own; all answers are of one moment.

    Raises:
        CatalogueError: the database is gone, or has no tables yet.
    """
    with reading(engine) as connection:
        connection.exec_driver_sql("SELECT 1")  # begins the transaction in which the cursor reads
        yield Places(connection)
