"""People who are evaluated are people whom training never saw."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from personalgen.config import SplitOptions
from personalgen.steps.data import NightData
from personalgen.tables import split_of

N_USERS, N_ITEMS, N_EVENTS = 200, 300, 20


class Tables:
    """Prepared tables: 200 users, one of whom opted out, with 20 likes each in time order."""

    def __init__(self):
        rng = np.random.default_rng(0)
        ids = [f"user-{k}" for k in range(N_USERS)]
        self.users = {"user_id": np.array(ids), "opted_out": np.arange(N_USERS) == 7, "segment": [None] * N_USERS}
        self.images = np.arange(N_ITEMS, dtype=np.uint16).view(np.uint8).reshape(N_ITEMS, 2)
        self._events = SimpleNamespace(
            user_ids=ids,
            item_ids=[f"item-{k}" for k in range(N_ITEMS)],
            user_index=np.repeat(np.arange(N_USERS), N_EVENTS),
            item_index=rng.integers(0, N_ITEMS, N_USERS * N_EVENTS),
            timestamp=np.tile(np.arange(N_EVENTS), N_USERS),
            weight=np.ones(N_USERS * N_EVENTS, np.float32),
        )

    def interactions(self):
        return self._events


@pytest.fixture
def data():
    return NightData(Tables(), SplitOptions(later_share=0.3))


def names(data, history):
    """Return the users who have events in a history."""
    return {data.history.user_ids[k] for k in np.unique(history.user_index)}


def test_training_knows_users_of_the_training_split_only(data):
    """Every user of that split is in it, none of another is, and about 30 % are held out."""
    trained = names(data, data.training_history())
    assert trained == {u for u in data.history.user_ids if split_of(u, "user") == "train"}
    assert 0.6 < len(trained) / N_USERS < 0.8


def test_judged_users_are_the_others(data):
    """Nobody is trained on and judged; together they are everybody who did not opt out."""
    judged = {u for u, asked in zip(data.history.user_ids, data.judged_users, strict=True) if asked}
    assert not judged & names(data, data.training_history())
    assert judged | names(data, data.training_history()) == set(data.history.user_ids)
    assert "user-7" not in data.history.user_ids


def test_the_condition_of_a_judged_user_knows_earlier_events_on_training_items_only(data):
    """Held-out users are embedded all the same, from events before their later ones."""
    earlier = data.earlier_history()
    assert names(data, earlier) >= {
        u for u, asked in zip(data.history.user_ids, data.judged_users, strict=True) if asked
    }
    assert earlier.timestamp.max() < 0.7 * N_EVENTS
    assert {split_of(data.history.item_ids[k]) for k in np.unique(earlier.item_index)} == {"train"}


def test_nobody_is_held_out_where_other_people_judge(data):
    """With `hold_out_users = false` everybody is trained on, and everybody may be asked for."""
    everybody = dataclasses.replace(data, split=SplitOptions(later_share=0.3, hold_out_users=False))
    assert len(names(everybody, everybody.training_history())) == N_USERS - 1
    assert everybody.judged_users.all()
