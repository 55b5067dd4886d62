import pytest
from sqlalchemy import text

from personalgen.catalogue.misspelt import hint, view_columns
from personalgen.catalogue.query import run_sql
from personalgen.catalogue.views import VIEWS
from personalgen.errors import QueryError


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("SELECT * FROM v_run", "Did you mean v_runs?"),
        ("SELECT 1 FROM V_ASSET a", "Did you mean v_assets?"),
        ("SELECT 1 FROM nothing_like_it", "The views are v_assets, v_changed, "),
        ("SELECT a.assetid FROM v_assets a", "Did you mean asset_id?"),
        ("SELECT n_image FROM v_daily", "Did you mean n_images?"),
        ("SELECT gain_low FROM v_ratings", "Did you mean v_model_quality.gain_low?"),
        ("SELECT colour FROM v_recommendations", "v_recommendations has user_id, rank, item_id, title, score, "),
    ],
)
def test_a_name_that_is_not_there_is_answered_with_the_nearest(url, engine, statement, says):
    """Of the views, or of the columns of the views that the statement names before those of others."""
    with pytest.raises(QueryError) as refused:
        run_sql(url, statement, as_owner=True, timeout_sec=30)
    assert says in str(refused.value)
    assert str(refused.value).endswith("Nothing was changed.")


def test_the_columns_are_those_of_the_views(engine):
    """What is compared with is what the database has."""
    with engine.connect() as connection:
        for view in VIEWS:
            assert view_columns()[view] == tuple(connection.execute(text(f"SELECT * FROM {view}")).keys())


@pytest.mark.parametrize(
    "refused", ["The function v_run() is not on the list.", "The statement is longer than 9 bytes."]
)
def test_other_refusals_stay_as_they_are(refused):
    """A hint is given for names alone."""
    assert hint(refused, "SELECT v_run()") == ""
