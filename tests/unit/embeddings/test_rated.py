"""A rating of a picture enters a vector as an event on an item with the picture's content would."""

import json

import numpy as np
import pytest

from personalgen.embeddings import embed_users, vectors_before_events
from personalgen.embeddings.rated import (
    RatedPictures,
    load_rated,
    picture_vectors,
    rating_terms,
    rating_weights,
    save_rated,
)

DAY = 86_400
LAST = 104
"""Day of everybody's newest event in the past of this folder."""
SAID = [(0, 7, 101, 1.0), (0, 2, 130, -0.5), (1, 3, 90, 0.25), (3, 11, 104, -1.0)]
"""Who rates a picture like which item on which day how much: before, at and after the own newest event."""


@pytest.fixture
def rated(basis, features, past):
    """Return the ratings of pictures that look like items."""
    user, item, day, weight = zip(*SAID, strict=True)
    vectors = basis.item_vectors(features, past.item_ids)[list(item)]
    seconds = np.array(day) * DAY
    return RatedPictures(tuple(past.user_ids[k] for k in user), np.arange(70, 74), seconds, np.array(weight), vectors)


@pytest.fixture
def with_events(past, make_history):
    """Return the history in which the same is said of the items themselves."""
    own = zip(past.user_index, past.item_index, past.timestamp / DAY, past.weight, strict=True)
    return make_history([*own, *SAID])


def test_a_rating_is_an_event_on_a_picture(past, with_events, rated, basis, features):
    """Vectors and counts of events are those of a history with these events, also after a user's newest one."""
    told, events = embed_users(past, basis, features, rated=rated), embed_users(with_events, basis, features)
    assert told.vectors == pytest.approx(events.vectors, abs=1e-5)
    assert told.n_events.tolist() == events.n_events.tolist()
    without = embed_users(past, basis, features)
    moved = np.abs(told.vectors - without.vectors).max(axis=1) > 1e-4
    assert np.flatnonzero(moved).tolist() == [0, 1, 3]


def test_a_rating_is_told_by_its_asset(past, with_events, rated, basis, features):
    """The events that weighed most name the asset where a history would name the item, with the same share."""
    told, events = embed_users(past, basis, features, rated=rated), embed_users(with_events, basis, features)
    for user in (0, 1, 3):
        shares = [[event["weight"] for event in table.top_events[user]] for table in (told, events)]
        assert shares[0] == pytest.approx(shares[1], abs=2e-4)
    assert told.top_events[0][0]["asset_id"] == 71
    assert {"asset_id", "timestamp", "weight"} == told.top_events[0][0].keys()
    assert json.loads(told.events_json[2]) == json.loads(embed_users(past, basis, features).events_json[2])


def test_who_only_rated_is_told_of_that(past, rated, basis, features):
    """A person without any event has a vector of ratings alone."""
    silent = past.where(past.user_index != 0)
    told = embed_users(silent, basis, features, rated=rated)
    assert told.n_events[0] == 2
    assert [event["asset_id"] for event in told.top_events[0]] == [71, 70]
    assert np.abs(told.vectors[0] - embed_users(silent, basis, features).vectors[0]).max() > 0.01


def test_training_pairs_hear_no_rating(past, rated, basis, features):
    """What is known before each event comes from events on items alone: the function takes nothing else."""
    before = vectors_before_events(past, basis, features)
    embed_users(past, basis, features, rated=rated)
    assert (vectors_before_events(past, basis, features) == before).all()
    with pytest.raises(TypeError, match="rated"):
        vectors_before_events(past, basis, features, rated=rated)


def test_ratings_are_relative_to_the_persons_middle():
    """A generous person's praise weighs less than a strict one's; alike ratings keep their sign; zero says nothing."""
    user = np.array([0, 0, 0, 1, 1, 1, 2, 3, 3])
    value = np.array([1.0, 1.0, 0.0, 1.0, -1.0, -1.0, 0.0, -1.0, -1.0])
    weight = rating_weights(user, value)
    assert weight == pytest.approx([0.75, 0.75, -0.25, 1.125, -0.875, -0.875, 0, -5 / 7, -5 / 7])


def test_pictures_have_the_vectors_of_items_that_nobody_knows(basis, features):
    """A picture with an item's features stands where a new item with these features would."""
    assert picture_vectors(basis, features[:3]) == pytest.approx(basis.item_vectors(features[:3], ("x", "y", "z")))


def test_ratings_are_read_as_they_were_written(rated, tmp_path):
    """Every column survives the file."""
    found = load_rated(save_rated(tmp_path / "rated.parquet", rated))
    assert found.user_ids == rated.user_ids
    for name in ("asset_ids", "seconds", "weight", "vectors"):
        assert (getattr(found, name) == getattr(rated, name)).all()


def test_others_ratings_change_nothing(past, rated):
    """Of ratings by people who are not asked about nothing is added."""
    terms = rating_terms(rated, ["u20", "u21"], np.array([LAST, LAST]) * DAY, half_life_days=10, dim=6)
    assert (terms.count.sum(), terms.like_total.sum(), terms.fade.tolist(), dict(terms.events)) == (0, 0, [1, 1], {})
