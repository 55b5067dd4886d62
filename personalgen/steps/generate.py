"""Generates the images that are missing: for changed users under the live model, for everybody under a new one."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

import personalgen
from personalgen.catalogue import planning, read, shards, write
from personalgen.catalogue.facts import Pointer, Repointing, ShardFacts
from personalgen.catalogue.past_releases import past_releases
from personalgen.catalogue.refusals import record_refused, refused_variants, were_refused
from personalgen.catalogue.rows import ModelVersion
from personalgen.embeddings import compared_columns
from personalgen.generation.assets import AssetRows
from personalgen.generation.encoders import choose_encoder
from personalgen.generation.options import OperatingPoint
from personalgen.generation.plan import Plan, condition_bytes, condition_digest, make_plan, read_plan, write_plan
from personalgen.generation.provenance import Provenance, stamped
from personalgen.generation.run import GenerationRequest, GenerationSummary, generate_plan
from personalgen.generation.safety import RefusedAsset, Screen, load_screen, screened
from personalgen.generation.sampler import Sampler
from personalgen.generation.shards import SealedShard
from personalgen.models import ModelCard, load_card, load_generator
from personalgen.registry.run import Run
from personalgen.steps.embed import Embedded
from personalgen.steps.night import Night, run_stage
from personalgen.steps.promote import Decided
from personalgen.steps.repair import BY_HAND, Repaired, repair
from personalgen.steps.told import Told, told_of
from personalgen.steps.workspace import Workspace

_CHUNK_USERS = 4096
"""Whose conditions are in memory at a time when existing images are looked up."""
_REFUSED = -2
"""Stands beside `planning.MISSING` for an image that the safety filter refused."""
_NONE = (planning.MISSING, _REFUSED)
PLAN = "plan"
"""How the plan of a night is named."""


@dataclass(frozen=True)
class Generated:
    """What tonight added."""

    stage: ClassVar[str] = "generate"

    version: int
    """Model version of the images; 0 where there was no model to draw with."""
    n_assets: int
    """Images made tonight."""
    n_users: int
    """Users they were made for."""
    n_new: int
    """Users who had no image of this model."""
    n_changed: int
    """Users whose preference moved by more than min_shift."""
    n_unchanged: int
    """Users whose image still stands."""
    n_shards: int
    n_bytes: int
    encoder: str
    operating_point_digest: int
    n_refused: int = 0
    """Images that the safety filter refused: their users keep what they had."""
    safety: str = "none"
    """`safety.filter`."""
    n_shards_adopted: int = 0
    """Sealed shards of earlier nights that the catalogue did not know and knows now."""
    n_shards_orphaned: int = 0
    """Shards that could not be adopted: see `personalgen repair --dry-run`."""
    n_shards_damaged: int = 0
    """Catalogued shards that are missing or changed: see `personalgen repair --dry-run`."""


def generate(workspace: Workspace, night: Night, embedded: Embedded, decided: Decided) -> Generated:
    """Return what was generated; a killed stage goes on at the shard where it stopped."""
    return run_stage(workspace, night, Generated, lambda run: _generate(workspace, night, embedded, decided, run))


def generate_missing(
    workspace: Workspace, night: Night, embedded: Embedded, model: ModelVersion
) -> tuple[int, Repointing | None]:
    """Return how many images were made so that every user of the night has one of this model, and what is to move.

    Where the model is live already, at another operating point, nobody's image changes before the release does.
    """
    point, live = workspace.settings.generation.operating_point, workspace.live()
    key = (live.model_version_id, live.operating_point_digest) if live else (0, 0)
    moves = key[0] != model.model_version_id or key[1] == point.digest()
    _repaired(workspace)
    n_new = draw_missing(workspace, night, embedded, model, point, kind=BY_HAND, run_id=None, move=moves)[2]
    return n_new, None if moves else _repointing(workspace, night, embedded, model, point)


def _repointing(
    workspace: Workspace, night: Night, embedded: Embedded, model: ModelVersion, point: OperatingPoint
) -> Repointing:
    """Return the pointers of all users of the night to their images at this operating point."""
    folder = workspace.model_folder(model.model_version_id)
    told, card = told_of(workspace, night, embedded, folder), load_card(folder)
    keys = write.allocate_user_keys(workspace.engine, told.table.user_ids, night_id=night.night_id)
    found, _ = existing_images(workspace, told, card, point, keys, np.arange(len(keys)), rule=None)
    return Repointing(model.generator_digest, night.night_id, [pointer for pointer in found if pointer])


def operating_point(workspace: Workspace, decided: Decided) -> OperatingPoint:
    """Return where tonight's images are drawn: where the challenger was measured if it is promoted, else the live one.

    So the images of a held night are what users see, whatever the settings say by now. Where what is live was moved
    since the night decided, its model is drawn where it was released last.
    """
    live = workspace.live()
    if decided.promote and decided.operating_point:
        return OperatingPoint(**decided.operating_point)
    if decided.promote or live is None:
        return workspace.settings.generation.operating_point
    if decided.model_version_id and live.model_version_id != decided.model_version_id:
        moves = past_releases(workspace.engine)
        own = [one.operating_point for one in moves if one.model_version_id == decided.model_version_id]
        return OperatingPoint(**(own[-1] if own else live.operating_point))
    return OperatingPoint(**live.operating_point)


def _generate(workspace: Workspace, night: Night, embedded: Embedded, decided: Decided, run: Run) -> Generated:
    point = operating_point(workspace, decided)
    if not decided.model_version_id:
        return Generated(0, 0, 0, 0, 0, 0, 0, 0, "", point.digest())
    repaired = _repaired(workspace)
    model = read.model_by_id(workspace.engine, decided.model_version_id)
    plan, summary, _ = draw_missing(workspace, night, embedded, model, point, run_id=run.run_id)
    return Generated(
        version=decided.version,
        n_assets=summary.n_assets,
        n_users=len(plan),
        n_new=plan.n_new,
        n_changed=plan.n_changed,
        n_unchanged=plan.n_unchanged,
        n_shards=summary.n_shards,
        n_bytes=summary.n_bytes,
        encoder=summary.encoder,
        operating_point_digest=point.digest(),
        n_refused=summary.n_refused,
        safety=workspace.settings.safety.filter,
        n_shards_adopted=len(repaired.adopted),
        n_shards_orphaned=len(repaired.orphans),
        n_shards_damaged=len(repaired.damaged),
    )


def _repaired(workspace: Workspace) -> Repaired:
    """Bring shard root and catalogue in step before anything is drawn; what is wrong is told, and stops nothing."""
    repaired = repair(workspace)
    for path, what in {**repaired.damaged, **repaired.orphans}.items():
        logging.getLogger(__name__).warning("shard %s: %s", path, what)
    return repaired


def draw_missing(
    workspace: Workspace,
    night: Night,
    embedded: Embedded,
    model: ModelVersion,
    point: OperatingPoint,
    *,
    run_id: str | None,
    kind: str = PLAN,
    users: frozenset[str] | None = None,
    move: bool = True,
) -> tuple[Plan, GenerationSummary, int]:
    """Plan, draw, seal and catalogue; a plan that an interrupted attempt left is taken up again.

    With `users`, for these alone; `kind` is how the plan's file is named. The third result counts the images that the
    catalogue did not know yet.
    """
    folder = workspace.model_folder(model.model_version_id)
    card, told = load_card(folder), told_of(workspace, night, embedded, folder)
    screen = load_screen(workspace.settings.safety)
    rule = None if screen is None else screen.rule
    path = plan_path(night, card, point, kind)
    plan = _plan(workspace, night, told, card, point, path, move=move, users=users, rule=rule)
    summary, n_new = draw_plan(workspace, night, model, point, told, plan, screen, run_id=run_id, move=move)
    if kind == BY_HAND:
        path.unlink()  # the next promotion looks anew at who lacks an image
    return plan, summary, n_new


def draw_plan(
    workspace: Workspace,
    night: Night,
    model: ModelVersion,
    point: OperatingPoint,
    told: Told,
    plan: Plan,
    screen: Screen | None,
    *,
    run_id: str | None,
    move: bool,
) -> tuple[GenerationSummary, int]:
    """Draw, seal and catalogue what a plan says; the second result counts images that the catalogue did not know yet.

    Without `move` nobody's current images change.
    """
    options = workspace.settings.generation
    generator, card = load_generator(workspace.model_folder(model.model_version_id))
    sampler = Sampler(generator, batch_size=options.batch_size, operating_point=point)
    n_new: list[int] = []
    encoder = stamped(choose_encoder(options.encoder), _provenance(night, model))
    if screen is not None:
        encoder = screened(encoder, screen)
    summary = generate_plan(
        GenerationRequest(
            plan=plan, told=told, generator_digest=card.generator_digest, variants=options.variants, floor=options.floor
        ),
        sampler=sampler,
        encoder=encoder,
        root=workspace.shard_root,
        night_id=night.night_id,
        shard_size=options.shard_size,
        progress=workspace.report("generate"),
        facts={
            "night_key": night.key,
            "operating_point": asdict(point),
            "safety": screen.rule if screen else None,
            "redraws": options.floor.redraws if options.floor else 0,
        },
        commit=lambda shard, rows: n_new.append(
            _commit(workspace, night, model, point, run_id, screen, shard, rows, move=move)
        ),
        on_refused=lambda found: _record_refused(workspace, night, screen, found),
    )
    return summary, sum(n_new)


def _provenance(night: Night, model: ModelVersion) -> Provenance:
    """Return what every picture of this night and model says of itself."""
    return Provenance(
        software=f"personalgen {personalgen.__version__}",
        model=f"{model.model_name} v{model.version}",
        generator=model.generator_sha256,
        night=night.key,
        day=str(night.day),
    )


def _plan(
    workspace: Workspace,
    night: Night,
    told: Told,
    card: ModelCard,
    point: OperatingPoint,
    path: Path,
    *,
    move: bool,
    users: frozenset[str] | None,
    rule: str | None,
) -> Plan:
    """Return who needs an image; an interrupted attempt's plan is read back, as its boundaries name the shards."""
    found = read_plan(path)
    if found is not None:
        return found
    user_ids, rows = told.table.user_ids, told.table.condition_rows(card.spec)
    keys = write.allocate_user_keys(workspace.engine, user_ids, night_id=night.night_id)
    current = planning.current_conditions(
        workspace.engine, card.generator_digest, keys, operating_point_digest=point.digest()
    )
    matrix = np.full_like(rows, np.nan)
    if len(current.user_keys):
        row_of = {key: row for row, key in enumerate(keys.tolist())}
        matrix[[row_of[key] for key in current.user_keys.tolist()]] = current.conditions
    options = workspace.settings.generation
    asked = {"operating_point_digest": point.digest(), "count": options.variants - 1}
    beside = planning.further_variants(workspace.engine, card.generator_digest, keys, **asked)
    if rule is not None:
        beside |= refused_variants(workspace.engine, card.generator_digest, keys, rule=rule, **asked)
    matrix[~beside.all(axis=1)] = np.nan  # generation.variants was raised since
    plan = make_plan(
        keys,
        user_ids,
        tonight=rows,
        current=matrix,
        min_shift=options.min_shift,
        parts=compared_columns(card.spec),
        regenerate_all=options.regenerate_all,
    )
    silent = read.silent_users(workspace.engine)
    wanted = [
        key not in silent and (users is None or user_id in users)
        for key, user_id in zip(plan.user_keys.tolist(), plan.user_ids, strict=True)
    ]
    plan = plan.keep(np.array(wanted, dtype=np.bool_))
    existing, settled = existing_images(workspace, told, card, point, plan.user_keys, plan.rows, rule)
    if move:
        pointers = [pointer for pointer, done in zip(existing, settled, strict=True) if pointer and done]
        shards.point_current(
            workspace.engine, generator_digest=card.generator_digest, night_id=night.night_id, pointers=pointers
        )
    plan = plan.keep(~settled)
    write_plan(path, plan)
    return plan


def plan_path(night: Night, card: ModelCard, point: OperatingPoint, kind: str) -> Path:
    """Return where a night keeps whom it draws for."""
    return night.path / f"{kind}-{card.generator_sha256[:12]}-{point.digest():016x}.parquet"


def existing_images(
    workspace: Workspace,
    told: Told,
    card: ModelCard,
    point: OperatingPoint,
    keys: NDArray[np.int64],
    rows: NDArray[np.int64],
    rule: str | None,
) -> tuple[list[Pointer | None], NDArray[np.bool_]]:
    """Return what points at the images of exactly tonight's conditions, for each user, and whose need no drawing.

    The pointer is None where the first image is missing, and holds those of the further ones that are there. Drawing is
    needed unless each missing one was refused by the safety filter's `rule`: it would be the same image again. `keys`
    and `rows` of the table are the users'.
    """
    pointers: list[Pointer | None] = [None] * len(rows)
    settled = np.zeros(len(rows), dtype=np.bool_)

    def present(places: NDArray[np.int64], variant: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        conditions = told(rows[places], variant).condition_rows(card.spec)
        digests = np.array([condition_digest(row) for row in conditions], dtype=np.int64)
        asked = {"user_keys": keys[places], "condition_digests": digests, "variants": np.full_like(places, variant)}
        found = planning.assets_present(workspace.engine, card.generator_digest, point.digest(), **asked)
        if rule is not None:
            refused = were_refused(workspace.engine, card.generator_digest, point.digest(), **asked, rule=rule)
            found[refused & (found == planning.MISSING)] = _REFUSED
        return conditions, found

    for start in range(0, len(rows), _CHUNK_USERS):
        places = np.arange(start, min(start + _CHUNK_USERS, len(rows)))
        conditions, first = present(places, 0)
        there = first != planning.MISSING
        places, conditions = places[there], conditions[there]
        further = range(1, workspace.settings.generation.variants if len(places) else 1)
        found = [first[there], *(present(places, variant)[1] for variant in further)]
        for place, condition, images in zip(places.tolist(), conditions, np.stack(found, axis=1).tolist(), strict=True):
            settled[place] = planning.MISSING not in images
            if images[0] != _REFUSED:
                beside = tuple(pair for pair in enumerate(images) if pair[0] and pair[1] not in _NONE)
                pointers[place] = Pointer(int(keys[place]), images[0], condition_bytes(condition), beside)
    return pointers, settled


def _record_refused(workspace: Workspace, night: Night, screen: Screen | None, found: Sequence[RefusedAsset]) -> None:
    """Remember what was refused, so that no later night draws it again under the same rule."""
    if screen is not None:
        pairs = [(each.natural_key, each.score) for each in found]
        record_refused(workspace.engine, pairs, rule=screen.rule, night_id=night.night_id, at=workspace.now())


def _commit(
    workspace: Workspace,
    night: Night,
    model: ModelVersion,
    point: OperatingPoint,
    run_id: str | None,
    screen: Screen | None,
    shard: SealedShard,
    rows: AssetRows,
    *,
    move: bool,
) -> int:
    """Catalogue a sealed shard and its rows, as one; return how many images are new."""
    facts = ShardFacts(
        path=shard.path,
        sha256=shard.sha256,
        byte_length=shard.byte_length,
        encoder=rows.encoder,
        operating_point_digest=point.digest(),
        operating_point=asdict(point),
        night_id=night.night_id,
        model_version_id=model.model_version_id,
        sealed_at=workspace.now(),
        mlflow_run_id=run_id,
        safety=None if screen is None else screen.rule,
    )
    return shards.commit_shard(workspace.engine, facts, rows, move=move).n_new
