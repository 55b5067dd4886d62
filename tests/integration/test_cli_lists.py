"""Lists of assets on a home that has had a night: the best, who changed, who is alike, sums, and tables of them."""

import json

import numpy as np
import pandas as pd
import pytest

from personalgen.catalogue import ratings
from personalgen.catalogue.engine import open_catalogue
from personalgen.catalogue.facts import RatingFacts

pytestmark = pytest.mark.timeout(110, func_only=True)


@pytest.fixture(scope="module")
def home(first_night):
    return first_night.home


def as_json(told):
    """Return what a command printed as JSON."""
    assert told.code == 0, told.err
    return json.loads(told.out)


def test_latest_can_be_limited(home):
    """--night, --model, --live and --segment give what SQL says of them."""
    asked = "is_live and night_id = 1 and model_version = 1"
    live = home.ask(f"select asset_id from v_assets where {asked} order by asset_id desc limit 5")
    found = as_json(home.tell("assets", "latest", "--live", "--night", "1", "--model", "1", "-n", "5", "--json"))
    assert [row["asset_id"] for row in found] == [row["asset_id"] for row in live]
    segment = home.ask("select segment from v_assets where segment is not null limit 1")
    for row in segment:
        rows = as_json(home.tell("assets", "latest", "--segment", row["segment"], "--json"))
        assert {one["segment"] for one in rows} == {row["segment"]}
    for none in (["--night", "99"], ["--segment", "nowhere"], ["--model", "9"], ["--before", "1"]):
        assert home.tell("assets", "latest", *none).out == "no asset fits what was asked\n"


def test_stats_sum_what_the_nights_made(home):
    """By day, model and segment the sums are those of a plain count; another group is refused."""
    (row,) = home.ask("select count(*) as n, sum(byte_length) as bytes from asset")
    told = as_json(home.tell("assets", "stats", "--by", "model", "--by", "segment", "--json"))
    assert (sum(each["n_images"] for each in told), sum(each["n_bytes"] for each in told)) == (row["n"], row["bytes"])
    refused = home.tell("assets", "stats", "--by", "week")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert home.tell("assets", "stats", "--since", "yesterday").code == 2
    assert home.tell("assets", "stats", "--until", "1999-01-01").out == "nothing was made in these days\n"


def test_similar_people_have_similar_preferences(home):
    """The nearest by the stored conditions, with cosines that fall; asked by an asset of the user it is the same."""
    (one,) = home.ask("select live_asset_id, user_id from v_users where live_asset_id is not null limit 1")
    found = as_json(home.tell("assets", "similar", "--user", one["user_id"], "-n", "4", "--json"))
    cosines = [row["cosine"] for row in found]
    assert cosines == sorted(cosines, reverse=True)
    assert one["user_id"] not in {row["user_id"] for row in found}
    assert as_json(home.tell("assets", "similar", "--asset", str(one["live_asset_id"]), "-n", "4", "--json")) == found
    for wrong in ([], ["--user", one["user_id"], "--asset", "1"], ["--user", "nobody"], ["--asset", "999999"]):
        assert home.tell("assets", "similar", *wrong).code == 2
    for wrong in ([], ["--user", one["user_id"], "--asset", "1"]):
        assert "Name exactly one of --user and --asset" in home.tell("assets", "similar", *wrong).err


def test_top_by_rating_and_show_tell_what_people_said(home):
    """An opinion that is recorded is listed, best first, and counted in the lineage."""
    (one,) = home.ask("select asset_id, night_id from v_assets limit 1")
    assert home.tell("assets", "top", "--by", "rating").out == "no asset that anybody rated\n"
    engine = open_catalogue(home.catalogue.url)
    (at,) = home.ask("select created_at from v_runs limit 1")
    fact = RatingFacts(
        asset_id=one["asset_id"], value=0.5, rater="self", source="gallery",
        at=pd.Timestamp(at["created_at"], tz="UTC").to_pydatetime(),
    )  # fmt: skip
    ratings.record_ratings(engine, [fact])
    (told,) = as_json(home.tell("assets", "top", "--by", "rating", "--night", str(one["night_id"]), "--json"))
    assert (told["asset_id"], told["mean"], told["n_ratings"]) == (one["asset_id"], 0.5, 1)
    (shown,) = as_json(home.tell("assets", "show", str(one["asset_id"]), "--json"))
    assert (shown["n_ratings"], shown["mean_rating"]) == (1, 0.5)
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM asset_rating")
        connection.exec_driver_sql("DELETE FROM rating")
    engine.dispose()


def test_a_list_without_rows_says_why(home):
    """Without a score, and after a single night, `top` and `changed` say so and are no error."""
    scored = home.ask("select count(*) as n from asset where score is not null")[0]["n"]
    if not scored:
        assert "no asset with a judge's score" in home.tell("assets", "top").out
    n_changed = home.ask("select count(*) as n from v_changed")[0]["n"]
    assert len(as_json(home.tell("assets", "changed", "-n", "1000", "--json"))) == n_changed
    assert home.tell("assets", "changed", "--after", "1:999999").code == 2
    wrong = home.tell("assets", "changed", "--after", "999999")
    assert (wrong.code, "as 7:1234" in wrong.err) == (2, True)


def test_a_list_becomes_a_parquet_file(home, tmp_path):
    """--parquet holds every column of --json, nested values as JSON text; a folder as file is refused."""
    told = home.tell("assets", "latest", "-n", "7", "--parquet", str(tmp_path / "latest.parquet"))
    assert told.out == f"7 rows written to {tmp_path}/latest.parquet\n"
    table = pd.read_parquet(tmp_path / "latest.parquet")
    rows = as_json(home.tell("assets", "latest", "-n", "7", "--json"))
    assert list(table.columns) == list(rows[0])
    assert table["asset_id"].tolist() == [row["asset_id"] for row in rows]
    assert json.loads(table["top_events"][0]) == rows[0]["top_events"]
    assert home.tell("assets", "latest", "--parquet", str(tmp_path)).code == 2


def test_a_night_summarises_histories(home):
    """v_users tells how many events each user has, and when, as the night read them."""
    users = pd.DataFrame(home.ask("select user_id, n_events, n_likes, first_event_at from v_users"))
    assert users["n_events"].notna().any()
    known = users.dropna()
    assert (known["n_likes"] <= known["n_events"]).all()
    assert np.all(known["n_events"] > 0)
