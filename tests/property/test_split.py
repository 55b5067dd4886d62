"""Splits never leak the future, and never depend on what else is in the table."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from personalgen.tables.split import SPLITS, item_splits, later_events, split_of

EVENTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20)), max_size=60)
SHARES = st.floats(0, 1)
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def columns(events):
    """Return the user and time columns."""
    table = np.array(events, dtype=np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


@given(EVENTS, SHARES)
def test_no_later_event_lies_before_or_with_an_earlier_one(events, share):
    """For each user, every earlier event precedes every later one, strictly."""
    user, time = columns(events)
    later = later_events(user, time, share)
    for one in np.unique(user):
        before, after = time[(user == one) & ~later], time[(user == one) & later]
        assert not len(before) or not len(after) or before.max() < after.min()


@given(EVENTS, SHARES)
def test_at_most_the_share_is_later(events, share):
    """Ties and rounding only ever make the later side smaller."""
    user, time = columns(events)
    later = later_events(user, time, share)
    for one in np.unique(user):
        assert later[user == one].sum() <= share * (user == one).sum() + 1e-6


@given(EVENTS, SHARES)
def test_all_later_events_fit_where_no_times_tie(events, share):
    """With distinct times, exactly the share rounded down is later."""
    user, _ = columns(events)
    later = later_events(user, np.arange(len(user)), share)
    for one in np.unique(user):
        count = int((user == one).sum())
        assert later[user == one].sum() == np.floor(count * share + 1e-9)


@given(EVENTS, SHARES, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(events, share, random):
    """Shuffling the table shuffles the mask with it."""
    user, time = columns(events)
    order = np.array(random.sample(range(len(user)), len(user)), dtype=np.int64)
    assert (later_events(user[order], time[order], share) == later_events(user, time, share)[order]).all()


@given(EVENTS, EVENTS, SHARES)
def test_other_users_do_not_matter(events, others, share):
    """A user's split is a function of that user's events alone."""
    user, time = columns(events)
    more_user, more_time = columns(others)
    joined = later_events(np.concatenate([user, more_user + 100]), np.concatenate([time, more_time]), share)
    assert (joined[: len(user)] == later_events(user, time, share)).all()


@given(st.lists(IDS, max_size=20), st.randoms(use_true_random=False))
def test_an_items_split_is_its_own(ids, random):
    """Neither order nor company changes the split of an item."""
    shuffled = random.sample(ids, len(ids))
    codes = dict(zip(shuffled, item_splits(shuffled), strict=True))
    assert all(SPLITS[codes[one]] == split_of(one) for one in ids)
