"""People's opinions of assets, on either database."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from personalgen.catalogue import comparisons, questions, ratings
from personalgen.catalogue.facts import RatingFacts
from personalgen.catalogue.query import run_sql
from personalgen.catalogue.scopes import AssetFilter
from personalgen.errors import CatalogueError, NotFoundError
from tests.integration.catalogue.small import AT, forget, vote


@pytest.fixture
def ids(engine, stocked):
    """Return the asset ids of ada and of bob, two each."""
    return [
        [row.asset_id for row in questions.latest(engine, AssetFilter(user_id=name))][::-1] for name in ("ada", "bob")
    ]


def opinion(asset_id, value=1.0, **changes):
    """Return what a person says of an asset."""
    return replace(RatingFacts(asset_id=asset_id, value=value, rater="self", source="gallery", at=AT), **changes)


def test_an_opinion_said_twice_is_one_row(engine, ids):
    """Again it writes nothing, a newer one replaces it, an older one does not, another rater's stands beside it."""
    one = ids[0][0]
    assert ratings.record_ratings(engine, [opinion(one), opinion(one, -1.0, rater="wim")]) == 2
    assert ratings.record_ratings(engine, [opinion(one)]) == 0
    assert ratings.record_ratings(engine, [opinion(one, 0.5, at=AT.replace(hour=12))]) == 1
    assert ratings.record_ratings(engine, [opinion(one, -0.5, at=AT.replace(hour=1))]) == 0
    found = ratings.ratings(engine)
    assert [(row.user_id, row.rater, row.value, row.at.hour) for row in found] == [
        ("ada", "self", 0.5, 12), ("ada", "wim", -1.0, 3),
    ]  # fmt: skip
    (rated,) = questions.top_rated(engine)
    assert (rated.asset_id, rated.mean, rated.n_ratings) == (one, -0.25, 2)


def test_the_best_rated_come_first(engine, ids):
    """By mean, then by how many said so, then the newer; pages follow each other by the last asset."""
    (first, second), (third, fourth) = ids
    told = [opinion(first), opinion(second), opinion(third), opinion(third, rater="wim"), opinion(fourth, -1.0)]
    ratings.record_ratings(engine, told)
    assert [row.asset_id for row in questions.top_rated(engine)] == [third, second, first, fourth]
    assert [row.asset_id for row in questions.top_rated(engine, limit=2, after_asset_id=third)] == [second, first]
    assert [row.asset_id for row in questions.top_rated(engine, AssetFilter(user_id="ada"))] == [second, first]
    assert questions.top_rated(engine, AssetFilter(live_only=True)) == ()
    with pytest.raises(NotFoundError, match="ends with asset 999"):
        questions.top_rated(engine, after_asset_id=999)


def test_opinions_that_come_at_once_are_all_counted(engine, ids, monkeypatch):
    """Raters of the same assets, each slow to commit, in other orders: none is refused, all are in the mean."""
    sum_up = ratings._sum_up

    def slowly(*args):
        sum_up(*args)
        time.sleep(0.2)

    monkeypatch.setattr(ratings, "_sum_up", slowly)
    told = [opinion(one, rater=str(k), value=k / 2) for k in range(3) for one in ids[k % 2][:: 1 - 2 * (k % 2)]]
    told += [opinion(ids[0][0], rater=str(k + 3)) for k in range(3)]
    with ThreadPoolExecutor(3) as pool:
        written = list(pool.map(lambda k: ratings.record_ratings(engine, told[k::3]), range(3)))
    assert sum(written) == len(told) == 9
    assert sum(row.n_ratings for row in questions.top_rated(engine)) == 9


def test_opinions_are_read_by_asset_and_by_person(engine, ids):
    """A page goes on after the last id; an asset's and a person's can be asked for."""
    ratings.record_ratings(engine, [opinion(one) for pair in ids for one in pair])
    everything = ratings.ratings(engine)
    assert (
        ratings.ratings(engine, limit=3) + ratings.ratings(engine, after_rating_id=everything[2].rating_id)
        == everything
    )
    assert {row.user_id for row in ratings.ratings(engine, user_id="bob")} == {"bob"}
    assert [row.asset_id for row in ratings.ratings(engine, asset_id=ids[1][0])] == [ids[1][0]]


@pytest.mark.parametrize("changes", [{"value": 1.5}, {"source": "guess"}, {"asset_id": 999}])
def test_one_bad_opinion_refuses_all(engine, ids, changes):
    """A value out of range, another source and an unknown asset leave the tables as they were."""
    with pytest.raises((CatalogueError, NotFoundError), match="Nothing was changed"):
        ratings.record_ratings(engine, [opinion(ids[0][0]), replace(opinion(ids[1][0]), **changes)])
    assert ratings.ratings(engine) == questions.top_rated(engine) == ()


def test_who_is_forgotten_has_no_opinion(engine, url, ids):
    """Ratings of the person's assets and their means are deleted, and no later one is taken."""
    ratings.record_ratings(engine, [opinion(ids[0][0]), opinion(ids[1][0])])
    forget(engine, "ada")
    assert [row.user_id for row in ratings.ratings(engine)] == ["bob"]
    assert [row.user_id for row in questions.top_rated(engine)] == ["bob"]
    assert run_sql(
        url, "SELECT user_id, value, model_version, score FROM v_ratings", as_owner=True, timeout_sec=30
    ).rows == (("bob", 1.0, 1, 0.5),)
    with pytest.raises(NotFoundError, match="1 of 1 rated assets"):
        ratings.record_ratings(engine, [opinion(ids[0][1])])


def test_who_is_forgotten_is_no_rater_and_no_voter(engine, stocked, ids):
    """What they said of others' pictures names them: it goes, and the means are of those who are left."""
    theirs = [opinion(ids[1][0], 1.0, rater="ada"), opinion(ids[1][1], rater="ada")]
    ratings.record_ratings(engine, [*theirs, opinion(ids[1][0], 0.5, rater="wim")])
    votes = [vote("bob", voter="ada"), vote("bob", voter="vera")]
    comparisons.record_comparisons(engine, stocked[0], votes, at=AT)
    forget(engine, "ada", erased_as="erased:1")
    assert [row.rater for row in ratings.ratings(engine)] == ["wim"]
    assert [(row.asset_id, row.mean, row.n_ratings) for row in questions.top_rated(engine)] == [(ids[1][0], 0.5, 1)]
    assert [row.voter for row in comparisons.comparisons(engine)] == ["vera"]
