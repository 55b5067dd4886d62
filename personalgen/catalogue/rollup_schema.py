"""Tables that hold answers, so that a question about ten million images reads a few rows. `schema` re-exports them.

Each is written in the transaction that makes it true: `daily_stat` and `user_change` with the shard, `asset_rating`
with the rating, `user_summary` when the history was read.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from personalgen.catalogue.column_types import BigKey, Json, UtcDateTime
from personalgen.catalogue.metadata import METADATA

daily_stat = Table(
    "daily_stat",
    METADATA,
    Column("night_id", BigInteger, ForeignKey("night.night_id"), primary_key=True, autoincrement=False),
    Column(
        "model_version_id",
        BigInteger,
        ForeignKey("model_version.model_version_id"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("segment", Text, primary_key=True),
    Column("n_images", BigInteger, nullable=False),
    Column("n_users", BigInteger, nullable=False),
    Column("n_changed", BigInteger, nullable=False),
    Column("n_bytes", BigInteger, nullable=False),
    Column("n_scored", BigInteger, nullable=False),
    Column("score_sum", Float, nullable=False),
    Column("first_asset_id", BigInteger),
    Column("last_asset_id", BigInteger),
    sqlite_with_rowid=False,
)
"""What a night made with a model for a segment ('': users without one), by the segment that users had at that moment.

n_users: users whose first picture (variant 0) was made. n_changed: users who see another picture of this model than
before; one whose old picture stands again counts, though nothing was made. first_asset_id, last_asset_id: the range
in which these images lie, so that a night's newest are found without an index of their own; null where none was made.
"""

_MOVED = "old_asset_id <> new_asset_id"
user_change = Table(
    "user_change",
    METADATA,
    Column("night_id", BigInteger, primary_key=True, autoincrement=False),
    Column("generator_digest", BigInteger, primary_key=True, autoincrement=False),
    Column("user_key", BigInteger, primary_key=True, autoincrement=False),
    Column("old_asset_id", BigInteger, nullable=False),
    Column("new_asset_id", BigInteger, nullable=False),
    Column("shift", Float, nullable=False),
    Index(
        "ix_user_change_shift",
        "night_id",
        "shift",
        "generator_digest",
        "user_key",
        sqlite_where=text(_MOVED),
        postgresql_where=text(_MOVED),
    ),
    sqlite_with_rowid=False,
)
"""A user whose current asset under a generator became another one in a night; a first asset is no change.

old_asset_id: at the start of the night, new_asset_id: at its end; equal for who came back within it. shift: 1 - cosine
of the conditions at the last move, 0 to 2. No foreign keys, like `asset`: `rollups.changes_recorded` is the only
writer."""

user_summary = Table(
    "user_summary",
    METADATA,
    Column("user_key", BigInteger, ForeignKey("user.user_key"), primary_key=True, autoincrement=False),
    Column("n_events", Integer, nullable=False),
    Column("n_likes", Integer, nullable=False),
    Column("first_event_at", UtcDateTime, nullable=False),
    Column("last_event_at", UtcDateTime, nullable=False),
    Column("night_id", BigInteger, ForeignKey("night.night_id"), nullable=False),
)
"""What the newest night read of a user's history; who has no event has no row. n_likes: events of positive weight."""

rating = Table(
    "rating",
    METADATA,
    Column("rating_id", BigKey, primary_key=True),
    Column("asset_id", BigInteger, ForeignKey("asset.asset_id"), nullable=False),
    Column("user_key", BigInteger, ForeignKey("user.user_key"), nullable=False, index=True),
    Column("rater", String(128), nullable=False),
    Column("value", Float, nullable=False),
    Column("source", String(16), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    UniqueConstraint("asset_id", "rater"),
    CheckConstraint("value BETWEEN -1 AND 1", name="value"),
    CheckConstraint("source IN ('terminal', 'notebook', 'gallery', 'product')", name="source"),
    sqlite_autoincrement=True,
)
"""A person's opinion of an asset: -1 dislikes it, 1 likes it. user_key: for whom the asset was made; rater: who said
so, as text, often the same person. A second opinion of the same rater replaces the first."""

asset_rating = Table(
    "asset_rating",
    METADATA,
    Column("asset_id", BigInteger, ForeignKey("asset.asset_id"), primary_key=True, autoincrement=False),
    Column("user_key", BigInteger, ForeignKey("user.user_key"), nullable=False, index=True),
    Column("night_id", BigInteger, nullable=False),
    Column("n_ratings", Integer, nullable=False),
    Column("mean", Float, nullable=False),
    Index("ix_asset_rating_best", "night_id", "mean", "n_ratings", "asset_id", "user_key"),
)
"""The ratings of an asset together, beside the night that made it and for whom: what the best-rated are found by."""

data_health = Table(
    "data_health",
    METADATA,
    Column("night_id", BigInteger, ForeignKey("night.night_id"), primary_key=True, autoincrement=False),
    Column("source_table", String(64), primary_key=True),
    Column("check_name", String(255), primary_key=True),
    Column("value", Float),
    Column("expected", Float),
    Column("low", Float),
    Column("high", Float),
    Column("status", String(16), nullable=False),
    Column("counts", Json),
    sqlite_with_rowid=False,
)
"""What a figure of a source's table was in a night, and what it was expected to be (`tables.health.Check`).

counts: the histogram behind it, which later nights compare theirs with."""
