"""Erasing people: the intent first, then shard by shard, then the ledger's line; and files that nobody names any more.

A run that was cut anywhere finds its intent (`erasure`), the assets whose bytes are still there, and the files that are
still to be removed (`removal`), and goes on.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from sqlalchemy import Connection, Engine, delete, select, update

from personalgen.catalogue.bulk import chunks, execute_rows, insert_into
from personalgen.catalogue.engine import transaction
from personalgen.catalogue.people import delete_opinions, delete_people, owned
from personalgen.catalogue.read import reading
from personalgen.catalogue.schema import METADATA, asset, erasure, removal, shard, user
from personalgen.errors import CatalogueError, NotFoundError

IMAGES = "images"


@dataclass(frozen=True)
class Erasing:
    """A person who is to be erased, and how far that is."""

    user_key: int
    user_id: str
    requested_at: datetime
    actor: str
    reason: str
    removed: Mapping[str, int]
    shards: Sequence[str]
    """Paths of the shards in which images were and are not any more."""


@dataclass(frozen=True)
class OwnedBytes:
    """An image of a person who is being erased, and where its bytes lie."""

    asset_id: int
    user_key: int
    member: str
    shard_offset: int
    byte_length: int


@dataclass(frozen=True)
class ShardOfPeople:
    """A shard that holds images of people who are being erased."""

    shard_id: int
    path: str
    sha256: str
    owned: tuple[OwnedBytes, ...]
    """In the order of their bytes."""


def begin_erasures(
    engine: Engine,
    user_ids: Sequence[str],
    *,
    actor: str,
    reason: str,
    at: datetime,
    spoke_as: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write that these people are to be erased, and delete their rows but for assets; they are silent from then on.

    Who is being erased already stays as the first request said. All are begun, or none. `spoke_as` gives further ids
    that raters and voters may have been named by, each with the person's: what was said under these goes too.

    Raises:
        NotFoundError: a person is unknown. Nothing was changed.
    """
    with transaction(engine) as connection:
        keys = _keys(connection, user_ids)
        counts = delete_people(connection, list(keys.values()))
        delete_opinions(connection, {name: keys[user_id] for name, user_id in spoke_as.items()}, counts)
        for part in chunks(list(keys.values())):
            connection.execute(update(user).where(user.c.user_key.in_(part)).values(forgotten=True))
        rows = [
            {"user_key": key, "requested_at": at, "actor": actor, "reason": reason, "removed": {}, "shards": []}
            for key in keys.values()
        ]
        execute_rows(connection, insert_into(connection, erasure).on_conflict_do_nothing(), rows)
        add_removed(connection, counts)


def open_erasures(engine: Engine) -> tuple[Erasing, ...]:
    """Return who is still to be erased, by key."""
    query = select(erasure, user.c.user_id).join(user, user.c.user_key == erasure.c.user_key)
    with reading(engine) as connection:
        return tuple(Erasing(**row._asdict()) for row in connection.execute(query.order_by(erasure.c.user_key)))


def shards_of_people(engine: Engine, user_keys: Sequence[int]) -> tuple[ShardOfPeople, ...]:
    """Return the shards that hold images of these people, each once, by path."""
    found: dict[tuple[int, str, str], list[OwnedBytes]] = defaultdict(list)
    columns = select(
        asset.c.asset_id, asset.c.user_key, asset.c.member, asset.c.shard_offset, asset.c.byte_length,
        shard.c.shard_id, shard.c.path, shard.c.sha256,
    ).join(shard, shard.c.shard_id == asset.c.shard_id)  # fmt: skip
    with reading(engine) as connection:
        for part in chunks(user_keys):
            for *own, shard_id, path, sha256 in connection.execute(columns.where(owned(asset, part))):
                found[shard_id, path, sha256].append(OwnedBytes(*own))
    return tuple(
        ShardOfPeople(*place, tuple(sorted(own, key=lambda one: one.shard_offset)))
        for place, own in sorted(found.items(), key=lambda entry: entry[0][1])
    )


def shards(engine: Engine) -> tuple[ShardOfPeople, ...]:
    """Return every shard as one in which nobody's assets lie, by path."""
    with reading(engine) as connection:
        rows = connection.execute(select(shard.c.shard_id, shard.c.path, shard.c.sha256).order_by(shard.c.path))
        return tuple(ShardOfPeople(row.shard_id, row.path, row.sha256, ()) for row in rows)


def commit_erased_shard(
    engine: Engine, erased: ShardOfPeople, *, path: str, sha256: str, at: datetime, n_duplicates: int = 0
) -> None:
    """Write that the shard's bytes of these people are gone: it has another digest, and its assets are deleted.

    `n_duplicates` counts those of its images that had no asset here. Under a new `path`, the old tar is to be removed
    with its sidecar.

    Raises:
        CatalogueError: the shard was changed since it was looked up. Nothing was changed.
    """
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for own in erased.owned:
        counts[own.user_key][IMAGES] += 1
    with transaction(engine) as connection:
        same = (shard.c.shard_id == erased.shard_id) & (shard.c.path == erased.path) & (shard.c.sha256 == erased.sha256)
        fresh = {"path": path, "sha256": sha256, "n_assets": shard.c.n_assets - len(erased.owned) - n_duplicates}
        if connection.execute(update(shard).where(same).values(**fresh)).rowcount != 1:
            raise CatalogueError(
                f"shard {erased.path} was changed in the catalogue while people were erased from it. Run the same "
                "command again. Nothing was changed there."
            )
        delete_assets(connection, [own.asset_id for own in erased.owned])
        add_removed(connection, counts, shard_path=path)
        if path != erased.path:
            ask_for_removal(connection, [erased.path], at=at)


def delete_assets(connection: Connection, asset_ids: Sequence[int]) -> int:
    """Delete assets and the rows that other tables hold of them, inside the caller's transaction; return how many.

    What stands for a user now (`user_current`, `user_variant`) is the caller's to look after.
    """
    n_rows = 0
    about = [table for table in METADATA.sorted_tables if "asset_id" in table.c and table.name not in _POINTING]
    for part in chunks(asset_ids):
        for table in reversed(about):
            count = connection.execute(delete(table).where(table.c.asset_id.in_(part))).rowcount
            n_rows += count if table is asset else 0
    return n_rows


def add_removed(connection: Connection, counts: Mapping[int, Mapping[str, int]], *, shard_path: str = "") -> None:
    """Add to what is noted as gone of people who are being erased, inside the caller's transaction."""
    for part in chunks(list(counts)):
        known = select(erasure.c.user_key, erasure.c.removed, erasure.c.shards).where(erasure.c.user_key.in_(part))
        for key, removed, shards in connection.execute(known).all():
            total = removed | {kind: removed.get(kind, 0) + count for kind, count in counts[key].items()}
            fresh = {"removed": total, "shards": [*shards, shard_path] if shard_path else shards}
            connection.execute(update(erasure).where(erasure.c.user_key == key).values(**fresh))


def ask_for_removal(connection: Connection, paths: Sequence[str], *, at: datetime) -> None:
    """Write that files of the shard root are to be removed, inside the transaction that stops naming them."""
    rows = [{"path": path, "asked_at": at} for path in paths]
    execute_rows(connection, insert_into(connection, removal).on_conflict_do_nothing(), rows)


def asked_removals(engine: Engine) -> tuple[str, ...]:
    """Return the tars that are to be removed, each with its sidecar."""
    with reading(engine) as connection:
        return tuple(connection.scalars(select(removal.c.path).order_by(removal.c.path)))


def removed(engine: Engine, path: str) -> None:
    """Write that a file is gone."""
    with transaction(engine) as connection:
        connection.execute(delete(removal).where(removal.c.path == path))


_POINTING = ("user_current", "user_variant")


def _keys(connection: Connection, user_ids: Sequence[str]) -> dict[str, int]:
    """Return the key of each person."""
    keys: dict[str, int] = {}
    for part in chunks(user_ids):
        query = select(user.c.user_id, user.c.user_key).where(user.c.user_id.in_(part))
        keys.update((row.user_id, row.user_key) for row in connection.execute(query))
    missing = [user_id for user_id in user_ids if user_id not in keys]
    if missing:
        others = f"; nor {len(missing) - 1} others of the {len(user_ids)}" if missing[1:] else ""
        raise NotFoundError(f"There is no user {missing[0]!r} in the catalogue{others}. Nothing was changed.")
    return keys
