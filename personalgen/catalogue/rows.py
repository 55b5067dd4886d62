"""What the reads return: frozen rows with the types that a caller wants, not those that a database keeps."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personalgen.catalogue.facts import NightKind, RatingSource, VoteSource, Winner


@dataclass(frozen=True)
class Night:
    """A row of `night`."""

    night_id: int
    night_key: str
    source: str
    as_of: datetime
    day: date
    source_digest: str
    config_digest: str
    status: str
    attempts: int
    mlflow_run_id: str | None
    prefect_flow_run_id: str | None
    counts: Mapping[str, Any] | None
    created_at: datetime
    finished_at: datetime | None
    kind: NightKind = "nightly"


@dataclass(frozen=True)
class ModelVersion:
    """A row of `model_version`."""

    model_version_id: int
    model_name: str
    version: int
    generator_sha256: str
    generator_digest: int
    basis_version: str
    condition_spec: Mapping[str, Any]
    folder: str
    mlflow_run_id: str | None
    night_id: int | None
    verdict: Mapping[str, Any] | None
    created_at: datetime


@dataclass(frozen=True)
class LiveRelease:
    """What users see now."""

    model_version_id: int
    model_name: str
    version: int
    generator_digest: int
    basis_version: str
    operating_point_digest: int
    operating_point: Mapping[str, Any]
    night_id: int | None
    moved_at: datetime


@dataclass(frozen=True)
class Promotion:
    """A decision about the live model, with the versions by their registry names."""

    promotion_id: int
    action: str
    model_name: str
    from_version: int | None
    to_version: int
    from_model_version_id: int | None
    to_model_version_id: int
    night_id: int | None
    operating_point: Mapping[str, Any] | None
    reason: str
    verdict: Mapping[str, Any] | None
    actor: str
    at: datetime


@dataclass(frozen=True)
class AssetSummary:
    """A row of the view `v_assets`."""

    asset_id: int
    user_id: str
    path: str
    model_version: int
    seed: int
    score: float | None
    variant: int
    model_name: str
    night_id: int
    day: date
    as_of: datetime
    segment: str | None
    mlflow_run_id: str | None
    preference_hash: str
    n_events: int
    top_events: list[dict[str, Any]]
    is_current: bool
    is_live: bool
    generated: bool


@dataclass(frozen=True)
class AssetLineage:
    """One asset and all it came from."""

    summary: AssetSummary
    """What the listing shows."""
    user_key: int
    condition_digest: int
    operating_point_digest: int
    operating_point: Mapping[str, Any]
    model_version_id: int
    generator_sha256: str
    basis_version: str
    training_run_id: str | None
    """The MLflow run that trained the model; the summary's is the one that generated the image."""
    night_key: str
    source: str
    encoder: str
    shard_path: str
    """Relative to the shard root."""
    member: str
    shard_offset: int
    byte_length: int
    crc32: int


@dataclass(frozen=True)
class Recommendation:
    """A row of the view `v_recommendations`."""

    user_id: str
    rank: int
    """1 is the best."""
    item_id: str
    title: str | None
    score: float
    night_id: int
    day: date


@dataclass(frozen=True)
class ItemNeighbour:
    """A row of the view `v_item_neighbours`."""

    item_id: str
    rank: int
    neighbour_id: str
    neighbour_title: str | None
    cosine: float
    night_id: int
    day: date


@dataclass(frozen=True)
class UserNeighbour:
    """A row of the view `v_user_neighbours`."""

    user_id: str
    rank: int
    """1 is the nearest; one is missing where somebody went silent since the night."""
    neighbour_id: str
    cosine: float
    night_id: int
    day: date


@dataclass(frozen=True)
class Forgotten:
    """A row of the view `v_forgotten`."""

    forgotten_id: int
    user_key: int
    requested_at: datetime
    actor: str
    reason: str
    statistics_exact: bool
    removed: Mapping[str, int]
    coefficients_at: datetime | None
    """When the recommender was first solved without this person; None: not yet."""
    coefficients_day: date | None
    """The day of the night that did."""
    erased_at: datetime | None
    """When the last of it was done; None in lines from before there were receipts."""
    receipt: Mapping[str, Any] | None
    """What was removed where, and what remains."""


@dataclass(frozen=True)
class BlindChoice:
    """A row of `comparison`, with the person's id."""

    comparison_id: int
    night_id: int
    at: datetime
    user_id: str
    left_generator_digest: int
    right_generator_digest: int
    left_variant: int
    right_variant: int
    operating_point_digest: int
    winner: Winner
    voter: str
    source: VoteSource


@dataclass(frozen=True)
class Rating:
    """A row of `rating`, with the id of the person for whom the asset was made."""

    rating_id: int
    asset_id: int
    user_id: str
    value: float
    rater: str
    source: RatingSource
    at: datetime


@dataclass(frozen=True)
class RatedAsset:
    """An asset and what people said of it."""

    asset_id: int
    user_id: str
    mean: float
    """-1 (disliked) to 1 (liked)."""
    n_ratings: int
    score: float | None
    night_id: int
    day: date
    model_name: str
    model_version: int
    variant: int
    segment: str | None
    path: str


@dataclass(frozen=True)
class ChangedUser:
    """A row of the view `v_changed`."""

    night_id: int
    day: date
    user_id: str
    segment: str | None
    model_name: str
    model_version: int
    old_asset_id: int
    new_asset_id: int
    shift: float
    """1 - cosine of the conditions, 0 to 2."""


@dataclass(frozen=True)
class DailyFigures:
    """What was made, summed by what was asked for; what was not asked for is None."""

    day: date | None
    model_name: str | None
    model_version: int | None
    segment: str | None
    """None also for users without one, where segments were asked for."""
    n_images: int
    n_users: int
    n_changed: int
    n_bytes: int
    mean_score: float | None


@dataclass(frozen=True)
class SimilarUser:
    """A user whose present condition is near, and the asset that was made from it."""

    user_id: str
    asset_id: int
    cosine: float


@dataclass(frozen=True)
class NightCounts:
    """What a night made, from the rows themselves."""

    n_created: int
    """Assets made by this night."""
    n_quarantined: int
    """Source rows set aside."""


@dataclass(frozen=True, eq=False)
class CurrentConditions:
    """The current asset of each user under one generator, and the condition it was made from."""

    user_keys: NDArray[np.int64]
    """(n,) strictly increasing; users without a current asset are left out."""
    asset_ids: NDArray[np.int64]
    """(n,)"""
    conditions: NDArray[np.float32]
    """(n, dim); (0, 0) where there is no user."""
