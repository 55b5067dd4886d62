"""The fourth revision: the further images that stand for a user, each with a condition of its own."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "user_variant",
        sa.Column("generator_digest", sa.BigInteger(), nullable=False),
        sa.Column("user_key", sa.BigInteger(), nullable=False),
        sa.Column("variant", sa.SmallInteger(), nullable=False),
        sa.Column("asset_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("generator_digest", "user_key", "variant", name=op.f("pk_user_variant")),
        sqlite_with_rowid=False,
    )
    # until now a user's images had the first one's condition and operating point in common
    op.execute(
        """
        INSERT INTO user_variant (generator_digest, user_key, variant, asset_id)
        SELECT a.generator_digest, a.user_key, a.variant, a.asset_id
        FROM user_current uc
        JOIN asset c ON c.asset_id = uc.asset_id
        JOIN asset a ON a.generator_digest = c.generator_digest AND a.user_key = c.user_key
             AND a.operating_point_digest = c.operating_point_digest AND a.condition_digest = c.condition_digest
        WHERE a.variant > 0
        """
    )


def downgrade() -> None:
    op.drop_table("user_variant")
