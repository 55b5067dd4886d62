import dataclasses

import numpy as np
import pytest

from personalgen.histories import DAY_SEC, History, HistoryChange


@pytest.fixture
def history():
    """Return three people: events on days 0, 10 and 20, none, and one on day 5."""
    days = np.array([0, 10, 20, 5])
    ones = np.ones(4, dtype=np.float32)
    return History(("a", "b", "c"), ("x", "y"), np.array([0, 0, 0, 2]), np.array([0, 1, 0, 1]), days * DAY_SEC, ones)


def test_the_newest_events_of_everybody_are_kept(history):
    """As many as there are, in their order."""
    found = history.newest(2)
    assert (found.user_index.tolist(), found.item_index.tolist()) == ([0, 0, 2], [1, 0, 1])
    assert len(history.newest(0).item_index) == 0


def test_segments_stay_with_their_people(history):
    """Choosing events takes nobody's segment away."""
    history = dataclasses.replace(history, segments=("s", None, "t"))
    assert history.newest(1).where(np.array([True, False])).segments == ("s", None, "t")


def test_what_came_before_fades_by_its_age(history):
    """Half after a half-life; nothing is left over from one person to the next."""
    assert history.faded(10.0).tolist() == [0, 0.5, 0.5, 0]


def test_moments_become_people(history):
    """Each has the newest events of its range alone, oldest first."""
    found = history.newest_of(np.array([0, 0, 3]), np.array([3, 0, 4]), 2)
    assert (found.user_index.tolist(), found.item_index.tolist()) == ([0, 0, 2], [1, 0, 1])
    assert len(found.user_ids) == 3


def told(events, users=("a", "b", "c"), items=("x", "y", "z")):
    """Return the history of (user, day, item, weight), of people and items with these ids."""
    rows = sorted((users.index(user), day * DAY_SEC, items.index(item), weight) for user, day, item, weight in events)
    columns = [np.array(column) for column in zip(*rows, strict=True)] if rows else [np.zeros(0, dtype=np.int64)] * 4
    user, time, item, weight = columns
    return History(users, items, user, item, time, weight.astype(np.float32))


BEFORE = [("a", 1, "x", 1), ("a", 2, "y", 1), ("b", 1, "y", -1), ("c", 3, "x", 1)]


def test_what_is_new_stands_after_what_was_known():
    """New events of known people, new people and new items; who did nothing new is unchanged."""
    now = told(
        [*BEFORE, ("a", 5, "w", 1), ("d", 2, "y", 1)], users=("a", "aa", "b", "c", "d"), items=("w", "x", "y", "z")
    )
    change = HistoryChange.between(told(BEFORE), now)
    assert change.n_known.tolist() == [2, 0, 1, 1, 0]
    assert change.unchanged.tolist() == [False, False, True, True, False]
    assert [now.item_ids[k] for k in now.item_index[change.is_new]] == ["w", "y"]
    assert change.withdrawn_users == ()


@pytest.mark.parametrize(
    "event",
    [("a", 0, "z", 1), ("a", 1, "z", 1), ("a", 2, "z", 1)],
    ids=["before all", "between", "in the second of the newest"],
)
def test_who_has_a_late_event_is_replaced(event):
    """An event that comes before, or at the second of, a known one: all that was known is withdrawn, all is new."""
    change = HistoryChange.between(told(BEFORE), told([*BEFORE, event]))
    assert change.n_known.tolist() == [0, 1, 1]
    assert change.withdrawn_users == ("a",)
    assert change.is_new.tolist() == [True] * 3 + [False] * 2
    assert len(change.withdrawn.item_index) == 2


@pytest.mark.parametrize("corrected", [("a", 2, "x", 1), ("a", 2, "y", -1), ("a", 4, "y", 1)])
def test_who_has_a_corrected_event_is_replaced(corrected):
    """Another item, weight or time."""
    change = HistoryChange.between(told(BEFORE), told([corrected if e == BEFORE[1] else e for e in BEFORE]))
    assert (change.n_known.tolist(), change.withdrawn_users) == ([0, 1, 1], ("a",))


def test_who_is_gone_is_withdrawn():
    """A person without any event left, one who is not named any more, and one whose item is not there any more."""
    without = HistoryChange.between(told(BEFORE), told([e for e in BEFORE if e[0] != "b"]))
    assert (without.n_known.tolist(), without.withdrawn_users) == ([2, 0, 1], ("b",))
    unnamed = HistoryChange.between(told(BEFORE), told([e for e in BEFORE if e[0] != "b"], users=("a", "c")))
    assert (unnamed.n_known.tolist(), unnamed.withdrawn_users) == ([2, 1], ("b",))
    lost = HistoryChange.between(told(BEFORE), told([e for e in BEFORE if e[2] != "x"], items=("y", "z")))
    assert (lost.n_known.tolist(), lost.withdrawn_users) == ([0, 1, 0], ("a", "c"))


def test_nothing_changes_between_the_same_histories():
    """Also between empty ones, and from nothing to everything."""
    same = HistoryChange.between(told(BEFORE), told(BEFORE))
    assert (same.n_known.tolist(), same.is_new.any(), same.withdrawn_users) == ([2, 1, 1], False, ())
    assert HistoryChange.between(told([]), told([])).n_known.tolist() == [0, 0, 0]
    assert HistoryChange.between(told([]), told(BEFORE)).is_new.all()


def test_some_users_keep_their_events_in_their_order():
    """The history of chosen users holds their events alone, in the order asked for, users without events too."""
    users = np.array([0, 0, 1, 3, 3, 3], dtype=np.int64)
    items, times = np.arange(6), np.array([5, 7, 1, 2, 2, 9])
    whole = History(
        ("a", "b", "c", "d"), tuple("uvwxyz"), users, items, times, np.ones(6, np.float32), ("s", None, "t", "s")
    )
    part = whole.of(np.array([3, 2, 0]))
    assert (part.user_ids, part.segments) == (("d", "c", "a"), ("s", "t", "s"))
    assert part.user_index.tolist() == [0, 0, 0, 2, 2]
    assert part.item_index.tolist() == [3, 4, 5, 0, 1]
    assert part.timestamp.tolist() == [2, 2, 9, 5, 7]
    assert whole.of(np.array([], dtype=np.int64)).user_index.shape == (0,)
