"""Generates a plan shard by shard: draw, encode, seal, then hand the rows to `commit`.

The order is fixed: a shard is sealed before its rows are committed, so that a row never points at bytes that a crash
can lose. A shard that was sealed but not committed when a night was killed is recognised by its sidecar and committed
as it is.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personalgen.artifacts import sha256_file, short_digest
from personalgen.embeddings import PreferenceTable
from personalgen.generation.assets import AssetRow, rows_to_table, table_to_rows
from personalgen.generation.encoders import Encoder
from personalgen.generation.plan import Plan, ShardPlan, condition_bytes
from personalgen.generation.sampler import Sampler
from personalgen.generation.shards import Entry, Member, SealedShard, pack, read_sidecar, seal
from personalgen.seeding import derive_seed

Told = Callable[[NDArray[np.int64], int], PreferenceTable]
"""What the model is told of the users at these rows of tonight's table, in this order, for their images `variant`."""
Commit = Callable[[SealedShard, Sequence[AssetRow]], None]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class GenerationRequest:
    """What to generate: the plan and what its images are made from."""

    plan: Plan
    told: Told
    """Tonight's, in the basis of the generator; asked for the `plan.rows` of one shard, variant by variant."""
    generator_digest: int
    variants: int = 1

    @property
    def n_assets(self) -> int:
        """Images asked for."""
        return len(self.plan) * self.variants


@dataclass(frozen=True)
class GeneratedShard:
    """A sealed shard, its rows in the order of its members, and whether an earlier attempt had sealed it."""

    shard: SealedShard
    rows: tuple[AssetRow, ...]
    reused: bool


@dataclass(frozen=True)
class GenerationSummary:
    """What a run of `generate_plan` did."""

    n_assets: int
    n_shards: int
    n_reused_shards: int
    """Shards of an interrupted attempt that were committed as they were."""
    n_bytes: int
    encoder: str


def generate_plan(
    request: GenerationRequest,
    *,
    sampler: Sampler,
    encoder: Encoder,
    root: Path,
    night_id: int,
    shard_size: int,
    commit: Commit,
    progress: Progress | None = None,
) -> GenerationSummary:
    """Generate every shard of the plan below `root`, calling `commit(shard, rows)` after each is sealed.

    `commit` sees shards in order and must be idempotent: after a kill between sealing and committing, or before the
    night was marked as finished, it is called again with equal rows. `progress(done, total)` counts images, from 0.
    """
    done = n_bytes = n_shards = n_reused = 0
    if progress is not None:
        progress(0, request.n_assets)
    for piece in request.plan.shards(night_id, shard_size=shard_size):
        made = generate_shard(request, piece, sampler=sampler, encoder=encoder, root=root)
        commit(made.shard, made.rows)
        done, n_bytes = done + len(made.rows), n_bytes + made.shard.byte_length
        n_shards, n_reused = n_shards + 1, n_reused + made.reused
        if progress is not None:
            progress(done, request.n_assets)
    return GenerationSummary(
        n_assets=done, n_shards=n_shards, n_reused_shards=n_reused, n_bytes=n_bytes, encoder=encoder.name
    )


def generate_shard(
    request: GenerationRequest, piece: ShardPlan, *, sampler: Sampler, encoder: Encoder, root: Path
) -> GeneratedShard:
    """Return one sealed shard with its rows; nothing is drawn where an earlier attempt sealed the same images.

    A sealed tar with other content keeps its name and bytes, as the catalogue may point into it; the new shard's name
    ends in -2, -3 and so on then.
    """
    rows = request.plan.rows[piece.start : piece.stop]
    told = PreferenceTable.side_by_side([request.told(rows, variant) for variant in range(request.variants)])
    drafts = _drafts(request, told, piece, sampler)
    first = path = root / f"{piece.name}.tar"
    names = itertools.count(2)
    while path.exists():
        if (found := _sealed_earlier(path, drafts)) is not None:
            return found
        path = first.with_name(f"{first.stem}-{next(names)}.tar")
    return _generate(told, drafts, path, sampler=sampler, encoder=encoder)


@dataclass(frozen=True)
class _Draft:
    """An asset before it is drawn."""

    condition: bytes
    key: tuple[int, ...]
    seed: int
    member: str


def _drafts(request: GenerationRequest, told: PreferenceTable, piece: ShardPlan, sampler: Sampler) -> list[_Draft]:
    """Return the assets of one shard in the order of its members, by user, then variant; row k of `told` is the k-th's.

    Members have no suffix yet.
    """
    plan, point = request.plan, sampler.operating_point.digest()
    rows, drafts = told.condition_rows(sampler.generator.spec), []
    for k, (position, variant) in enumerate(itertools.product(range(piece.start, piece.stop), range(request.variants))):
        user_key, condition = int(plan.user_keys[position]), condition_bytes(rows[k])
        drafts.append(
            _Draft(
                condition=condition,
                key=(user_key, request.generator_digest, short_digest(condition), point, variant),
                seed=derive_seed(plan.user_ids[position], variant),
                member=f"{user_key:012d}-{variant:02d}",
            )
        )
    return drafts


def _generate(
    told: PreferenceTable, drafts: Sequence[_Draft], path: Path, *, sampler: Sampler, encoder: Encoder
) -> GeneratedShard:
    """Draw, encode and seal one shard; only one batch of pixels is in memory at a time."""
    files: list[bytes] = []
    for start in range(0, len(drafts), sampler.batch_size):
        batch = np.arange(start, min(start + sampler.batch_size, len(drafts)))
        condition = told.rows(batch).to_condition(sampler.generator.spec)
        files += encoder.encode(sampler.sample(condition, [drafts[k].seed for k in batch.tolist()]))
    members = [
        Member(name=f"{draft.member}.{encoder.extension}", data=data) for draft, data in zip(drafts, files, strict=True)
    ]
    packed = pack(members)
    assets = tuple(
        _row(draft, entry, int(n_events), top_events)
        for draft, entry, n_events, top_events in zip(
            drafts, packed.entries, told.n_events, told.top_events, strict=True
        )
    )
    return GeneratedShard(shard=seal(path, packed, sidecar=rows_to_table(assets)), rows=assets, reused=False)


def _row(draft: _Draft, entry: Entry, n_events: int, top_events: Sequence[Mapping[str, Any]]) -> AssetRow:
    """Return the row of a drawn and encoded asset."""
    user_key, generator_digest, digest, operating_point, variant = draft.key
    return AssetRow(
        user_key=user_key,
        generator_digest=generator_digest,
        condition_digest=digest,
        operating_point_digest=operating_point,
        variant=variant,
        member=entry.name,
        shard_offset=entry.offset,
        byte_length=entry.byte_length,
        crc32=entry.crc32,
        seed=draft.seed,
        score=None,
        n_events=n_events,
        top_events=tuple(top_events),
        condition=draft.condition,
    )


def _sealed_earlier(path: Path, drafts: Sequence[_Draft]) -> GeneratedShard | None:
    """Return the shard at `path` where it holds exactly the planned assets and its bytes are intact, else None."""
    found = read_sidecar(path)
    if found is None:
        return None
    rows, sha256 = table_to_rows(found[0]), found[1]
    if [row.natural_key for row in rows] != [draft.key for draft in drafts] or sha256_file(path) != sha256:
        return None
    entries = tuple(
        Entry(name=row.member, offset=row.shard_offset, byte_length=row.byte_length, crc32=row.crc32) for row in rows
    )
    shard = SealedShard(path=path, sha256=sha256, byte_length=path.stat().st_size, entries=entries)
    return GeneratedShard(shard=shard, rows=rows, reused=True)
