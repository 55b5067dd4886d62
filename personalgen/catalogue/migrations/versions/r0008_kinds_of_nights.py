"""The eighth revision: what kind of night a night is; those of before were all nightly."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("night", sa.Column("kind", sa.String(length=16), nullable=False, server_default="nightly"))


def downgrade() -> None:
    op.drop_column("night", "kind")
