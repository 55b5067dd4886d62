"""The eleventh revision: what stands for a user has no foreign keys, like the assets that it points at.

Its only writer looks users and assets up. On PostgreSQL the three keys and the index of assets were half of what a
changed user cost.
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_REFERENCES = {
    "asset_id": ("asset", "asset_id"),
    "changed_night_id": ("night", "night_id"),
    "user_key": ("user", "user_key"),
}


def upgrade() -> None:
    op.drop_index(op.f("ix_user_current_asset_id"), table_name="user_current")
    with op.batch_alter_table("user_current") as table:
        for column in _REFERENCES:
            table.drop_constraint(op.f(f"fk_user_current_{column}"), type_="foreignkey")


def downgrade() -> None:
    with op.batch_alter_table("user_current") as table:
        for column, (other, key) in _REFERENCES.items():
            table.create_foreign_key(op.f(f"fk_user_current_{column}"), other, [column], [key])
    op.create_index(op.f("ix_user_current_asset_id"), "user_current", ["asset_id"])
