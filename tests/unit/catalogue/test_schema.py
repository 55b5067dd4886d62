from dataclasses import fields

import pytest
from sqlalchemy import text

from personalgen.catalogue import views
from personalgen.catalogue.engine import transaction
from personalgen.catalogue.rows import AssetSummary
from personalgen.catalogue.schema import METADATA
from personalgen.catalogue.views import VIEWS, v_assets
from personalgen.errors import CatalogueError

FINAL_NAMES = {
    "night", "model_version", "user", "item", "shard", "asset", "user_current", "live_release", "model_promotion",
    "quarantine", "recommendation", "item_neighbour", "user_neighbour", "forgotten", "comparison", "user_variant",
    "refused", "daily_stat", "user_change", "user_summary", "rating", "asset_rating", "erasure", "removal",
    "night_deletion", "data_health",
}  # fmt: skip
VIEWS_OF_CORE = [
    "v_recommendations", "v_item_neighbours", "v_user_neighbours", "v_forgotten", "v_comparisons", "v_changed",
    "v_daily",
]  # fmt: skip
NATURAL_KEY = {"user_key", "generator_digest", "condition_digest", "operating_point_digest", "variant"}


def test_the_tables_have_their_final_names():
    """The tables of the design are there and no other."""
    assert set(METADATA.tables) == FINAL_NAMES


def test_the_natural_key_of_an_asset_is_unique():
    """An asset is unique by user, generator, condition, operating point and variant, led by the generator."""
    (key,) = (c for c in METADATA.tables["asset"].constraints if c.name == "uq_asset_natural_key")
    assert {column.name for column in key.columns} == NATURAL_KEY
    assert [column.name for column in key.columns][:2] == ["generator_digest", "user_key"]


def test_user_keys_are_never_used_again(engine):
    """After a user is deleted the next one gets a new key."""
    insert = text('INSERT INTO "user" (user_id, opted_out) VALUES (:id, FALSE) RETURNING user_key')
    with transaction(engine) as connection:
        first = connection.scalar(insert, {"id": "ada"})
        connection.execute(text('DELETE FROM "user"'))
        assert connection.scalar(insert, {"id": "bob"}) == first + 1


def test_there_is_one_live_release(engine):
    """A second row of live_release is refused."""
    row = (
        "INSERT INTO live_release (release_id, model_version_id, generator_digest, basis_version,"
        " operating_point_digest, operating_point, moved_at) VALUES (2, 1, 1, 'b', 1, '{}', '2026-01-01')"
    )
    with pytest.raises(CatalogueError, match=r"CHECK|check"), transaction(engine) as connection:
        connection.execute(text(row))


def test_the_asset_view_has_the_promised_columns_first(engine):
    """v_assets starts with the columns that exports share, and Core's picture of it is the real one."""
    with engine.connect() as connection:
        columns = list(connection.execute(text("SELECT * FROM v_assets")).keys())
    assert columns[:6] == ["asset_id", "user_id", "path", "model_version", "seed", "score"]
    assert columns == [column.name for column in v_assets.columns]


@pytest.mark.parametrize("view", VIEWS_OF_CORE)
def test_core_knows_the_columns_of_a_view(engine, view):
    """Typed reads ask for the columns that the view has, in its order."""
    with engine.connect() as connection:
        columns = list(connection.execute(text(f"SELECT * FROM {view}")).keys())
    assert columns == [column.name for column in getattr(views, view).columns]


@pytest.mark.parametrize("view", VIEWS)
def test_views_show_no_path_outside_the_shard_root(engine, view):
    """No view shows the folder of a model or of the quarantine."""
    with engine.connect() as connection:
        columns = set(connection.execute(text(f"SELECT * FROM {view}")).keys())
    assert columns.isdisjoint({"folder", "condition"})
    assert columns & {"path", "live_path"} == (
        {"path"} if view == "v_assets" else {"live_path"} if view == "v_users" else set()
    )


USER_IS_ADA = " AND user_key = (SELECT user_key FROM user WHERE user_id = 'ada')"


def plan(engine, statement):
    with engine.connect() as connection:
        return "\n".join(row[3] for row in connection.execute(text(f"EXPLAIN QUERY PLAN {statement}")))


@pytest.mark.sqlite_only
@pytest.mark.parametrize(
    ("statement", "index"),
    [
        ("SELECT asset_id FROM v_assets WHERE night_id = 7 ORDER BY score DESC LIMIT 10", "ix_asset_best"),
        (
            "SELECT * FROM v_assets WHERE asset_id < 900 ORDER BY asset_id DESC LIMIT 50",
            "USING INTEGER PRIMARY KEY (rowid<?)",
        ),
        ("SELECT * FROM v_assets WHERE asset_id = 900", "USING INTEGER PRIMARY KEY (rowid=?)"),
        (
            "SELECT asset_id FROM asset WHERE generator_digest IN (SELECT generator_digest FROM model_version)"
            + USER_IS_ADA,
            "(generator_digest=? AND user_key=?)",
        ),
        (
            "SELECT asset_id FROM asset WHERE generator_digest = 1 AND user_key BETWEEN 3 AND 9",
            "(generator_digest=? AND user_key>? AND user_key<?)",
        ),
        ("SELECT night_id, n_images FROM v_runs ORDER BY night_id DESC LIMIT 5", "ix_asset_best"),
        ("SELECT * FROM v_recommendations WHERE user_id = 'ada' ORDER BY rank", "r USING PRIMARY KEY (user_key=?)"),
        ("SELECT user_id FROM v_recommendations WHERE item_id = 'cup'", "ix_recommendation_item_key (item_key=?)"),
        ("SELECT * FROM v_item_neighbours WHERE item_id = 'cup' ORDER BY rank", "r USING PRIMARY KEY (item_key=?)"),
        ("SELECT * FROM v_user_neighbours WHERE user_id = 'ada' ORDER BY rank", "r USING PRIMARY KEY (user_key=?)"),
        ("SELECT * FROM v_comparisons WHERE user_id = 'ada'", "ix_comparison_user_key (user_key=?)"),
    ],
)
def test_standing_questions_use_an_index(engine, statement, index):
    """No standing question scans the asset table or ranked rows, or sorts them."""
    found = plan(engine, statement)
    assert index in found
    assert "SCAN a\n" not in f"{found}\n" or "rowid" in index
    assert "SCAN r" not in found
    assert "TEMP B-TREE" not in found


@pytest.mark.sqlite_only
def test_the_flags_of_an_asset_cost_nothing_unless_asked_for(engine):
    """Counting the rows of v_assets does not look at user_current."""
    assert "uc" not in plan(engine, "SELECT COUNT(*) FROM v_assets")
    assert "uc" in plan(engine, "SELECT COUNT(*) FROM v_assets WHERE is_live")


@pytest.mark.sqlite_only
def test_a_day_is_found_through_its_night(engine):
    """Asking v_assets for one day reads the assets of that day's nights."""
    assert "ix_asset_best (night_id=?)" in plan(engine, "SELECT COUNT(*) FROM v_assets WHERE day = '2026-01-01'")


def test_a_summary_s_fields_are_the_view_s_columns():
    """Rows of v_assets become summaries by their order."""
    assert [field.name for field in fields(AssetSummary)] == [column.name for column in v_assets.columns]
