"""The tables, with names, keys and types that stand: later revisions add columns and tables, they do not re-key.

Surrogate keys are AUTOINCREMENT on SQLite (about 0.5 us a row), so that no id ever comes back with another meaning
after a deletion. Digests are the first 64 bits of a hash with the top bit cleared: they fit a signed column.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    true,
)

from personalgen.catalogue.column_types import BigKey, Json, UtcDateTime
from personalgen.catalogue.metadata import METADATA
from personalgen.catalogue.removal_schema import erasure, forgotten, night_deletion, refused, removal
from personalgen.catalogue.rollup_schema import (
    asset_rating,
    daily_stat,
    data_health,
    rating,
    user_change,
    user_summary,
)

__all__ = [
    "METADATA", "asset", "asset_rating", "comparison", "daily_stat", "data_health", "erasure", "forgotten", "is_silent",
    "item", "item_neighbour", "live_release", "model_promotion", "model_version", "night", "night_deletion",
    "quarantine", "rating", "recommendation", "refused", "removal", "shard", "user", "user_change", "user_current",
    "user_neighbour", "user_summary", "user_variant",
]  # fmt: skip

night = Table(
    "night",
    METADATA,
    Column("night_id", BigKey, primary_key=True),
    Column("night_key", String(32), nullable=False, unique=True),
    Column("source", Text, nullable=False),
    Column("as_of", UtcDateTime, nullable=False),
    Column("day", Date, nullable=False),
    Column("source_digest", String(64), nullable=False),
    Column("config_digest", String(32), nullable=False),
    Column("status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("mlflow_run_id", String(32)),
    Column("prefect_flow_run_id", String(36)),
    Column("counts", Json),
    Column("created_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("kind", String(16), nullable=False, server_default="nightly"),
    sqlite_autoincrement=True,
)
"""A logical unit of work: (source, as_of, source digest, config digest). Attempts and runs are columns, never keys.

status: running, done, failed, killed (its process ended without a word; a later night found it so) or deleted. kind:
nightly, retrain, generate or backfill."""

model_version = Table(
    "model_version",
    METADATA,
    Column("model_version_id", BigKey, primary_key=True),
    Column("model_name", String(128), nullable=False),
    Column("version", Integer, nullable=False),
    Column("generator_sha256", String(64), nullable=False, unique=True),
    Column("generator_digest", BigInteger, nullable=False, unique=True),
    Column("basis_version", String(32), nullable=False),
    Column("condition_spec", Json, nullable=False),
    Column("folder", Text, nullable=False),
    Column("mlflow_run_id", String(32)),
    Column("night_id", BigInteger, ForeignKey("night.night_id")),
    Column("verdict", Json),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("model_name", "version"),
    sqlite_autoincrement=True,
)
"""A registered generator. Its identity is the sha256 of generator.safetensors, which lies in `folder` with its card.

night_id: the night that trained it, null for an imported snapshot. verdict: what the evaluation said of it."""

user = Table(
    "user",
    METADATA,
    Column("user_key", BigKey, primary_key=True),
    Column("user_id", Text, nullable=False, unique=True),
    Column("segment", Text, index=True),
    Column("opted_out", Boolean, nullable=False),
    Column("listed", Boolean, nullable=False, server_default=true()),
    Column("first_night_id", BigInteger, ForeignKey("night.night_id")),
    Column("forgotten", Boolean, nullable=False, server_default=false()),
    sqlite_autoincrement=True,
)
"""A person: the canonical id (at most 255 bytes) and the int64 key that stands for it in bulk rows, never re-used.

Silent is who opted out, is not listed or was forgotten: no live image, no recommendation, no neighbour.
listed: whether the source named this person when it was last read. forgotten: set by `write.record_forgotten` alone,
and for ever: no source says otherwise."""

is_silent = user.c.opted_out | ~user.c.listed | user.c.forgotten
"""Whether a user is silent, as a condition on `user`."""

item = Table(
    "item",
    METADATA,
    Column("item_key", BigKey, primary_key=True),
    Column("item_id", Text, nullable=False, unique=True),
    Column("title", Text),
    Column("split", String(8), nullable=False),
    Column("image_sha256", String(64)),
    Column("first_night_id", BigInteger, ForeignKey("night.night_id")),
    sqlite_autoincrement=True,
)
"""A thing in a user's history. split: train, judge or test, by hash of the id, fixed for ever."""

shard = Table(
    "shard",
    METADATA,
    Column("shard_id", BigKey, primary_key=True),
    Column("path", Text, nullable=False, unique=True),
    Column("sha256", String(64), nullable=False),
    Column("byte_length", BigInteger, nullable=False),
    Column("n_assets", Integer, nullable=False),
    Column("encoder", String(32), nullable=False),
    Column("operating_point_digest", BigInteger, nullable=False),
    Column("operating_point", Json, nullable=False),
    Column("night_id", BigInteger, ForeignKey("night.night_id"), nullable=False, index=True),
    Column("model_version_id", BigInteger, ForeignKey("model_version.model_version_id"), nullable=False),
    Column("mlflow_run_id", String(32)),
    Column("sealed_at", UtcDateTime, nullable=False),
    Column("safety", String(255)),
    sqlite_autoincrement=True,
)
"""A sealed tar of images of one model at one operating point; `path` is relative to the shard root, in posix form.

safety: the filter, its version and the threshold that its images passed; null where nothing looked."""

asset = Table(
    "asset",
    METADATA,
    Column("asset_id", BigKey, primary_key=True),
    Column("user_key", BigInteger, nullable=False),
    Column("generator_digest", BigInteger, nullable=False),
    Column("condition_digest", BigInteger, nullable=False),
    Column("operating_point_digest", BigInteger, nullable=False),
    Column("variant", SmallInteger, nullable=False),
    Column("night_id", BigInteger, nullable=False),
    Column("model_version_id", BigInteger, nullable=False),
    Column("shard_id", BigInteger, nullable=False),
    Column("member", String(64), nullable=False),
    Column("shard_offset", BigInteger, nullable=False),
    Column("byte_length", Integer, nullable=False),
    Column("crc32", BigInteger, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("score", Float),
    Column("n_events", Integer, nullable=False),
    Column("top_events", Json, nullable=False),
    # Rows arrive sorted by user and belong to one generator. Led by the generator, a night writes one ascending run of
    # leaf pages; led by the user, every row would dirty a page of its own among all earlier nights (62k against 256k
    # rows/s at 10 million rows). The user comes second, so that the planner's range of users and one person's history
    # (the few generators x one user) are short scans; a condition's variants lie side by side.
    UniqueConstraint(
        "generator_digest",
        "user_key",
        "operating_point_digest",
        "condition_digest",
        "variant",
        name="uq_asset_natural_key",
    ),
    # With all that a question about the best of a segment reads, so that no row is fetched that is not shown.
    Index("ix_asset_best", "night_id", "score", "asset_id", "user_key"),
    sqlite_autoincrement=True,
)
"""One generated image. night_id: the night that made it, later ones re-use it. shard_offset: its first byte in the tar.
top_events: [{item_id, weight, timestamp}, ...], the events that weighed most in the preference.

No foreign keys here: on PostgreSQL four of them make the bulk insert four times dearer (20 us a row against 5).
`shards.commit_shard`, the only writer, checks the user, model and night of every row in its transaction instead."""

user_current = Table(
    "user_current",
    METADATA,
    Column("generator_digest", BigInteger, primary_key=True, autoincrement=False),
    Column("user_key", BigInteger, primary_key=True, autoincrement=False),
    Column("asset_id", BigInteger, nullable=False),
    Column("previous_asset_id", BigInteger),
    Column("condition", LargeBinary, nullable=False),
    Column("changed_night_id", BigInteger, nullable=False),
)
"""The asset (variant 0) that stands for a user under a generator, and its condition (little-endian float32).

No foreign keys, like `asset`: every user who changed costs a row here. `catalogue.shards`, its only writer, looks users
and assets up; `deletions` refuses a night that stands for anybody."""

user_variant = Table(
    "user_variant",
    METADATA,
    Column("generator_digest", BigInteger, primary_key=True, autoincrement=False),
    Column("user_key", BigInteger, primary_key=True, autoincrement=False),
    Column("variant", SmallInteger, primary_key=True, autoincrement=False),
    Column("asset_id", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""The further images (variant 1 and up) of those that stand for a user under a generator, beside `user_current`.

Each has a condition of its own, so that they are not found by the first one's. Written with `user_current` and nowhere
else (`catalogue.shards`), which looks ids up; no foreign keys, like `asset`."""

live_release = Table(
    "live_release",
    METADATA,
    Column("release_id", Integer, primary_key=True, autoincrement=False),
    Column("model_version_id", BigInteger, ForeignKey("model_version.model_version_id"), nullable=False),
    Column("generator_digest", BigInteger, nullable=False),
    Column("basis_version", String(32), nullable=False),
    Column("operating_point_digest", BigInteger, nullable=False),
    Column("operating_point", Json, nullable=False),
    Column("night_id", BigInteger, ForeignKey("night.night_id")),
    Column("moved_at", UtcDateTime, nullable=False),
    CheckConstraint("release_id = 1", name="one_row"),
)
"""What users see: one row, the truth that the registry's alias follows. night_id is null after a manual move."""

model_promotion = Table(
    "model_promotion",
    METADATA,
    Column("promotion_id", BigKey, primary_key=True),
    Column("action", String(16), nullable=False),
    Column("from_model_version_id", BigInteger, ForeignKey("model_version.model_version_id")),
    Column("to_model_version_id", BigInteger, ForeignKey("model_version.model_version_id"), nullable=False),
    Column("night_id", BigInteger, ForeignKey("night.night_id")),
    Column("operating_point_digest", BigInteger),
    Column("operating_point", Json),
    Column("reason", Text, nullable=False),
    Column("verdict", Json),
    Column("actor", Text, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    UniqueConstraint("night_id", "action", "to_model_version_id"),
    sqlite_autoincrement=True,
)
"""Every decision about the live model: promote, hold, rollback or manual; a night writes each of its decisions once.

operating_point: what the pointer was moved to, null for hold; a rollback restores it."""

quarantine = Table(
    "quarantine",
    METADATA,
    Column("quarantine_id", BigKey, primary_key=True),
    Column("night_id", BigInteger, ForeignKey("night.night_id"), nullable=False),
    Column("source_table", String(64), nullable=False),
    Column("reason", String(64), nullable=False),
    Column("n_rows", Integer, nullable=False),
    Column("path", Text, nullable=False),
    UniqueConstraint("night_id", "source_table", "reason"),
    sqlite_autoincrement=True,
)
"""How many rows of a source a night set aside, why, and the Parquet file that holds them."""

recommendation = Table(
    "recommendation",
    METADATA,
    Column("user_key", BigInteger, primary_key=True, autoincrement=False),
    Column("rank", Integer, primary_key=True, autoincrement=False),
    Column("item_key", BigInteger, nullable=False, index=True),
    Column("score", Float, nullable=False),
    Column("night_id", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""What a user may like next, rank 1 the best; of the newest night alone. The index finds who is recommended an item.

The three tables of ranked rows have no foreign keys, like `asset`: `write.replace_recommendations` and its kind, their
only writers, look every id up. On SQLite the rows lie in the order of their key, without a second tree."""

item_neighbour = Table(
    "item_neighbour",
    METADATA,
    Column("item_key", BigInteger, primary_key=True, autoincrement=False),
    Column("rank", Integer, primary_key=True, autoincrement=False),
    Column("neighbour_key", BigInteger, nullable=False),
    Column("cosine", Float, nullable=False),
    Column("night_id", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""The items that are liked like an item, rank 1 the nearest; of the newest night alone."""

user_neighbour = Table(
    "user_neighbour",
    METADATA,
    Column("user_key", BigInteger, primary_key=True, autoincrement=False),
    Column("rank", Integer, primary_key=True, autoincrement=False),
    Column("neighbour_key", BigInteger, nullable=False),
    Column("cosine", Float, nullable=False),
    Column("night_id", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""The users whose taste is like a user's, rank 1 the nearest; of the newest night alone."""

comparison = Table(
    "comparison",
    METADATA,
    Column("comparison_id", BigKey, primary_key=True),
    Column("night_id", BigInteger, ForeignKey("night.night_id"), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("user_key", BigInteger, ForeignKey("user.user_key"), nullable=False, index=True),
    Column("left_generator_digest", BigInteger, nullable=False),
    Column("right_generator_digest", BigInteger, nullable=False),
    Column("left_variant", SmallInteger, nullable=False),
    Column("right_variant", SmallInteger, nullable=False),
    Column("operating_point_digest", BigInteger, nullable=False),
    Column("winner", String(8), nullable=False),
    Column("voter", String(128), nullable=False),
    Column("source", String(16), nullable=False),
    UniqueConstraint(
        "night_id",
        "user_key",
        "left_generator_digest",
        "right_generator_digest",
        "left_variant",
        "right_variant",
        "operating_point_digest",
        "voter",
        name="uq_comparison_natural_key",
    ),
    CheckConstraint("winner IN ('left', 'right', 'tie')", name="winner"),
    CheckConstraint("source IN ('terminal', 'notebook', 'gallery')", name="source"),
    sqlite_autoincrement=True,
)
"""One blind choice of a voter between two pictures for the same person, from the same night and operating point.

Models are named by their generators' digests, as assets are: a challenger is chosen or not before it has a version, and
a snapshot that a night started from never gets one. A picture's variant and the person give its seed. The same vote
entered twice is one row; a vote that a voter changed is the newer one."""
