"""The sixth revision: intents and receipts of erasing people and deleting nights."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column("forgotten", sa.Column("erased_at", sa.DateTime(timezone=True)))
    op.add_column("forgotten", sa.Column("receipt", JSON))
    op.create_index(op.f("ix_user_current_asset_id"), "user_current", ["asset_id"])
    op.create_table(
        "erasure",
        sa.Column("user_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("removed", JSON, nullable=False),
        sa.Column("shards", JSON, nullable=False),
        sa.ForeignKeyConstraint(["user_key"], ["user.user_key"], name=op.f("fk_erasure_user_key")),
        sa.PrimaryKeyConstraint("user_key", name=op.f("pk_erasure")),
    )
    op.create_table(
        "removal",
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_removal")),
    )
    op.create_table(
        "night_deletion",
        sa.Column("night_deletion_id", BIG_KEY, nullable=False),
        sa.Column("night_id", sa.BigInteger(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("removed", JSON, nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(["night_id"], ["night.night_id"], name=op.f("fk_night_deletion_night_id")),
        sa.PrimaryKeyConstraint("night_deletion_id", name=op.f("pk_night_deletion")),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    for table in ("night_deletion", "removal", "erasure"):
        op.drop_table(table)
    op.drop_index(op.f("ix_user_current_asset_id"), table_name="user_current")
    op.drop_column("forgotten", "receipt")
    op.drop_column("forgotten", "erased_at")
