"""The second revision: recommendations, neighbours, and the ledger of who was forgotten."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON_DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column("user", sa.Column("forgotten", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_table(
        "recommendation",
        sa.Column("user_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("rank", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("item_key", sa.BigInteger(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("night_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_key", "rank", name=op.f("pk_recommendation")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_recommendation_item_key"), "recommendation", ["item_key"])
    op.create_table(
        "item_neighbour",
        sa.Column("item_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("rank", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("neighbour_key", sa.BigInteger(), nullable=False),
        sa.Column("cosine", sa.Float(), nullable=False),
        sa.Column("night_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("item_key", "rank", name=op.f("pk_item_neighbour")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "user_neighbour",
        sa.Column("user_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("rank", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("neighbour_key", sa.BigInteger(), nullable=False),
        sa.Column("cosine", sa.Float(), nullable=False),
        sa.Column("night_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_key", "rank", name=op.f("pk_user_neighbour")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "forgotten",
        sa.Column("forgotten_id", BIG_KEY, nullable=False),
        sa.Column("user_key", sa.BigInteger(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("statistics_exact", sa.Boolean(), nullable=False),
        sa.Column("removed", JSON_DOCUMENT, nullable=False),
        sa.Column("coefficients_night_id", sa.BigInteger()),
        sa.Column("coefficients_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(
            ["coefficients_night_id"], ["night.night_id"], name=op.f("fk_forgotten_coefficients_night_id")
        ),
        sa.ForeignKeyConstraint(["user_key"], ["user.user_key"], name=op.f("fk_forgotten_user_key")),
        sa.PrimaryKeyConstraint("forgotten_id", name=op.f("pk_forgotten")),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    op.drop_table("forgotten")
    op.drop_table("user_neighbour")
    op.drop_table("item_neighbour")
    op.drop_index(op.f("ix_recommendation_item_key"), table_name="recommendation")
    op.drop_table("recommendation")
    op.drop_column("user", "forgotten")
