import dataclasses

import numpy as np
import pytest
import torch

from personalgen.embeddings import (
    embed_users,
    variants_before_events,
    vectors_before_events,
)
from personalgen.embeddings.behaviour import dislikes_known, newest_events
from personalgen.training import Behaviour

DAY = 86_400


@pytest.fixture
def history(make_history):
    """Return four users: five events with two in one second, three with two dislikes, one dislike alone, none."""
    return make_history(
        [
            (0, 3, 1, 1.0), (0, 1, 4, 2.0), (0, 2, 4, -1.0), (0, 5, 9, 1.0), (0, 6, 20, 0.5),
            (1, 7, 2, -1.0), (1, 8, 12, 1.0), (1, 9, 12, -3.0),
            (2, 4, 100, -0.5),
        ],
        n_users=4,
    )  # fmt: skip


@pytest.fixture
def items(basis, features, past):
    """Return the vectors of the items."""
    return basis.item_vectors(features, past.item_ids)


def busy(make_history, n_events=300):
    """Return a random history with many events in one second."""
    rng = np.random.default_rng(4)
    columns = rng.integers(0, 9, n_events), rng.integers(0, 12, n_events), rng.integers(0, 40, n_events)
    return make_history(list(zip(*columns, rng.choice([1.0, 0.5, -1.0], n_events), strict=True)))


def test_what_was_known_ends_before_the_second_of_the_event(history):
    """Neither an event itself nor another in its second is known; nobody else's ever is."""
    start, stop = history.known_before()
    assert start.tolist() == [0, 0, 0, 0, 0, 5, 5, 5, 8]
    assert stop.tolist() == [0, 1, 1, 3, 4, 5, 6, 6, 8]
    assert history.bounds.tolist() == [0, 5, 8, 9, 9]


def test_nothing_is_known_in_an_empty_history(make_history, items, basis):
    """No events, no rows; everybody's fields are absent."""
    nothing = make_history([], n_users=3)
    assert [len(part) for part in nothing.known_before()] == [0, 0]
    rows = newest_events(nothing, items, 2)
    assert (rows.values.shape, rows.values.any(), rows.mask.any()) == ((3, 2, 8), False, False)
    assert not dislikes_known(nothing, basis, items, nothing.bounds[:-1], nothing.bounds[1:]).mask.any()


def test_behaviour_is_the_newest_events_first(history, items):
    """Item vector, weight and log(1 + days before the newest); what is not there is zero and absent."""
    rows = newest_events(history, items, 3)
    assert rows.mask.tolist() == [[True] * 3, [True] * 3, [True, False, False], [False] * 3]
    assert np.array_equal(rows.values[0, :, :6], items[[6, 5, 2]])
    assert rows.values[0, :, 6].tolist() == [0.5, 1.0, -1.0]
    assert rows.values[0, :, 7] == pytest.approx(np.log1p([0, 11, 16]))
    assert not rows.values[~rows.mask].any()


def test_behaviour_is_what_training_cuts_out(make_history, items):
    """Tonight's rows are those of a training pair whose moment is after the user's last event."""
    history = busy(make_history)
    start, stop = history.bounds[:-1], history.bounds[1:]
    cut = Behaviour(
        name="behaviour",
        longest=5,
        item_features=torch.from_numpy(items),
        item_of_event=torch.from_numpy(history.item_index),
        weight_of_event=torch.from_numpy(history.weight),
        day_of_event=torch.from_numpy((history.timestamp / DAY).astype(np.float32)),
        start_of_pair=torch.from_numpy(start),
        stop_of_pair=torch.from_numpy(stop),
    )
    values, mask = cut.sequences(torch.arange(len(start)))
    rows = newest_events(history, items, 5)
    assert np.array_equal(rows.mask, mask.numpy())
    assert rows.values == pytest.approx(values.numpy(), abs=1e-4)


def test_dislikes_are_the_decayed_mean_of_disliked_items(history, basis, items):
    """Weighted by strength and age, in the space of preferences; absent where nothing was disliked."""
    rows = dislikes_known(history, basis, items, history.bounds[:-1], history.bounds[1:])
    assert rows.mask.tolist() == [True, True, True, False]
    weights = np.array([2.0 ** (-10 / basis.options.half_life_days), 3.0])
    mean = weights @ items[[7, 9]] / weights.sum()
    expected = [items[2], mean, items[4], np.zeros(6)]
    found = np.where(rows.mask[:, None], rows.values * basis.scale + basis.center, 0)
    assert found == pytest.approx(np.array(expected), abs=1e-5)


def test_dislikes_before_an_event_are_those_of_the_history_cut_there(make_history, basis, items):
    """The other way: cut the history before the event's second, and take everybody's dislikes."""
    history = busy(make_history)
    before = dislikes_known(history, basis, items, *history.known_before())
    for k, (user, now) in enumerate(zip(history.user_index, history.timestamp, strict=True)):
        cut = history.where(history.timestamp < now)
        whole = dislikes_known(cut, basis, items, cut.bounds[:-1], cut.bounds[1:])
        assert before.mask[k] == whole.mask[user]
        assert before.values[k] == pytest.approx(whole.values[user], abs=1e-5)


def test_dislikes_of_long_ago_do_not_fade_to_nothing(make_history, basis, items):
    """They are weighed among themselves: thousands of half-lives later they are what they were."""
    rows = dislikes_known(
        make_history([(0, 2, 0, -1.0), (0, 3, 60_000, 1.0)], n_users=1), basis, items, np.array([0]), np.array([2])
    )
    assert rows.values[0] * basis.scale + basis.center == pytest.approx(items[2], abs=1e-5)


def test_a_table_holds_what_is_asked_for(history, basis, features, items):
    """Nothing more by default; the rest is as it was."""
    plain, full = embed_users(history, basis, features), embed_users(history, basis, features, {"behaviour": 2})
    assert plain.fields == {}
    assert full.fields.keys() == {"behaviour"}
    assert full.fields["behaviour"].values.shape == (4, 2, 8)
    assert np.array_equal(plain.vectors, full.vectors)
    assert embed_users(history, basis, features, {"behaviour": 2, "dislikes": 1}).fields["dislikes"].mask.sum() == 3


# --- variants of a history --------------------------------------------------------------------------------------------


def test_a_variant_is_the_vector_of_a_random_half_of_the_events(make_history, basis, features):
    """Row k of a variant is tonight's vector of the kept events before event k, whichever these are."""
    history = busy(make_history, 120)
    variants = variants_before_events(history, basis, features, count=3, seed=5)
    counts = np.diff(history.bounds)
    kept = np.concatenate([np.random.default_rng([5, user]).random((n, 3)) for user, n in enumerate(counts)]).T < 0.5
    assert (variants.shape, variants.dtype) == ((3, 120, 6), np.float32)
    for variant, mask in zip(variants, kept, strict=True):
        for k, (user, now) in enumerate(zip(history.user_index, history.timestamp, strict=True)):
            known = history.where(mask & (history.timestamp < now))
            assert variant[k] == pytest.approx(embed_users(known, basis, features).vectors[user], abs=1e-4)


def test_variants_follow_from_the_seed(make_history, basis, features):
    """The same seed gives the same bits, another one others."""
    history = busy(make_history, 60)
    one, again, other = (variants_before_events(history, basis, features, count=2, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one[0], one[1])
    assert not np.array_equal(one, other)


def test_variants_see_no_more_than_the_whole_history(make_history, basis, features):
    """What happens at or after an event changes none of its variants; before the first event all are alike."""
    history = busy(make_history, 80)
    whole, variants = (
        vectors_before_events(history, basis, features),
        variants_before_events(history, basis, features, count=4, seed=1),
    )
    first = history.known_before()[0] == history.known_before()[1]
    assert np.array_equal(variants[:, first], np.broadcast_to(whole[first], variants[:, first].shape))
    later = history.timestamp >= 20 * DAY
    changed = dataclasses.replace(history, item_index=np.where(later, 11 - history.item_index, history.item_index))
    again = variants_before_events(changed, basis, features, count=4, seed=1)
    early = history.timestamp <= 20 * DAY
    assert np.array_equal(again[:, early], variants[:, early])
    assert not np.array_equal(again, variants)
