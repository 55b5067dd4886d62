"""The stages of the output path, each alone: those that everybody has, and what a durable and traced image asks for.

`PARTS` is what any program would do: convert, encode, CRC and tar, write, insert a row. `BEYOND` is what the whole does
besides, listed so that a reader sees where the rest of its time goes.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from sqlalchemy import Column, Double, Index, MetaData, Table, Text, UniqueConstraint, insert

from benchmarks.output_store import BATCH, SHARD, Model, Ready, Store
from personalgen.catalogue.bulk import copy_rows, execute_tuples
from personalgen.catalogue.column_types import BigKey
from personalgen.catalogue.engine import transaction
from personalgen.catalogue.schema import asset
from personalgen.generation.assets import AssetRows
from personalgen.generation.encoders import Encoder
from personalgen.generation.plan import ShardPlan
from personalgen.generation.roots import LocalRoot
from personalgen.generation.run import Missing, draw_shard, find_shard, seal_shard
from personalgen.generation.sampler import Sampler, to_uint8
from personalgen.generation.shards import Member, PackedShard, SealedShard, Sidecar, pack, put_sidecar

PARTS = ("to_uint8", "encode", "pack", "write", "row")
BEYOND = ("finite", "plan", "sha256", "sidecar", "staging", "pointers")
_COLUMNS = [column.name for column in asset.columns if column.name != "asset_id"]
_TYPES = {"member": Text(), "score": Double()}
"""As `copy_rows` takes them; all others are the catalogue's own."""
_NATURAL_KEY = ("generator_digest", "user_key", "operating_point_digest", "condition_digest", "variant")


class Clock:
    """CPU and wall seconds by name, the least of several rounds."""

    def __init__(self, store: Store) -> None:
        """Count what this process and the store's server use."""
        self.cpu_sec: dict[str, float] = {}
        self.wall_sec: dict[str, float] = {}
        self._store = store

    @contextmanager
    def round(self, name: str, n_images: int) -> Iterator[None]:
        """Time what is done inside, per image."""
        cpu, wall = self._store.cpu_sec(), time.perf_counter()
        yield
        wall, cpu = time.perf_counter() - wall, self._store.cpu_sec() - cpu
        for found, seconds in ((self.cpu_sec, cpu), (self.wall_sec, wall)):
            found[name] = min(found.get(name, float("inf")), seconds / n_images)


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this thread, and those that it starts, on one core.

    Threads that run at once slow each other down where cores share caches or execution units: CPU seconds of two of
    them are longer than those of the same work in turn, as the stages are measured.
    """
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def measure_stages(clock: Clock, store: Store, encoder: Encoder, images: torch.Tensor, turn: int) -> None:
    """Time each stage alone, on as many images as the store has users; only rows are left of it."""
    packed = _packed(clock, store, encoder, images)
    n, root = len(store.keys), LocalRoot(store.root / f"parts-{turn}")
    with clock.round("write", n):
        for k, shard in enumerate(packed):
            root.put(f"{k}.tar", shard.data)
    with clock.round("sha256", n):
        for shard in packed:
            hashlib.sha256(shard.data)
    model = store.model()
    with clock.round("plan", n):
        for piece in _pieces(store, model):
            _missing(store, model, piece)
    sealed = list(_sealed(store, model, encoder, images))
    columns = [{name: rows.values(name) for name in rows.table.column_names} for _, rows in sealed]
    with clock.round("sidecar", n):
        for k, own in enumerate(columns):
            table = AssetRows.of_columns(own, encoder=encoder.name).table
            put_sidecar(root, f"{k}.tar", Sidecar(table, "", {}))
    shutil.rmtree(root.folder)
    _rows(clock, store, encoder, images)


def _packed(clock: Clock, store: Store, encoder: Encoder, images: torch.Tensor) -> list[PackedShard]:
    """Time what is done to pixels, and return the shards that it ends with."""
    n = len(store.keys)
    batches = [images[k % len(images) :][: min(BATCH, n - k)] for k in range(0, n, BATCH)]
    with clock.round("to_uint8", n):
        for batch in batches:
            to_uint8(batch)
    with clock.round("finite", n):
        for batch in batches:
            torch.isfinite(batch.sum())
    pixels, files = [to_uint8(batch) for batch in images.split(BATCH)], []
    with clock.round("encode", n):
        for k, batch in enumerate(batches):
            files += encoder.encode(pixels[k % len(pixels)][: len(batch)])
    encoded = [file for file in files if isinstance(file, bytes)]
    members = [Member(f"{key:012d}-00.png", file) for key, file in zip(store.keys.tolist(), encoded, strict=True)]
    shards = [members[start : start + SHARD] for start in range(0, n, SHARD)]
    with clock.round("pack", n):
        for shard in shards:
            pack(shard)
    return [pack(shard) for shard in shards]


def _rows(clock: Clock, store: Store, encoder: Encoder, images: torch.Tensor) -> None:
    """Time rows alone: bare ones, with the indexes, as they are catalogued, and with what points at them."""
    n, models = len(store.keys), [store.model() for _ in range(3)]
    made = [list(_sealed(store, model, encoder, images)) for model in models]
    plain = [[_tuples(rows, model) for _, rows in shards] for shards, model in zip(made, models, strict=True)]
    tables = {"bare_row": _table("bare"), "row": _table("indexed")}
    for name, table in tables.items():
        with transaction(store.engine) as connection:
            table.create(connection)
        with clock.round(name, n):
            for part in plain[0]:
                _insert(store, table, part)
        with transaction(store.engine) as connection:
            table.drop(connection)
    for k, name in ((1, "insert"), (2, "commit")):
        with clock.round(name, n):
            for shard, rows in made[k]:
                store.commit(models[k], shard, rows, move=name == "commit")


def _table(name: str) -> Table:
    """Return a table of the columns of `asset`: bare, or with a key of its own and the indexes."""
    columns: list[Column[Any]] = [Column(column, _TYPES.get(column, asset.c[column].type)) for column in _COLUMNS]
    if name == "bare":
        return Table(name, MetaData(), *columns)
    key, natural = Column("asset_id", BigKey, primary_key=True), UniqueConstraint(*_NATURAL_KEY)
    indexes = [Index(None, *(column.name for column in index.columns)) for index in asset.indexes]
    return Table(name, MetaData(), key, *columns, natural, *indexes, sqlite_autoincrement=True)


def _insert(store: Store, table: Table, rows: list[tuple[object, ...]]) -> None:
    """Insert rows by the driver alone, in one transaction."""
    with transaction(store.engine) as connection:
        if connection.dialect.name == "postgresql":
            from psycopg.types.json import Jsonb

            place = _COLUMNS.index("top_events")
            copied = [(*row[:place], Jsonb(row[place], dumps=str), *row[place + 1 :]) for row in rows]
            copy_rows(connection, table, _COLUMNS, copied)
        else:
            execute_tuples(connection, insert(table), _COLUMNS, rows)


def _tuples(rows: AssetRows, model: Model) -> list[tuple[object, ...]]:
    """Return rows as the driver takes them."""
    shared = {"night_id": model.night_id, "model_version_id": model.model_version_id, "shard_id": 0}
    columns = [[shared[name]] * len(rows) if name in shared else rows.values(name) for name in _COLUMNS]
    return list(zip(*columns, strict=True))


def _pieces(store: Store, model: Model) -> Iterator[ShardPlan]:
    """Yield the shards of a night for all users."""
    return store.request(model, len(store.keys)).plan.shards(model.night_id, shard_size=SHARD)


def _missing(store: Store, model: Model, piece: ShardPlan) -> Missing:
    """Return a shard that is to be drawn."""
    request, sampler = store.request(model, len(store.keys)), cast("Sampler", Ready(torch.empty(BATCH, 3, 1, 1)))
    missing = find_shard(request, piece, sampler=sampler, root=LocalRoot(store.root))
    if not isinstance(missing, Missing):
        raise TypeError(f"{store.root} holds {piece.name} of another run; name an empty --home")
    return missing


def _sealed(
    store: Store, model: Model, encoder: Encoder, images: torch.Tensor
) -> Iterator[tuple[SealedShard, AssetRows]]:
    """Yield sealed shards that nobody catalogued, of few bytes."""
    sampler = cast("Sampler", Ready(images[:, :, :1, :1]))
    for piece in _pieces(store, model):
        drawn = draw_shard(_missing(store, model, piece), sampler=sampler, encoder=encoder)
        made = seal_shard(drawn, root=LocalRoot(store.root))
        yield made.shard, made.rows
