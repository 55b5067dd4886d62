"""Who gets images tonight, and in which shards: a pure function of tonight's preferences and of the current assets.

A plan is written to the night's folder before the first image is drawn. A resumed night reads it back instead of
planning again: users that were finished before the crash count as unchanged by now, and a new plan would move every
shard boundary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from personalgen.artifacts import atomic_path, short_digest
from personalgen.errors import ArtifactError, ConfigError

Floats = NDArray[np.floating]
Keys = NDArray[np.int64]

_COUNTS = ("n_new", "n_changed", "n_unchanged")


@dataclass(frozen=True)
class ShardPlan:
    """One shard of a plan: a name and the planned users at [start, stop)."""

    name: str
    """Path below the shard root without suffix, for example shards/night=000042/000017."""
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class Plan:
    """The users to generate for, sorted by key, and why."""

    user_keys: Keys
    """(n,) int64, strictly increasing."""
    user_ids: tuple[str, ...]
    """Canonical ids, the names that seeds are derived from; same order."""
    rows: Keys
    """(n,) int64: the row of each planned user in tonight's preference table."""
    n_new: int
    """Users without a current asset of this model."""
    n_changed: int
    """Users whose preference moved by more than min_shift."""
    n_unchanged: int
    """Users whose current asset still stands; planned only with regenerate_all."""

    def __len__(self) -> int:
        return len(self.user_keys)

    def keep(self, wanted: NDArray[np.bool_]) -> "Plan":
        """Return the plan for the users where `wanted` (n,) is True, with the counts of the whole.

        For users whose image exists already, because their preference came back to where it was.
        """
        return replace(
            self,
            user_keys=self.user_keys[wanted],
            user_ids=tuple(self.user_ids[k] for k in np.flatnonzero(wanted).tolist()),
            rows=self.rows[wanted],
        )

    def shards(self, night_id: int, *, shard_size: int) -> Iterator[ShardPlan]:
        """Yield the shards in order; the boundaries depend on the plan and `shard_size` alone."""
        for index, start in enumerate(range(0, len(self), shard_size)):
            name = f"shards/night={night_id:06d}/{index:06d}"
            yield ShardPlan(name=name, start=start, stop=min(start + shard_size, len(self)))


def changed(current: Floats, tonight: Floats, *, min_shift: float, parts: Sequence[Keys] = ()) -> NDArray[np.bool_]:
    """Return (n,) bool: True where row k of `tonight` is farther than `min_shift` from row k of `current`.

    The distance is 1 - cosine, the largest over `parts` where columns are compared part by part. A row of `current`
    with a NaN stands for "no current asset" and is True. Two zero rows are at distance 0, a zero row and another at
    distance 1.

    Raises:
        ConfigError: the shapes differ, or a row of tonight is not finite.
    """
    if current.shape != tonight.shape:
        raise ConfigError(
            f"current conditions have shape {current.shape}, tonight's {tonight.shape}; the same users and columns "
            "were expected. Compare conditions of one embedding basis only. Nothing was planned."
        )
    if not np.isfinite(tonight).all():
        bad = int((~np.isfinite(tonight)).any(axis=1).sum())
        raise ConfigError(
            f"{bad} of tonight's {len(tonight)} conditions are not finite. Embed again. Nothing was planned."
        )
    missing = _without_asset(current)
    far = np.zeros(len(tonight), dtype=np.bool_)
    for one, other in ((current[:, part], tonight[:, part]) for part in parts or (slice(None),)):
        equal = np.equal(one, other).all(axis=1)
        distance = 1.0 - (_unit(np.where(missing[:, None], 0.0, one)) * _unit(other)).sum(axis=1)
        far |= ~equal & (distance > min_shift)
    return np.asarray(missing | far, dtype=np.bool_)


def make_plan(
    user_keys: Keys,
    user_ids: Sequence[str],
    *,
    tonight: Floats,
    current: Floats,
    min_shift: float,
    parts: Sequence[Keys] = (),
    regenerate_all: bool = False,
) -> Plan:
    """Return who needs images: users that are new or changed in one of the `parts`, or all with `regenerate_all`.

    Row k of `tonight` and of `current` (NaN where the user has no current asset of the generator in question) belongs
    to user_keys[k]. A permutation of the users gives the same plan but for its `rows`.

    Raises:
        ConfigError: user keys repeat, lengths differ, or see `changed`.
    """
    keys = np.asarray(user_keys, dtype=np.int64)
    if len(np.unique(keys)) != len(keys) or len(keys) != len(user_ids) or len(keys) != len(tonight):
        raise ConfigError(
            f"a plan needs one row per user: {len(keys)} keys ({len(np.unique(keys))} distinct), {len(user_ids)} ids, "
            f"{len(tonight)} conditions. Nothing was planned."
        )
    needs = changed(current, tonight, min_shift=min_shift, parts=parts)
    new = _without_asset(current)
    rows = np.flatnonzero(needs | regenerate_all)
    rows = rows[np.argsort(keys[rows])]
    return Plan(
        user_keys=keys[rows],
        user_ids=tuple(user_ids[row] for row in rows.tolist()),
        rows=rows.astype(np.int64),
        n_new=int(new.sum()),
        n_changed=int((needs & ~new).sum()),
        n_unchanged=int((~needs).sum()),
    )


def sampled(user_ids: Sequence[str], *, share: float, version: int) -> NDArray[np.bool_]:
    """Return (n,) True for about this share of the users, by a hash of the id and a model version.

    The same users for the same version, whoever stands beside; other users for the next one.
    """
    digests = [short_digest(f"canary\x1f{version}\x1f{user_id}".encode()) for user_id in user_ids]
    return np.array([digest < share * 2.0**63 for digest in digests], dtype=np.bool_)


def condition_digest(vector: Floats) -> int:
    """Return 63 bits that name what a model is told of a user: blake2b of the row's little-endian float32 bytes."""
    return short_digest(condition_bytes(vector))


def condition_bytes(vector: Floats) -> bytes:
    """Return a row's little-endian float32 bytes; -0.0 is written as 0.0, so that equal rows agree."""
    return (np.ascontiguousarray(vector, dtype="<f4") + np.float32(0)).tobytes()


def condition_vector(data: bytes) -> NDArray[np.float32]:
    """Return the row that `condition_bytes` wrote."""
    return np.frombuffer(data, dtype="<f4").astype(np.float32)


def write_plan(path: Path, plan: Plan) -> Path:
    """Write the plan as Parquet, atomically; return the path."""
    columns = {
        "user_key": pa.array(plan.user_keys),
        "user_id": pa.array(plan.user_ids, pa.string()),
        "row": pa.array(plan.rows),
    }
    facts = {name: str(getattr(plan, name)) for name in _COUNTS}
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns).replace_schema_metadata(facts), temporary)
    return path


def read_plan(path: Path) -> Plan | None:
    """Return the plan of an interrupted night, or None where none was written.

    Raises:
        ArtifactError: the file is not a plan.
    """
    if not path.is_file():
        return None
    try:
        table = pq.read_table(path)
        counts = {name: int(table.schema.metadata[name.encode()]) for name in _COUNTS}
        keys, rows = (table[name].to_numpy().astype(np.int64) for name in ("user_key", "row"))
        return Plan(user_keys=keys, user_ids=tuple(table["user_id"].to_pylist()), rows=rows, **counts)
    except (pa.ArrowException, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path} is not a plan ({error}). Delete it and rerun generate. Nothing was generated."
        ) from error


def _without_asset(current: Floats) -> NDArray[np.bool_]:
    """Return True for the rows that stand for "no current asset"."""
    return np.asarray(np.isnan(current).any(axis=1), dtype=np.bool_)


def _unit(matrix: Floats) -> NDArray[np.float64]:
    """Return the rows scaled to length 1 in float64; zero rows stay zero."""
    wide = matrix.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.where(norms == 0, 1.0, norms)
