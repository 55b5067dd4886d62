import numpy as np
import pytest

from personalgen.tables.split import item_splits, later_events, split_of, user_splits

ITEMS = ["judge", "train", "test", "judge", "train", "train", "train", "train", "train", "train", "train", "train"]
USERS = ["test", "train", "train", "test", "train", "train", "judge", "train", "train", "judge", "train", "train"]


def test_splits_are_fixed_for_ever():
    """These ids have had these splits since the first release; a change would leak held-out items into training."""
    assert [split_of(str(number)) for number in range(12)] == ITEMS
    assert [split_of(str(number), "user") for number in range(12)] == USERS


def test_codes_are_the_splits_in_order():
    """0 is train, 1 judge, 2 test."""
    ids = [str(number) for number in range(200)]
    names = np.array(["train", "judge", "test"])
    assert names[item_splits(ids)].tolist() == [split_of(one) for one in ids]
    assert names[user_splits(ids)].tolist() == [split_of(one, "user") for one in ids]


def test_shares_are_70_15_15():
    """Over 20,000 ids each share is within 4.5 standard deviations of its target (a false alarm in 100,000 runs)."""
    for splits in (item_splits, user_splits):
        shares = np.bincount(splits([f"id-{number}" for number in range(20_000)])) / 20_000
        assert np.abs(shares - [0.7, 0.15, 0.15]).max() < 4.5 * np.sqrt(0.7 * 0.3 / 20_000)


def test_items_and_users_are_drawn_apart():
    """Knowing an item's split says nothing of the user with the same id."""
    ids = [str(number) for number in range(5000)]
    assert abs(np.mean(item_splits(ids) == user_splits(ids)) - (0.7**2 + 2 * 0.15**2)) < 0.04


def test_the_last_share_of_each_user_is_later():
    """Counts are rounded down, and rows may come in any order."""
    user = np.array([1, 0, 1, 1, 0, 1, 1])
    time = np.array([5, 9, 1, 4, 8, 2, 3])
    assert later_events(user, time, 0.4).tolist() == [True, False, False, True, False, False, False]


def test_ties_never_straddle():
    """An event at the time of an earlier-side one stays earlier."""
    assert not later_events(np.zeros(4, int), np.array([1, 7, 7, 7]), 0.5).any()
    assert later_events(np.zeros(4, int), np.array([1, 1, 7, 7]), 0.5).tolist() == [False, False, True, True]


def test_the_shares_zero_and_one_are_nothing_and_everything():
    """No event or every event is later."""
    user, time = np.array([3, 3, 9]), np.array([1, 2, 3])
    assert not later_events(user, time, 0).any()
    assert later_events(user, time, 1).all()


def test_no_events_have_no_split():
    """Empty columns give an empty mask."""
    empty = np.empty(0, np.int64)
    assert later_events(empty, empty, 0.5).shape == (0,)


def test_a_share_outside_its_range_is_refused():
    """A share is between 0 and 1."""
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        later_events(np.zeros(1, int), np.zeros(1, int), 1.5)
