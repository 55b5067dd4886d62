"""The third revision: blind choices between two models' pictures."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "comparison",
        sa.Column("comparison_id", BIG_KEY, nullable=False),
        sa.Column("night_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_key", sa.BigInteger(), nullable=False),
        sa.Column("left_generator_digest", sa.BigInteger(), nullable=False),
        sa.Column("right_generator_digest", sa.BigInteger(), nullable=False),
        sa.Column("left_variant", sa.SmallInteger(), nullable=False),
        sa.Column("right_variant", sa.SmallInteger(), nullable=False),
        sa.Column("operating_point_digest", sa.BigInteger(), nullable=False),
        sa.Column("winner", sa.String(length=8), nullable=False),
        sa.Column("voter", sa.String(length=128), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.CheckConstraint("winner IN ('left', 'right', 'tie')", name=op.f("ck_comparison_winner")),
        sa.CheckConstraint("source IN ('terminal', 'notebook', 'gallery')", name=op.f("ck_comparison_source")),
        sa.ForeignKeyConstraint(["night_id"], ["night.night_id"], name=op.f("fk_comparison_night_id")),
        sa.ForeignKeyConstraint(["user_key"], ["user.user_key"], name=op.f("fk_comparison_user_key")),
        sa.PrimaryKeyConstraint("comparison_id", name=op.f("pk_comparison")),
        sa.UniqueConstraint(
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
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_comparison_user_key"), "comparison", ["user_key"])


def downgrade() -> None:
    op.drop_index(op.f("ix_comparison_user_key"), table_name="comparison")
    op.drop_table("comparison")
