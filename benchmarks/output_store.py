"""What benchmarks/output_path.py writes: pictures, rows and a catalogue to put them in."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from sqlalchemy import text

from personalgen.artifacts import weights_key
from personalgen.catalogue import shards, write
from personalgen.catalogue.engine import Engine, open_catalogue
from personalgen.catalogue.facts import ModelFacts, NightFacts, ShardFacts
from personalgen.catalogue.migrations import upgrade
from personalgen.conditions import Condition, ConditionSpec
from personalgen.embeddings import PreferenceTable
from personalgen.embeddings.preference import events_to_json
from personalgen.generation.assets import AssetRows
from personalgen.generation.encoders import Encoder
from personalgen.generation.options import OperatingPoint
from personalgen.generation.plan import Plan
from personalgen.generation.roots import LocalRoot
from personalgen.generation.run import GenerationRequest, GenerationSummary, generate_plan
from personalgen.generation.sampler import Drawing, Sampler, drawing_of
from personalgen.generation.shards import SealedShard
from personalgen.models import Generator, ModelOptions, build_generator
from personalgen.worlds.landscapes import LandscapesWorld

EDGE_PX, DIM, BATCH, SHARD = 64, 64, 64, 2048
N_PICTURES, NOISE = 512, 6.0
"""Scenes, and the spread of the noise on them, with which a PNG has about ten thousand bytes."""
POINT = OperatingPoint()
SPEC = ConditionSpec.vector("preference", DIM)
AT = datetime(2026, 3, 1, 4, tzinfo=UTC)


def pictures() -> torch.Tensor:
    """Return (512, 3, 64, 64) float32 in [-1, 1], as a generator returns them."""
    scenes = LandscapesWorld(N_PICTURES).render(EDGE_PX).astype(np.float32)
    noisy = scenes + np.random.default_rng(0).normal(0, NOISE, scenes.shape)
    return torch.from_numpy(noisy.clip(0, 255) / 127.5 - 1).permute(0, 3, 1, 2).contiguous().float()


def small_generator() -> Generator:
    """Return a small residual generator of 64 px, untrained."""
    torch.manual_seed(0)
    return build_generator(ModelOptions(resolution=EDGE_PX, z_dim=64, style_dim=64, width=16, max_width=64), SPEC)


class Ready:
    """Stands for a sampler whose device has drawn already: what is left is a float tensor to a file and a row."""

    def __init__(self, images: torch.Tensor) -> None:
        """Hand out `images` again and again."""
        self.batch_size, self.operating_point, self.generator = BATCH, POINT, _Named()
        self._batches, self._next = images.split(BATCH), 0

    def start(self, condition: Condition, seeds: Sequence[int]) -> Drawing:  # noqa: ARG002 - as a Sampler's
        """Return the next batch, converted."""
        self._next += 1
        return drawing_of(self._batches[self._next % len(self._batches)][: len(seeds)])


@dataclass(frozen=True)
class _Named:
    spec: ConditionSpec = SPEC


@dataclass(frozen=True)
class Model:
    """A night and the model that draws in it: rows of another pair have other keys."""

    night_id: int
    model_version_id: int
    generator_digest: int


class Store:
    """A catalogue with users, and a shard root."""

    def __init__(self, home: Path, url: str, n_users: int) -> None:
        """Make the tables and the users; an earlier run's stay."""
        self.root, self.engine = home, open_catalogue(url)
        home.mkdir(parents=True, exist_ok=True)
        upgrade(self.engine)
        self.user_ids = tuple(f"user-{k:08d}" for k in range(n_users))
        night_id = self._night("users")
        keys = [write.allocate_user_keys(self.engine, part, night_id=night_id) for part in _parts(self.user_ids)]
        self.keys: NDArray[np.int64] = np.concatenate(keys)
        self.table = _preferences()
        self.top_events = self.table.top_events

    def model(self) -> Model:
        """Return a new night and a new model."""
        name = f"{time.time_ns()}"
        night_id, sha256 = self._night(name), hashlib.sha256(name.encode()).hexdigest()
        facts = ModelFacts(
            model_name="benchmark", version=int(name) % 2**31, generator_sha256=sha256, basis_version="b1",
            condition_spec={}, folder=".", night_id=night_id,
        )  # fmt: skip
        return Model(night_id, write.register_model(self.engine, facts, at=AT), weights_key(sha256))

    def request(self, model: Model, n_images: int) -> GenerationRequest:
        """Return a plan for the first users, one image each."""
        keys, n_known = self.keys[:n_images], len(self.table.user_ids)
        plan = Plan(keys, self.user_ids[:n_images], np.arange(n_images), n_images, 0, 0)
        return GenerationRequest(plan, lambda rows, _: self.table.rows(rows % n_known), model.generator_digest)

    def generate(
        self,
        n_images: int,
        sampler: Sampler | Ready,
        encoder: Encoder,
        *,
        model: Model | None = None,
        shard_size: int = SHARD,
    ) -> GenerationSummary:
        """Draw, encode, seal and catalogue images of a model, else of a new one: the whole path."""
        own = model or self.model()
        return generate_plan(
            self.request(own, n_images),
            sampler=cast("Sampler", sampler),
            encoder=encoder,
            root=LocalRoot(self.root),
            night_id=own.night_id,
            shard_size=shard_size,
            commit=lambda shard, rows: self.commit(own, shard, rows),
        )

    def commit(self, model: Model, shard: SealedShard, rows: AssetRows, *, move: bool = True) -> None:
        """Catalogue a shard, as the step does."""
        facts = ShardFacts(
            path=shard.path, sha256=shard.sha256, byte_length=shard.byte_length,
            encoder=rows.encoder, operating_point_digest=POINT.digest(), operating_point=asdict(POINT),
            night_id=model.night_id, model_version_id=model.model_version_id, sealed_at=AT,
        )  # fmt: skip
        shards.commit_shard(self.engine, facts, rows, move=move)

    def cpu_sec(self) -> float:
        """Return the CPU seconds of this process and, where it is on this machine, of its PostgreSQL backend."""
        return time.process_time() + backend_cpu_sec(self.engine)

    def _night(self, name: str) -> int:
        facts = NightFacts(
            night_key=name, source="benchmark", as_of=AT, day=date(2026, 3, 1), source_digest="d", config_digest="c"
        )
        return write.begin_night(self.engine, facts, at=AT)


def backend_cpu_sec(engine: Engine) -> float:
    """Return the CPU seconds of the server's process behind the one pooled connection; 0 on SQLite."""
    if engine.dialect.name != "postgresql":
        return 0.0
    with engine.connect() as connection:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _preferences() -> PreferenceTable:
    """Return what is known of as many users as a shard has: a vector and five events."""
    rng = np.random.default_rng(1)
    events = tuple(
        events_to_json(
            [{"item_id": f"item-{k * 7 + e}", "weight": 0.25 / (e + 1), "timestamp": 1.7e9 + k} for e in range(5)]
        )
        for k in range(SHARD)
    )
    vectors = rng.standard_normal((SHARD, DIM)).astype(np.float32)
    counts = np.full(SHARD, 20, dtype=np.int32)
    return PreferenceTable(tuple(f"{k}" for k in range(SHARD)), vectors, counts, events, "b1")


def _parts(values: Sequence[Any], size: int = 50_000) -> list[list[Any]]:
    return [list(values[start : start + size]) for start in range(0, len(values), size)]
