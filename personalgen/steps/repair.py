"""Puts the shard root and the catalogue in step: finishes what was cut, adopts what is whole, reports what is not.

Nobody's current image moves: an adopted shard's images are known again, and used when a night asks for exactly them.
Shards of a night that may still be gone on with wait for it, as it knows whose current images they are to be.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from personalgen.catalogue import adoption, deletions, erasures, read, shards
from personalgen.catalogue.facts import ShardFacts
from personalgen.catalogue.refusals import record_refused
from personalgen.catalogue.rows import Night as NightRow
from personalgen.generation.apart import seed_of
from personalgen.generation.assets import ENCODER_KEY, NATURAL_KEY, SCHEMA, AssetRows
from personalgen.generation.safety import RefusedAsset, refused_in
from personalgen.generation.shards import FOLDER, Sidecar, read_sidecar, sweep_temporaries
from personalgen.steps.delete_night import finish_deletions
from personalgen.steps.erase_images import remove_asked
from personalgen.steps.workspace import Workspace

FACTS = ("night_key", "operating_point")
"""What a sidecar says of its shard, so that it can be adopted.

`redraws`, how often a picture may have been drawn again, is missing where an older version wrote it: then the setting
counts.
"""
BY_HAND = "manual"
"""How the plan of a promotion by hand is named."""


@dataclass(frozen=True)
class Repaired:
    """What a repair found and did; with `dry_run` what it would do. Paths are below the shard root."""

    dry_run: bool
    swept: tuple[str, ...]
    """Temporary files of killed writers, and sidecars without a tar: removed."""
    removed: tuple[str, ...]
    """Shards that the catalogue had asked to be removed."""
    nights: tuple[int, ...]
    """Deleted nights whose files were still there."""
    adopted: dict[str, int]
    """Sealed shards that the catalogue did not know: how many images of each it knows now."""
    waiting: tuple[str, ...]
    """Sealed shards of a night, or of a promotion by hand, that was cut: running it again takes them up."""
    orphans: dict[str, str]
    """Shards that cannot be adopted, and why; they are left as they are."""
    damaged: dict[str, str]
    """Catalogued shards that are missing or changed, and how."""
    erasing: tuple[int, ...]
    """Keys of people whose erasure was cut: the next `prepare`, or `personalgen repair`, ends it."""

    @property
    def is_sound(self) -> bool:
        """Whether every catalogued image is where the catalogue says, as far as was looked."""
        return not self.damaged


def repair(workspace: Workspace, *, dry_run: bool = False, verify: bool = False) -> Repaired:
    """Bring shard root and catalogue in step; only while nothing else writes in this home. Again, it finds less to do.

    With `verify` every catalogued shard is read whole and compared with its digest, else only its size.

    Raises:
        ArtifactError: the shard root cannot be reached.
        CatalogueError: the catalogue refused a write. What was repaired so far stays.
    """
    engine, root = workspace.engine, workspace.shard_root
    swept = root.temporaries(FOLDER) if dry_run else sweep_temporaries(root)
    removed = list(erasures.asked_removals(engine)) if dry_run else remove_asked(workspace)
    nights = [one.night_id for one in deletions.night_deletions(engine, open_only=True)]
    if not dry_run:
        finish_deletions(workspace)
    files, known = root.files(FOLDER), read.shard_digests(engine)
    stale = [path for path in files if path.endswith(".parquet") and _tar_of(path) not in files]
    stale = [path for path in stale if _tar_of(path) not in known]
    for path in () if dry_run else stale:
        root.remove(path)
    unknown = [path for path in files if path.endswith(".tar") and path not in known and path not in removed]
    judged = {path: _judged(workspace, path) for path in unknown}
    adopted = {path: one for path, one in judged.items() if isinstance(one, _Whole)}
    return Repaired(
        dry_run=dry_run,
        swept=(*swept, *stale),
        removed=tuple(removed),
        nights=tuple(nights),
        adopted={path: _adopt(workspace, one, dry_run=dry_run) for path, one in adopted.items()},
        waiting=tuple(path for path, one in judged.items() if one is None),
        orphans={path: one for path, one in judged.items() if isinstance(one, str)},
        damaged=dict(_damaged(workspace, files, known, verify=verify)),
        erasing=tuple(one.user_key for one in erasures.open_erasures(engine)),
    )


@dataclass(frozen=True)
class _Whole:
    """A shard that can be adopted."""

    facts: ShardFacts
    rows: AssetRows
    refused: tuple[RefusedAsset, ...]
    n_new: int


def _tar_of(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(".tar"))


def _judged(workspace: Workspace, path: str) -> _Whole | str | None:
    """Return a shard that can be adopted, why it cannot, or None where it waits for its night."""
    root = workspace.shard_root
    sidecar = read_sidecar(root, path)
    if sidecar is None:
        return "its sidecar is missing or cannot be read"
    if root.sha256(path) != sidecar.sha256:
        return "its bytes are not those that its sidecar was written for"
    if not set(FACTS) <= sidecar.facts.keys() or ENCODER_KEY not in sidecar.rows.schema.metadata:
        return "its sidecar does not say of which night and operating point it is: an older version wrote it"
    night = read.night_by_key(workspace.engine, sidecar.facts["night_key"])
    if night is None or night.status == "deleted":
        return "its night was deleted" if night else "the catalogue knows no such night"
    return None if _may_go_on(workspace, night) else _fitting(workspace, path, sidecar, night.night_id)


def _may_go_on(workspace: Workspace, night: NightRow) -> bool:
    """Return whether a night that was cut may be run again, or a promotion by hand was cut that draws for it."""
    newest = read.newest_as_of(workspace.engine)
    by_hand = (workspace.data / "nights" / night.night_key[:16]).glob(f"{BY_HAND}-*.parquet")
    may_look_back = newest is None or night.as_of >= newest or night.kind == "backfill"
    return any(by_hand) or (night.status != "done" and may_look_back)


def _fitting(workspace: Workspace, path: str, sidecar: Sidecar, night_id: int) -> _Whole | str:
    """Return the shard with its facts where the catalogue knows its model and people, else what it does not know."""
    rows = AssetRows(sidecar.rows.select(SCHEMA.names))
    if not len(rows):
        return "it holds no image: it may be removed"
    models = {one.generator_digest: one for one in read.model_versions(workspace.engine)}
    made_by, points = set(rows.values("generator_digest")), set(rows.values("operating_point_digest"))
    if len(made_by) != 1 or len(points) != 1 or not made_by <= models.keys():
        return "the catalogue does not know the model that drew it"
    known = adoption.known_rows(workspace.engine, list(zip(*map(rows.values, NATURAL_KEY), strict=True)))
    redraws = sidecar.facts.get("redraws", workspace.settings.generation.redraws)
    if n_strangers := _n_strangers(rows, known.user_ids, redraws=redraws):
        return f"{n_strangers} of its {len(rows)} images are of people whom the catalogue does not know any more"
    if known.n_assets == len(rows):
        return "all of its images are catalogued in other shards: it may be removed"
    facts = ShardFacts(
        path=path,
        sha256=sidecar.sha256,
        byte_length=workspace.shard_root.size(path) or 0,
        encoder=rows.encoder,
        operating_point_digest=points.pop(),
        operating_point=sidecar.facts["operating_point"],
        night_id=night_id,
        model_version_id=models[made_by.pop()].model_version_id,
        sealed_at=workspace.now(),
        safety=sidecar.facts.get("safety"),
    )
    return _Whole(facts, rows, refused_in(sidecar.rows), len(rows) - known.n_assets)


def _n_strangers(rows: AssetRows, user_ids: Mapping[int, str], *, redraws: int) -> int:
    """Return how many rows' seeds are not those of the people whom their keys name: another catalogue's do not fit.

    A picture was drawn from its first seed or, too near to an earlier one, from that of one of `redraws` more tries.
    """

    def is_own(key: int, variant: int, seed: int) -> bool:
        return key in user_ids and any(seed_of(user_ids[key], variant, k) == seed for k in range(redraws + 1))

    given = zip(*map(rows.values, ("user_key", "variant", "seed")), strict=True)
    return sum(not is_own(*row) for row in given)


def _adopt(workspace: Workspace, whole: _Whole, *, dry_run: bool) -> int:
    """Catalogue a whole shard without moving anybody's current image; return how many images are known by it."""
    facts = whole.facts
    if dry_run:
        return whole.n_new
    if facts.safety:
        gone, place = read.silent_users(workspace.engine), NATURAL_KEY.index("user_key")
        found = [(one.natural_key, one.score) for one in whole.refused if one.natural_key[place] not in gone]
        record_refused(workspace.engine, found, rule=facts.safety, night_id=facts.night_id, at=workspace.now())
    return shards.commit_shard(workspace.engine, facts, whole.rows, move=False).n_new


def _damaged(
    workspace: Workspace, files: Mapping[str, int], known: Mapping[str, tuple[int, str]], *, verify: bool
) -> Iterator[tuple[str, str]]:
    """Yield the catalogued shards that are not what they were, and how."""
    for done, (path, (n_bytes, sha256)) in enumerate(sorted(known.items()), start=1):
        if path not in files:
            yield path, "missing: restore it from a backup, or delete its night"
        elif files[path] != n_bytes:
            yield path, f"{files[path]:,} bytes, catalogued with {n_bytes:,}: restore it from a backup"
        elif verify:
            workspace.progress("verify", done, len(known))
            if workspace.shard_root.sha256(path) != sha256:
                yield path, "other bytes than were catalogued: restore it from a backup"
