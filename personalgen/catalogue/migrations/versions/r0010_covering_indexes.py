"""The tenth revision: the indexes of the best, the best rated and the most changed hold whose they are.

A question limited to a segment then looks at entries of an index, and not at rows all over a large table. Those who
came back within a night are not in the index of changes. At ten million images this takes a minute or two.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_MOVED = sa.text("old_asset_id <> new_asset_id")
_SHIFT = ["night_id", "shift", "generator_digest", "user_key"]


def upgrade() -> None:
    op.drop_index("ix_asset_night_id_score", table_name="asset")
    op.create_index("ix_asset_best", "asset", ["night_id", "score", "asset_id", "user_key"])
    op.drop_index("ix_asset_rating_best", table_name="asset_rating")
    op.create_index("ix_asset_rating_best", "asset_rating", ["night_id", "mean", "n_ratings", "asset_id", "user_key"])
    op.drop_index("ix_user_change_shift", table_name="user_change")
    op.create_index("ix_user_change_shift", "user_change", _SHIFT, sqlite_where=_MOVED, postgresql_where=_MOVED)


def downgrade() -> None:
    op.drop_index("ix_user_change_shift", table_name="user_change")
    op.create_index("ix_user_change_shift", "user_change", _SHIFT)
    op.drop_index("ix_asset_rating_best", table_name="asset_rating")
    op.create_index("ix_asset_rating_best", "asset_rating", ["night_id", "mean", "n_ratings", "asset_id"])
    op.drop_index("ix_asset_best", table_name="asset")
    op.create_index("ix_asset_night_id_score", "asset", ["night_id", "score"])
