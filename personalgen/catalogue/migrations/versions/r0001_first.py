"""The first revision: nights, models, users, items, shards, assets, and what users see."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON_DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "asset",
        sa.Column("asset_id", BIG_KEY, nullable=False),
        sa.Column("user_key", sa.BigInteger(), nullable=False),
        sa.Column("generator_digest", sa.BigInteger(), nullable=False),
        sa.Column("condition_digest", sa.BigInteger(), nullable=False),
        sa.Column("operating_point_digest", sa.BigInteger(), nullable=False),
        sa.Column("variant", sa.SmallInteger(), nullable=False),
        sa.Column("night_id", sa.BigInteger(), nullable=False),
        sa.Column("model_version_id", sa.BigInteger(), nullable=False),
        sa.Column("shard_id", sa.BigInteger(), nullable=False),
        sa.Column("member", sa.String(length=64), nullable=False),
        sa.Column("shard_offset", sa.BigInteger(), nullable=False),
        sa.Column("byte_length", sa.Integer(), nullable=False),
        sa.Column("crc32", sa.BigInteger(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("score", sa.Float()),
        sa.Column("n_events", sa.Integer(), nullable=False),
        sa.Column("top_events", JSON_DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("asset_id", name=op.f("pk_asset")),
        sa.UniqueConstraint(
            "generator_digest",
            "user_key",
            "operating_point_digest",
            "condition_digest",
            "variant",
            name="uq_asset_natural_key",
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_asset_night_id_score", "asset", ["night_id", "score"])
    op.create_table(
        "night",
        sa.Column("night_id", BIG_KEY, nullable=False),
        sa.Column("night_key", sa.String(length=32), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("source_digest", sa.String(length=64), nullable=False),
        sa.Column("config_digest", sa.String(length=32), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("mlflow_run_id", sa.String(length=32)),
        sa.Column("prefect_flow_run_id", sa.String(length=36)),
        sa.Column("counts", JSON_DOCUMENT),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("night_id", name=op.f("pk_night")),
        sa.UniqueConstraint("night_key", name=op.f("uq_night_night_key")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "item",
        sa.Column("item_key", BIG_KEY, nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text()),
        sa.Column("split", sa.String(length=8), nullable=False),
        sa.Column("image_sha256", sa.String(length=64)),
        sa.Column("first_night_id", sa.BigInteger()),
        sa.ForeignKeyConstraint(["first_night_id"], ["night.night_id"], name=op.f("fk_item_first_night_id")),
        sa.PrimaryKeyConstraint("item_key", name=op.f("pk_item")),
        sa.UniqueConstraint("item_id", name=op.f("uq_item_item_id")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "model_version",
        sa.Column("model_version_id", BIG_KEY, nullable=False),
        sa.Column("model_name", sa.String(length=128), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("generator_sha256", sa.String(length=64), nullable=False),
        sa.Column("generator_digest", sa.BigInteger(), nullable=False),
        sa.Column("basis_version", sa.String(length=32), nullable=False),
        sa.Column("condition_spec", JSON_DOCUMENT, nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("mlflow_run_id", sa.String(length=32)),
        sa.Column("night_id", sa.BigInteger()),
        sa.Column("verdict", JSON_DOCUMENT),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["night_id"], ["night.night_id"], name=op.f("fk_model_version_night_id")),
        sa.PrimaryKeyConstraint("model_version_id", name=op.f("pk_model_version")),
        sa.UniqueConstraint("generator_digest", name=op.f("uq_model_version_generator_digest")),
        sa.UniqueConstraint("generator_sha256", name=op.f("uq_model_version_generator_sha256")),
        sa.UniqueConstraint("model_name", "version", name=op.f("uq_model_version_model_name_version")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "quarantine",
        sa.Column("quarantine_id", BIG_KEY, nullable=False),
        sa.Column("night_id", sa.BigInteger(), nullable=False),
        sa.Column("source_table", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("n_rows", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["night_id"], ["night.night_id"], name=op.f("fk_quarantine_night_id")),
        sa.PrimaryKeyConstraint("quarantine_id", name=op.f("pk_quarantine")),
        sa.UniqueConstraint(
            "night_id", "source_table", "reason", name=op.f("uq_quarantine_night_id_source_table_reason")
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "user",
        sa.Column("user_key", BIG_KEY, nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("segment", sa.Text()),
        sa.Column("opted_out", sa.Boolean(), nullable=False),
        sa.Column("listed", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("first_night_id", sa.BigInteger()),
        sa.ForeignKeyConstraint(["first_night_id"], ["night.night_id"], name=op.f("fk_user_first_night_id")),
        sa.PrimaryKeyConstraint("user_key", name=op.f("pk_user")),
        sa.UniqueConstraint("user_id", name=op.f("uq_user_user_id")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "live_release",
        sa.Column("release_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("model_version_id", sa.BigInteger(), nullable=False),
        sa.Column("generator_digest", sa.BigInteger(), nullable=False),
        sa.Column("basis_version", sa.String(length=32), nullable=False),
        sa.Column("operating_point_digest", sa.BigInteger(), nullable=False),
        sa.Column("operating_point", JSON_DOCUMENT, nullable=False),
        sa.Column("night_id", sa.BigInteger()),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("release_id = 1", name=op.f("ck_live_release_one_row")),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_version.model_version_id"], name=op.f("fk_live_release_model_version_id")
        ),
        sa.ForeignKeyConstraint(["night_id"], ["night.night_id"], name=op.f("fk_live_release_night_id")),
        sa.PrimaryKeyConstraint("release_id", name=op.f("pk_live_release")),
    )
    op.create_table(
        "model_promotion",
        sa.Column("promotion_id", BIG_KEY, nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("from_model_version_id", sa.BigInteger()),
        sa.Column("to_model_version_id", sa.BigInteger(), nullable=False),
        sa.Column("night_id", sa.BigInteger()),
        sa.Column("operating_point_digest", sa.BigInteger()),
        sa.Column("operating_point", JSON_DOCUMENT),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("verdict", JSON_DOCUMENT),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["from_model_version_id"],
            ["model_version.model_version_id"],
            name=op.f("fk_model_promotion_from_model_version_id"),
        ),
        sa.ForeignKeyConstraint(["night_id"], ["night.night_id"], name=op.f("fk_model_promotion_night_id")),
        sa.ForeignKeyConstraint(
            ["to_model_version_id"],
            ["model_version.model_version_id"],
            name=op.f("fk_model_promotion_to_model_version_id"),
        ),
        sa.PrimaryKeyConstraint("promotion_id", name=op.f("pk_model_promotion")),
        sa.UniqueConstraint(
            "night_id",
            "action",
            "to_model_version_id",
            name=op.f("uq_model_promotion_night_id_action_to_model_version_id"),
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "shard",
        sa.Column("shard_id", BIG_KEY, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("byte_length", sa.BigInteger(), nullable=False),
        sa.Column("n_assets", sa.Integer(), nullable=False),
        sa.Column("encoder", sa.String(length=32), nullable=False),
        sa.Column("operating_point_digest", sa.BigInteger(), nullable=False),
        sa.Column("operating_point", JSON_DOCUMENT, nullable=False),
        sa.Column("night_id", sa.BigInteger(), nullable=False),
        sa.Column("model_version_id", sa.BigInteger(), nullable=False),
        sa.Column("mlflow_run_id", sa.String(length=32)),
        sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_version.model_version_id"], name=op.f("fk_shard_model_version_id")
        ),
        sa.ForeignKeyConstraint(["night_id"], ["night.night_id"], name=op.f("fk_shard_night_id")),
        sa.PrimaryKeyConstraint("shard_id", name=op.f("pk_shard")),
        sa.UniqueConstraint("path", name=op.f("uq_shard_path")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_shard_night_id"), "shard", ["night_id"])
    op.create_table(
        "user_current",
        sa.Column("generator_digest", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("user_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("asset_id", sa.BigInteger(), nullable=False),
        sa.Column("previous_asset_id", sa.BigInteger()),
        sa.Column("condition", sa.LargeBinary(), nullable=False),
        sa.Column("changed_night_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["asset_id"], ["asset.asset_id"], name=op.f("fk_user_current_asset_id")),
        sa.ForeignKeyConstraint(
            ["changed_night_id"], ["night.night_id"], name=op.f("fk_user_current_changed_night_id")
        ),
        sa.ForeignKeyConstraint(["user_key"], ["user.user_key"], name=op.f("fk_user_current_user_key")),
        sa.PrimaryKeyConstraint("generator_digest", "user_key", name=op.f("pk_user_current")),
    )


def downgrade() -> None:
    op.drop_table("user_current")
    op.drop_index(op.f("ix_shard_night_id"), table_name="shard")
    op.drop_table("shard")
    op.drop_table("model_promotion")
    op.drop_table("live_release")
    op.drop_table("user")
    op.drop_table("quarantine")
    op.drop_table("model_version")
    op.drop_table("item")
    op.drop_table("night")
    op.drop_index("ix_asset_night_id_score", table_name="asset")
    op.drop_table("asset")
