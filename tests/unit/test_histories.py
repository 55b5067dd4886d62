import dataclasses

import numpy as np
import pytest

from personalgen.histories import DAY_SEC, History


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
