"""The ninth revision: what the tables of each night looked like, beside what was expected of them."""

import sqlalchemy as sa
from alembic import op

from personalgen.catalogue.column_types import Json

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "data_health",
        sa.Column("night_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("source_table", sa.String(length=64), nullable=False),
        sa.Column("check_name", sa.String(length=255), nullable=False),
        sa.Column("value", sa.Float()),
        sa.Column("expected", sa.Float()),
        sa.Column("low", sa.Float()),
        sa.Column("high", sa.Float()),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("counts", Json),
        sa.ForeignKeyConstraint(["night_id"], ["night.night_id"], name=op.f("fk_data_health_night_id")),
        sa.PrimaryKeyConstraint("night_id", "source_table", "check_name", name=op.f("pk_data_health")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("data_health")
