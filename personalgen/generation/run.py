"""Generates a plan shard by shard: draw, encode, seal, then hand the rows to `commit`.

The order is fixed: a shard is sealed before its rows are committed, so that a row never points at bytes that a crash
can lose. A shard that was sealed but not committed when a night was killed is recognised by its sidecar and committed
as it is. While one shard is drawn, the one before it is packed, sealed and committed.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from personalgen.artifacts import short_digest
from personalgen.embeddings import PreferenceTable
from personalgen.generation.apart import draw_apart
from personalgen.generation.assets import ENCODER_KEY, NATURAL_KEY, SCHEMA, AssetRows
from personalgen.generation.encoders import Encoder, Refused
from personalgen.generation.options import Floor
from personalgen.generation.overlap import OneBehind, encode_behind
from personalgen.generation.plan import Plan, ShardPlan, condition_bytes
from personalgen.generation.roots import ShardRoot
from personalgen.generation.safety import RefusedAsset, refused_in, with_refused
from personalgen.generation.sampler import Drawing, Sampler
from personalgen.generation.shards import Entries, SealedShard, pack, read_sidecar, seal
from personalgen.seeding import derive_seed

Told = Callable[[NDArray[np.int64], int], PreferenceTable]
"""What the model is told of the users at these rows of tonight's table, in this order, for their images `variant`."""
Commit = Callable[[SealedShard, AssetRows], None]
Progress = Callable[[int, int], None]
OnRefused = Callable[[Sequence[RefusedAsset]], None]


@dataclass(frozen=True, eq=False)
class GenerationRequest:
    """What to generate: the plan and what its images are made from."""

    plan: Plan
    told: Told
    """Tonight's, in the basis of the generator; asked for the `plan.rows` of one shard, variant by variant."""
    generator_digest: int
    variants: int = 1
    floor: Floor | None = None
    """How far apart one person's images are to be; None draws each from its first z."""

    @property
    def n_assets(self) -> int:
        """Images asked for."""
        return len(self.plan) * self.variants


@dataclass(frozen=True)
class GeneratedShard:
    """A sealed shard, its rows in the order of its members, and whether an earlier attempt had sealed it."""

    shard: SealedShard
    rows: AssetRows
    reused: bool
    refused: tuple[RefusedAsset, ...] = ()
    """Images that were planned, drawn and not kept."""


@dataclass(frozen=True)
class GenerationSummary:
    """What a run of `generate_plan` did."""

    n_assets: int
    n_shards: int
    n_reused_shards: int
    """Shards of an interrupted attempt that were committed as they were."""
    n_bytes: int
    encoder: str
    n_refused: int = 0
    """Images that the safety filter refused."""


def generate_plan(
    request: GenerationRequest,
    *,
    sampler: Sampler,
    encoder: Encoder,
    root: ShardRoot,
    night_id: int,
    shard_size: int,
    commit: Commit,
    progress: Progress | None = None,
    on_refused: OnRefused = lambda _: None,
    facts: Mapping[str, Any] | None = None,
) -> GenerationSummary:
    """Generate every shard of the plan below `root`, calling `commit(shard, rows)` after each is sealed.

    What an encoder refused (`safety.screened`) is told to `on_refused` just before, as often as `commit` is called.
    `facts` go into every sidecar: with them a shard that was never committed can be adopted later (`steps/repair.py`).

    `commit` sees shards in order and must be idempotent: after a kill between sealing and committing, or before the
    night was marked as finished, it is called again with equal rows. `progress(done, total)` counts images, from 0.
    All are called in one thread of their own, with this one's context; what they raise ends the run, and no later
    shard is sealed.
    """
    tally = _Tally(request.n_assets, commit, progress, on_refused)
    with OneBehind() as writer:
        for piece in request.plan.shards(night_id, shard_size=shard_size):
            found = find_shard(request, piece, sampler=sampler, root=root, facts=facts)
            if isinstance(found, GeneratedShard):
                writer.call(tally.finish, found)
                continue
            drawn = draw_shard(found, sampler=sampler, encoder=encoder, before_batch=writer.check)
            writer.call(lambda drawn: tally.finish(seal_shard(drawn, root=root, facts=facts)), drawn)
    return GenerationSummary(
        n_assets=tally.n_assets,
        n_shards=tally.n_shards,
        n_reused_shards=tally.n_reused,
        n_bytes=tally.n_bytes,
        encoder=encoder.name,
        n_refused=tally.n_refused,
    )


class _Tally:
    """Commits sealed shards and counts them."""

    def __init__(self, n_asked: int, commit: Commit, progress: Progress | None, on_refused: OnRefused) -> None:
        self._n_asked, self._commit, self._progress, self._on_refused = n_asked, commit, progress, on_refused
        self.n_assets = self.n_bytes = self.n_shards = self.n_reused = self.n_refused = 0
        self._report()

    def finish(self, made: GeneratedShard) -> None:
        """Commit a shard, then count it and tell of it."""
        self._on_refused(made.refused)
        self._commit(made.shard, made.rows)
        self.n_refused += len(made.refused)
        self.n_assets, self.n_bytes = self.n_assets + len(made.rows), self.n_bytes + made.shard.byte_length
        self.n_shards, self.n_reused = self.n_shards + 1, self.n_reused + made.reused
        self._report()

    def _report(self) -> None:
        if self._progress is not None:
            self._progress(self.n_assets + self.n_refused, self._n_asked)


@dataclass(frozen=True, eq=False)
class Missing:
    """A shard that is to be drawn."""

    path: str
    """Below the root, where nothing lies yet."""
    told: PreferenceTable
    """Row k is what the model is told for the k-th image."""
    columns: Mapping[str, Any]
    """Of `assets.SCHEMA`, as far as they are known before the images are; in the order of the members."""
    variants: int = 1
    """Images of each user, side by side."""
    floor: Floor | None = None


@dataclass(frozen=True, eq=False)
class Drawn:
    """A shard whose images are encoded, and nothing of it on disk."""

    missing: Missing
    files: Sequence[bytes | Refused]
    encoder: Encoder


def find_shard(
    request: GenerationRequest,
    piece: ShardPlan,
    *,
    sampler: Sampler,
    root: ShardRoot,
    facts: Mapping[str, Any] | None = None,
) -> GeneratedShard | Missing:
    """Return the shard that an earlier attempt sealed with the same images and facts, or else what is to be drawn.

    A sealed tar with other content keeps its name and bytes, as the catalogue may point into it; the new shard's name
    ends in -2, -3 and so on then.
    """
    rows = request.plan.rows[piece.start : piece.stop]
    told = PreferenceTable.side_by_side([request.told(rows, variant) for variant in range(request.variants)])
    columns = _planned(request, told, piece, sampler)
    path, names = f"{piece.name}.tar", itertools.count(2)
    while (n_bytes := root.size(path)) is not None:
        if (found := _sealed_earlier(root, path, columns, n_bytes, facts or {})) is not None:
            return found
        path = f"{piece.name}-{next(names)}.tar"
    return Missing(path, told, columns, request.variants, request.floor)


def draw_shard(
    missing: Missing, *, sampler: Sampler, encoder: Encoder, before_batch: Callable[[], None] = lambda: None
) -> Drawn:
    """Draw and encode one shard; only the batches that wait for an encoder are in memory as pixels.

    With a floor, the seeds of images that were drawn again take the places of the planned ones.
    """
    condition, seeds = missing.told.to_condition(sampler.generator.spec), list(missing.columns["seed"])
    if missing.floor is not None:
        drawings = draw_apart(sampler, condition, missing.told.user_ids, seeds, missing.variants, missing.floor)
        files = encode_behind(_told_before(drawings, before_batch), encoder)
        return Drawn(replace(missing, columns={**missing.columns, "seed": seeds}), files, encoder)

    def batches() -> Iterator[Drawing]:
        for start in range(0, len(seeds), sampler.batch_size):
            before_batch()
            batch = slice(start, start + sampler.batch_size)
            yield sampler.start(condition.take(batch), seeds[batch])

    return Drawn(missing, encode_behind(batches(), encoder), encoder)


def _told_before(drawings: Iterator[Drawing], before_batch: Callable[[], None]) -> Iterator[Drawing]:
    """Yield drawings, with a call before each is drawn."""
    before_batch()
    for drawing in drawings:
        yield drawing
        before_batch()


def seal_shard(drawn: Drawn, *, root: ShardRoot, facts: Mapping[str, Any] | None = None) -> GeneratedShard:
    """Pack and seal a shard that is drawn."""
    columns = drawn.missing.columns
    names = [
        f"{user_key:012d}-{variant:02d}.{drawn.encoder.extension}"
        for user_key, variant in zip(columns["user_key"].tolist(), columns["variant"].tolist(), strict=True)
    ]
    packed = pack((name, data) for name, data in zip(names, drawn.files, strict=True) if isinstance(data, bytes))
    refused = tuple(
        RefusedAsset(tuple(int(columns[name][k]) for name in NATURAL_KEY), data.score)
        for k, data in enumerate(drawn.files)
        if isinstance(data, Refused)
    )
    kept = columns if not refused else _at(columns, [isinstance(data, bytes) for data in drawn.files])
    rows = AssetRows.of_columns({**kept, **vars(packed.entries)}, encoder=drawn.encoder.name)
    rows = AssetRows(with_refused(rows.table, refused))
    shard = seal(root, drawn.missing.path, packed, sidecar=rows.table, facts=facts)
    return GeneratedShard(shard=shard, rows=rows, reused=False, refused=refused)


def _at(columns: Mapping[str, Any], kept: Sequence[bool]) -> dict[str, Any]:
    """Return the columns without the images that are not kept."""
    return {name: pa.array(values, type=SCHEMA.field(name).type).filter(kept) for name, values in columns.items()}


def _planned(request: GenerationRequest, told: PreferenceTable, piece: ShardPlan, sampler: Sampler) -> dict[str, Any]:
    """Return the columns that are known before drawing, by user, then variant; row k of `told` is the k-th's."""
    rows, n_users = told.condition_rows(sampler.generator.spec), piece.stop - piece.start
    data, n_bytes = condition_bytes(rows), 4 * rows.shape[1]
    conditions = [data[start : start + n_bytes] for start in range(0, len(data), n_bytes)]
    user_ids = request.plan.user_ids[piece.start : piece.stop]
    return {
        "user_key": np.repeat(request.plan.user_keys[piece.start : piece.stop], request.variants),
        "generator_digest": np.full(len(rows), request.generator_digest),
        "condition_digest": [short_digest(condition) for condition in conditions],
        "operating_point_digest": np.full(len(rows), sampler.operating_point.digest()),
        "variant": np.tile(np.arange(request.variants, dtype=np.int16), n_users),
        "seed": [derive_seed(user_id, variant) for user_id in user_ids for variant in range(request.variants)],
        "score": pa.nulls(len(rows), pa.float32()),
        "n_events": told.n_events,
        "top_events": told.events_json,
        "condition": conditions,
    }


def _sealed_earlier(
    root: ShardRoot, path: str, columns: Mapping[str, Any], n_bytes: int, facts: Mapping[str, Any]
) -> GeneratedShard | None:
    """Return the shard at `path` where it holds exactly the planned assets and its bytes are intact, else None.

    One whose images passed another safety rule is another shard: what it let through was not asked by this one.
    """
    found = read_sidecar(root, path)
    if found is None or ENCODER_KEY not in found.rows.schema.metadata:
        return None
    if found.facts.get("safety") != facts.get("safety"):
        return None
    rows, sha256 = AssetRows(found.rows.select(SCHEMA.names)), found.sha256
    planned = pa.table({name: columns[name] for name in NATURAL_KEY}, schema=rows.table.select(NATURAL_KEY).schema)
    refused = refused_in(found.rows)
    if without := {each.natural_key for each in refused}:
        planned = planned.filter([tuple(key.values()) not in without for key in planned.to_pylist()])
    if not rows.table.select(NATURAL_KEY).equals(planned) or root.sha256(path) != sha256:
        return None
    entries = Entries(**{field.name: rows.values(field.name) for field in fields(Entries)})
    shard = SealedShard(path=path, sha256=sha256, byte_length=n_bytes, entries=entries)
    return GeneratedShard(shard=shard, rows=rows, reused=True, refused=refused)
