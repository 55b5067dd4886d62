"""What the write verbs take: plain facts, as the stages know them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Action = Literal["promote", "hold", "rollback", "manual"]
NightStatus = Literal["running", "done", "failed", "killed", "deleted"]
NightKind = Literal["nightly", "retrain", "generate", "backfill"]
Winner = Literal["left", "right", "tie"]
VoteSource = Literal["terminal", "notebook", "gallery"]
RatingSource = Literal["terminal", "notebook", "gallery", "product"]


@dataclass(frozen=True, kw_only=True)
class NightFacts:
    """What identifies a night, and the runs of this attempt."""

    night_key: str
    """At most 32 characters: the digest of (source, as_of, source digest, config digest), and of the kind."""
    source: str
    """The source as a person knows it, without passwords."""
    as_of: datetime
    """Exclusive end of what was read, aware."""
    day: date
    """The date of `as_of` in the schedule's zone."""
    source_digest: str
    """Digest of what was read."""
    config_digest: str
    """Digest of the resolved settings."""
    mlflow_run_id: str | None = None
    """The night's parent run."""
    prefect_flow_run_id: str | None = None
    """The flow run of this attempt."""
    kind: NightKind = "nightly"
    """What it may do: docs/nights.md."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """A generator to be registered."""

    model_name: str
    """Name in the registry."""
    version: int
    """Version in the registry."""
    generator_sha256: str
    """Digest of generator.safetensors, the model's identity."""
    basis_version: str
    """The embedding basis whose vectors it understands."""
    condition_spec: Mapping[str, Any]
    """What it may be conditioned on, as JSON."""
    folder: str
    """Where generator.safetensors and its card lie."""
    mlflow_run_id: str | None = None
    """The run that trained it."""
    night_id: int | None = None
    """The night that trained it; None for an imported snapshot."""
    verdict: Mapping[str, Any] | None = None
    """What the evaluation said."""


@dataclass(frozen=True, kw_only=True)
class ItemFacts:
    """An item of the source."""

    item_id: str
    """Canonical id."""
    split: str
    """train, judge or test."""
    title: str | None = None
    """A name for people."""
    image_sha256: str | None = None
    """Digest of its prepared picture; None where it did not decode."""


@dataclass(frozen=True, kw_only=True)
class QuarantineFacts:
    """Rows of one source table that were set aside for one reason."""

    source_table: str
    """interactions, items or users."""
    reason: str
    """Short code."""
    n_rows: int
    """How many."""
    path: str
    """The Parquet file that holds them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranked:
    """For each of n users or items at most k others, the best first: recommendations, or neighbours."""

    owner_ids: tuple[str, ...]
    """(n,) for whom or what; each once, in any order."""
    found_ids: tuple[str, ...]
    """The ids that `found_index` points at."""
    found_index: NDArray[np.integer[Any]]
    """(n, k) places in `found_ids`."""
    scores: NDArray[np.float32]
    """(n, k); where one is not finite (NaN, or the -inf of what was masked) nothing was found."""

    def __post_init__(self) -> None:
        n_owners = len(self.owner_ids)
        if self.scores.ndim != 2 or self.scores.shape != self.found_index.shape or len(self.scores) != n_owners:
            raise ValueError(
                f"found_index {self.found_index.shape} and scores {self.scores.shape} are both ({n_owners}, k)."
            )
        named = self.found_index[np.isfinite(self.scores)]
        if ((named < 0) | (named >= len(self.found_ids))).any():
            raise ValueError(f"found_index has a place outside the {len(self.found_ids)} found_ids, with a score.")


@dataclass(frozen=True, kw_only=True)
class ForgottenFacts:
    """A person who is forgotten, and what was done for that outside the catalogue."""

    user_id: str
    """Canonical id."""
    actor: str
    """Who did it."""
    reason: str
    """Why, in words; without the person's name, as it is kept for ever."""
    statistics_exact: bool
    """The person's part of the recommender's sums was subtracted to the bit; False: built anew, or there were none."""
    removed: Mapping[str, int]
    """How many of each kind of thing were deleted, such as {"preference tables": 3, "affinity state": 1}."""
    erased_as: str = ""
    """What stands in the place of the id from now on; empty leaves the id as it is."""
    receipt: Mapping[str, Any] | None = None
    """What was removed where, and what remains, in words."""


@dataclass(frozen=True, kw_only=True)
class ComparisonFacts:
    """A blind choice of a voter between two pictures for the same person."""

    user_id: str
    """Canonical id of the person whose taste is asked for."""
    left_generator_digest: int
    """The weights that drew the left picture."""
    right_generator_digest: int
    left_variant: int = 0
    """Which of the person's pictures by that model; with the person it gives the seed."""
    right_variant: int = 0
    operating_point_digest: int
    winner: Winner
    voter: str
    """Who chose, as text, hashed where ids are; at most 128 characters, and not looked up anywhere."""
    source: VoteSource


@dataclass(frozen=True, kw_only=True)
class RatingFacts:
    """A person's opinion of an asset."""

    asset_id: int
    value: float
    """-1 (dislikes it) to 1 (likes it)."""
    rater: str
    """Who said so, as text, hashed where ids are; at most 128 characters, and not looked up anywhere."""
    source: RatingSource
    at: datetime
    """When it was said, aware."""


@dataclass(frozen=True, kw_only=True, eq=False)
class HistorySummaries:
    """What a night read of each user's history, as columns of one length."""

    user_ids: tuple[str, ...]
    """(n,) each once, known to the catalogue."""
    n_events: NDArray[np.int64]
    n_likes: NDArray[np.int64]
    """Events of positive weight."""
    first_event: NDArray[np.int64]
    """UTC seconds."""
    last_event: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ShardFacts:
    """A sealed tar of images."""

    path: str
    """Relative to the shard root, forward slashes."""
    sha256: str
    """Digest of its bytes."""
    byte_length: int
    """Its size."""
    encoder: str
    """What encoded the images."""
    operating_point_digest: int
    """63 bits that name the operating point of its images."""
    operating_point: Mapping[str, Any]
    """The operating point itself, as JSON."""
    night_id: int
    """The night that made it."""
    model_version_id: int
    """The model that made it."""
    sealed_at: datetime
    """When it was complete on disk, aware."""
    mlflow_run_id: str | None = None
    """The run that generated it."""
    safety: str | None = None
    """The filter, its version and the threshold that its images passed; None where nothing looked."""


class Repointing(NamedTuple):
    """Users who are to see other images of a generator at the moment in which it is released."""

    generator_digest: int
    night_id: int
    pointers: Sequence["Pointer"]


class Pointer(NamedTuple):
    """An asset that exists and stands for a user again, with the further ones that belong to it."""

    user_key: int
    asset_id: int
    condition: bytes
    """The preference as little-endian float32."""
    variants: tuple[tuple[int, int], ...] = ()
    """Variant (1 and up) and id of each of the user's further images."""
