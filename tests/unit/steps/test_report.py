from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest

from personalgen.histories import History
from personalgen.steps.report import _known, _shown_users, _summary, liked_items


def history():
    """Return three users' events: the second one dislikes item 2 last, the third has none."""
    user = np.array([0, 0, 0, 1, 1], dtype=np.int64)
    item = np.array([4, 2, 3, 1, 2], dtype=np.int64)
    time = np.array([10, 20, 30, 5, 50], dtype=np.int64)
    weight = np.array([1, 0.5, 2, 1, -1], dtype=np.float32)
    return History(("a", "b", "c"), tuple("vwxyz"), user, item, time, weight)


def test_liked_items_are_the_newest_first():
    """The newest likes come first, as many as were asked for."""
    assert liked_items(history(), 0, 2).tolist() == [3, 2]
    assert liked_items(history(), 0, 9).tolist() == [3, 2, 4]


def test_liked_items_leave_dislikes_out():
    """What a user disliked is no part of what they see as their taste."""
    assert liked_items(history(), 1, 9).tolist() == [1]


def test_liked_items_of_a_user_without_events():
    """Nobody's events are nobody's."""
    assert liked_items(history(), 2, 9).tolist() == []


def test_shown_users_span_the_activity():
    """Eight different users with events are shown, the quietest and the busiest among them, in rising order."""
    n_events = np.array([0, 5, 1, 9, 3, 7, 0, 2, 8, 4, 6, 10], dtype=np.int32)
    shown = n_events[_shown_users(n_events)].tolist()
    assert len(shown) == 8
    assert shown == sorted(shown)
    assert (shown[0], shown[-1]) == (1, 10)


def test_shown_users_may_be_few():
    """Fewer users than places are shown once each; without events, nobody."""
    assert _shown_users(np.array([3, 0, 1], dtype=np.int32)).tolist() == [2, 0]
    assert _shown_users(np.zeros(3, dtype=np.int32)).tolist() == []


def test_what_was_not_kept_is_not_told():
    """A first night has no last one: the report has no line of what was kept of it."""
    names = ("state", "n_new_events", "n_users_replaced", "n_recommendations", "later_ndcg", "later_ndcg_of_popularity")
    recommended = SimpleNamespace(**dict.fromkeys(names, 1), tables_kept=False)
    told = _known(recommended, SimpleNamespace(fell_back=()))
    assert not {"vectors_kept", "tables_kept"} & told.keys()
    recommended.tables_kept = True
    kept = _known(recommended, SimpleNamespace(fell_back=("vectors moved", "lengths too")))
    assert kept == told | {"vectors_kept": "vectors moved; lengths too", "tables_kept": True}


@pytest.mark.parametrize("moved", [True, False])
def test_a_night_promoted_what_its_release_moved(monkeypatch, moved):
    """The gate may have passed it, and somebody moved what is live before the release: then nothing was promoted."""
    monkeypatch.setattr(import_module("personalgen.steps.report").read, "night_counts", lambda *_: Anything())
    monkeypatch.setattr(import_module("personalgen.steps.report"), "stage_result", lambda *_: Anything())
    evaluated = SimpleNamespace(challenger={}, before={}, before_is="champion")
    decided = SimpleNamespace(promote=True, reasons=("better",))
    released = SimpleNamespace(moved=moved, live_version=1)
    workspace = SimpleNamespace(engine=None)
    told = _summary(workspace, Anything(), evaluated, decided, Anything(), released)
    assert (told["promoted"], told["live_version"], told["gate"]) == (moved, 1, "better")


class Anything:
    """Has whatever is asked for."""

    def __getattr__(self, _name):
        return 0
