"""The seventh revision: images that a safety filter refused, and by what rule a shard's images were let through."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "refused",
        sa.Column("generator_digest", sa.BigInteger(), nullable=False),
        sa.Column("user_key", sa.BigInteger(), nullable=False),
        sa.Column("operating_point_digest", sa.BigInteger(), nullable=False),
        sa.Column("condition_digest", sa.BigInteger(), nullable=False),
        sa.Column("variant", sa.SmallInteger(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("rule", sa.String(length=255), nullable=False),
        sa.Column("night_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint(
            "generator_digest",
            "user_key",
            "operating_point_digest",
            "condition_digest",
            "variant",
            name=op.f("pk_refused"),
        ),
        sqlite_with_rowid=False,
    )
    op.add_column("shard", sa.Column("safety", sa.String(length=255), nullable=True))


def downgrade() -> None:
    op.drop_column("shard", "safety")
    op.drop_table("refused")
