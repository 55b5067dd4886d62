"""The fifth revision: ratings, and the tables that hold answers."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _make_rollups()
    _make_ratings()
    op.create_index(op.f("ix_user_segment"), "user", ["segment"])
    _count_what_is_there()


def _make_rollups() -> None:
    op.create_table(
        "daily_stat",
        sa.Column("night_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("model_version_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("segment", sa.Text(), nullable=False),
        sa.Column("n_images", sa.BigInteger(), nullable=False),
        sa.Column("n_users", sa.BigInteger(), nullable=False),
        sa.Column("n_changed", sa.BigInteger(), nullable=False),
        sa.Column("n_bytes", sa.BigInteger(), nullable=False),
        sa.Column("n_scored", sa.BigInteger(), nullable=False),
        sa.Column("score_sum", sa.Float(), nullable=False),
        sa.Column("first_asset_id", sa.BigInteger()),
        sa.Column("last_asset_id", sa.BigInteger()),
        sa.ForeignKeyConstraint(["night_id"], ["night.night_id"], name=op.f("fk_daily_stat_night_id")),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_version.model_version_id"], name=op.f("fk_daily_stat_model_version_id")
        ),
        sa.PrimaryKeyConstraint("night_id", "model_version_id", "segment", name=op.f("pk_daily_stat")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "user_change",
        sa.Column("night_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("generator_digest", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("user_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("old_asset_id", sa.BigInteger(), nullable=False),
        sa.Column("new_asset_id", sa.BigInteger(), nullable=False),
        sa.Column("shift", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("night_id", "generator_digest", "user_key", name=op.f("pk_user_change")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_user_change_shift", "user_change", ["night_id", "shift", "generator_digest", "user_key"])
    op.create_table(
        "user_summary",
        sa.Column("user_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("n_events", sa.Integer(), nullable=False),
        sa.Column("n_likes", sa.Integer(), nullable=False),
        sa.Column("first_event_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_event_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("night_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_key"], ["user.user_key"], name=op.f("fk_user_summary_user_key")),
        sa.ForeignKeyConstraint(["night_id"], ["night.night_id"], name=op.f("fk_user_summary_night_id")),
        sa.PrimaryKeyConstraint("user_key", name=op.f("pk_user_summary")),
    )


def _make_ratings() -> None:
    op.create_table(
        "rating",
        sa.Column("rating_id", BIG_KEY, nullable=False),
        sa.Column("asset_id", sa.BigInteger(), nullable=False),
        sa.Column("user_key", sa.BigInteger(), nullable=False),
        sa.Column("rater", sa.String(length=128), nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("value BETWEEN -1 AND 1", name=op.f("ck_rating_value")),
        sa.CheckConstraint("source IN ('terminal', 'notebook', 'gallery', 'product')", name=op.f("ck_rating_source")),
        sa.ForeignKeyConstraint(["asset_id"], ["asset.asset_id"], name=op.f("fk_rating_asset_id")),
        sa.ForeignKeyConstraint(["user_key"], ["user.user_key"], name=op.f("fk_rating_user_key")),
        sa.PrimaryKeyConstraint("rating_id", name=op.f("pk_rating")),
        sa.UniqueConstraint("asset_id", "rater", name=op.f("uq_rating_asset_id_rater")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_rating_user_key"), "rating", ["user_key"])
    op.create_table(
        "asset_rating",
        sa.Column("asset_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("user_key", sa.BigInteger(), nullable=False),
        sa.Column("night_id", sa.BigInteger(), nullable=False),
        sa.Column("n_ratings", sa.Integer(), nullable=False),
        sa.Column("mean", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["asset_id"], ["asset.asset_id"], name=op.f("fk_asset_rating_asset_id")),
        sa.ForeignKeyConstraint(["user_key"], ["user.user_key"], name=op.f("fk_asset_rating_user_key")),
        sa.PrimaryKeyConstraint("asset_id", name=op.f("pk_asset_rating")),
    )
    op.create_index(op.f("ix_asset_rating_user_key"), "asset_rating", ["user_key"])
    op.create_index("ix_asset_rating_best", "asset_rating", ["night_id", "mean", "n_ratings", "asset_id"])


def _count_what_is_there() -> None:
    """Fill the roll-up of nights from before it was kept; who changed then is not known any more."""
    op.execute("""
        INSERT INTO daily_stat (night_id, model_version_id, segment, n_images, n_users, n_changed, n_bytes, n_scored,
                                score_sum, first_asset_id, last_asset_id)
        SELECT a.night_id, a.model_version_id, COALESCE(u.segment, ''), COUNT(*),
               COUNT(DISTINCT CASE WHEN a.variant = 0 THEN a.user_key END), 0, SUM(a.byte_length), COUNT(a.score),
               COALESCE(SUM(a.score), 0), MIN(a.asset_id), MAX(a.asset_id)
        FROM asset a
        JOIN night n ON n.night_id = a.night_id
        JOIN model_version m ON m.model_version_id = a.model_version_id
        LEFT JOIN "user" u ON u.user_key = a.user_key
        GROUP BY a.night_id, a.model_version_id, COALESCE(u.segment, '')
    """)


def downgrade() -> None:
    op.drop_index(op.f("ix_user_segment"), table_name="user")
    op.drop_table("asset_rating")
    op.drop_table("rating")
    op.drop_table("user_summary")
    op.drop_table("user_change")
    op.drop_table("daily_stat")
