"""A catalogue of many nights, built in bulk: the rows that nights would have written, in their order.

Every night draws one image for every user; a new model comes every five nights. Users, segments, scores, shifts and
ratings are random numbers from one seed. Shards are catalogued as nights do it, one after the other, and ANALYZE runs
after each night; users and ratings go in through the driver (SQLite) or COPY (PostgreSQL).
"""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, Table, insert

from personalgen.artifacts import digest_of, weights_key
from personalgen.catalogue import release, schema, write
from personalgen.catalogue.bulk import execute_tuples
from personalgen.catalogue.engine import analyze, transaction
from personalgen.catalogue.facts import ModelFacts, NightFacts, ShardFacts
from personalgen.catalogue.migrations import upgrade
from personalgen.catalogue.shards import commit_shard
from personalgen.generation.assets import SCHEMA, AssetRows
from personalgen.generation.roots import LocalRoot
from personalgen.generation.shards import Member, Sidecar, pack, put_sidecar, seal

POINT: dict[str, float] = {"guidance": 1.0}
POINT_DIGEST = 77
NIGHTS_A_MODEL, IMAGE_BYTES, N_SEGMENTS = 5, 2_000, 20
FIRST_DAY = date(2026, 3, 1)


@dataclass(frozen=True)
class Size:
    """How large the catalogue is."""

    n_assets: int
    n_nights: int = 10
    shard_rows: int = 10_000
    dim: int = 32
    """Width of a condition."""

    @property
    def n_users(self) -> int:
        """One image a user and night."""
        return self.n_assets // self.n_nights

    def model_of(self, night: int) -> int:
        """Return the number of the model that draws in a night, both from 0."""
        return night // NIGHTS_A_MODEL

    def digest(self, night: int) -> int:
        """Return the generator digest of a night's images."""
        return weights_key(digest_of(["weights", self.model_of(night)]).ljust(64, "0"))


def build(engine: Engine, home: Path, size: Size, report: Callable[[str], None]) -> None:
    """Make the catalogue and the sidecars of its shards below `home`; one shard of the last night is a real tar."""
    upgrade(engine)
    random, began = np.random.default_rng(5), time.perf_counter()
    begun = [_begin(engine, size, night) for night in range(size.n_nights)]
    _write_users(engine, size, begun[0][0], random)
    for night, (night_id, model) in enumerate(begun):
        conditions = random.standard_normal((size.n_users, size.dim), dtype=np.float32)
        _write_night(engine, home, size, night, night_id, model, conditions, random)
        before = time.perf_counter()
        analyze(engine)
        report(f"night {night_id}: {time.perf_counter() - began:.0f} s, ANALYZE {time.perf_counter() - before:.2f} s")
    _write_ratings(engine, size, np.array([night_id for night_id, _ in begun]), random)
    for model in sorted({model for _, model in begun}):
        release.release(
            engine, model, operating_point=POINT, operating_point_digest=POINT_DIGEST, night_id=None, reason="built",
            actor="bench", at=_at(size.n_nights), action="manual",
        )  # fmt: skip
    analyze(engine)


def _begin(engine: Engine, size: Size, night: int) -> tuple[int, int]:
    """Return the ids of a night and of its model."""
    facts = NightFacts(
        night_key=f"bench-{night}", source="bench", as_of=_at(night), day=FIRST_DAY + timedelta(days=night),
        source_digest="s", config_digest="c",
    )  # fmt: skip
    night_id, number = write.begin_night(engine, facts, at=_at(night)), size.model_of(night)
    model = ModelFacts(
        model_name="gan", version=number + 1, generator_sha256=digest_of(["weights", number]).ljust(64, "0"),
        basis_version="basis", condition_spec={}, folder=f"models/{number}", night_id=night_id,
        verdict={"evaluation": {"fit_gain": 0.1 + number / 100, "kid": 1.0, "n_users": 100.0}},
    )  # fmt: skip
    return night_id, write.register_model(engine, model, at=_at(night))


def _at(night: int) -> datetime:
    return datetime(2026, 3, 1, 3, tzinfo=UTC) + timedelta(days=night)


def _write_users(engine: Engine, size: Size, night_id: int, random: np.random.Generator) -> None:
    """Write users whose segments' sizes fall like 1 / rank, and their summaries."""
    share = 1 / np.arange(1, N_SEGMENTS + 1)
    segment = random.choice(N_SEGMENTS, size.n_users, p=share / share.sum())
    names = [f"s{k:02d}" for k in range(N_SEGMENTS)]
    keys = np.arange(1, size.n_users + 1)
    users = {
        "user_id": [f"u{key:08d}" for key in keys.tolist()],
        "segment": [names[k] for k in segment.tolist()],
        "opted_out": [False] * size.n_users,
        "first_night_id": [night_id] * size.n_users,
    }
    events = random.integers(1, 500, size.n_users)
    first = np.datetime64("2026-01-01", "us") + random.integers(0, 2_000_000, size.n_users).astype("timedelta64[s]")
    times = [stamp.astype(datetime).strftime("%Y-%m-%d %H:%M:%S.000000") for stamp in first]
    summaries = {
        "user_key": keys, "n_events": events, "n_likes": events // 2, "first_event_at": times, "last_event_at": times,
        "night_id": np.full(size.n_users, night_id),
    }  # fmt: skip
    with transaction(engine) as connection:
        put(connection, schema.user, pa.table(users))
        put(connection, schema.user_summary, pa.table(summaries))


def _write_night(
    engine: Engine,
    home: Path,
    size: Size,
    night: int,
    night_id: int,
    model: int,
    conditions: NDArray[np.float32],
    random: np.random.Generator,
) -> None:
    """Write a night's shards, each in a transaction of its own."""
    root = LocalRoot(home)
    for index, start in enumerate(range(0, size.n_users, size.shard_rows)):
        keys = np.arange(start + 1, min(start + size.shard_rows, size.n_users) + 1)
        rows = _shard_rows(size, night, keys, conditions[keys - 1], random)
        path = f"shards/night={night_id:06d}/{index:06d}.tar"
        real = night == size.n_nights - 1 and index == 0
        rows = _sealed(root, path, rows, random) if real else rows
        put_sidecar(root, path, Sidecar(rows, digest_of([night, index]), {}))
        facts = ShardFacts(
            path=path, sha256=digest_of([night, index]), byte_length=size.shard_rows * IMAGE_BYTES,
            encoder="png/zlib", operating_point_digest=POINT_DIGEST, operating_point=POINT, night_id=night_id,
            model_version_id=model, sealed_at=_at(night),
        )  # fmt: skip
        commit_shard(engine, facts, AssetRows(rows))


def _shard_rows(
    size: Size, night: int, keys: NDArray[np.int64], conditions: NDArray[np.float32], random: np.random.Generator
) -> pa.Table:
    n, step = len(keys), IMAGE_BYTES + 512
    events = (
        '[{"item_id":"i%d","timestamp":1767225600,"weight":0.5},{"item_id":"i%d","timestamp":1767225700,"weight":0.2}]'
    )
    items = random.integers(0, 3_000, (n, 2)).tolist()
    columns = {
        "user_key": keys,
        "generator_digest": np.full(n, size.digest(night)),
        "condition_digest": random.integers(0, 2**63 - 1, n),
        "operating_point_digest": np.full(n, POINT_DIGEST),
        "variant": np.zeros(n, dtype=np.int16),
        "member": [f"{key:012d}-00.png" for key in keys.tolist()],
        "shard_offset": 512 + np.arange(n) * step,
        "byte_length": np.full(n, IMAGE_BYTES),
        "crc32": random.integers(0, 2**32, n),
        "seed": random.integers(0, 2**63 - 1, n),
        "score": random.standard_normal(n).astype(np.float32),
        "n_events": random.integers(1, 500, n),
        "top_events": [events % tuple(pair) for pair in items],
        "condition": pa.array([row.tobytes() for row in conditions], pa.binary()),
    }
    return pa.table(columns, schema=SCHEMA)


def _sealed(root: LocalRoot, path: str, rows: pa.Table, random: np.random.Generator) -> pa.Table:
    """Seal a tar of random bytes; return the rows with the places of its members."""
    members = [Member(name, random.bytes(IMAGE_BYTES)) for name in rows["member"].to_pylist()]
    packed = pack(members)
    root.remove(path)
    seal(root, path, packed)
    places = {
        "shard_offset": [entry.offset for entry in packed.entries],
        "crc32": [entry.crc32 for entry in packed.entries],
    }
    for name, values in places.items():
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(values, pa.int64()))
    return rows


def _write_ratings(engine: Engine, size: Size, night_ids: NDArray[np.int64], random: np.random.Generator) -> None:
    """Write one opinion of every hundredth asset."""
    ids = np.arange(50, size.n_assets + 1, 100)
    value = random.uniform(-1, 1, len(ids))
    with transaction(engine) as connection:
        ratings = {
            "asset_id": ids, "user_key": (ids - 1) % size.n_users + 1, "rater": ["self"] * len(ids), "value": value,
            "source": ["gallery"] * len(ids), "at": ["2026-03-20 00:00:00.000000"] * len(ids),
        }  # fmt: skip
        put(connection, schema.rating, pa.table(ratings))
        nights = night_ids[(ids - 1) // size.n_users]
        means = {
            "asset_id": ids, "user_key": ratings["user_key"], "night_id": nights,
            "n_ratings": np.ones(len(ids), dtype=np.int64), "mean": value,
        }  # fmt: skip
        put(connection, schema.asset_rating, pa.table(means))


def put(connection: Connection, table: Table, rows: pa.Table) -> None:
    """Insert rows by driver tuples or COPY, whichever the database is fast with."""
    if connection.dialect.name == "sqlite":
        execute_tuples(connection, insert(table), rows.column_names, list(zip(*rows.to_pydict().values(), strict=True)))
        return
    text = io.BytesIO()
    pc.write_csv(rows, text, pc.WriteOptions(include_header=False))
    names = ", ".join(rows.column_names)
    # as text, for times come as text; a checked-out connection has a driver, which SQLAlchemy types as optional
    with connection.connection.driver_connection.cursor().copy(  # type: ignore[union-attr]
        f'COPY "{table.name}" ({names}) FROM STDIN (FORMAT csv)'
    ) as copy:
        copy.write(text.getvalue())
