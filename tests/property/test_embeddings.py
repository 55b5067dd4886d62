"""Preferences never know the future, and are a function of each user's own events."""

import dataclasses
from functools import cache

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from personalgen.embeddings import EmbeddingOptions, embed_users, fit_basis, vectors_before_events
from personalgen.histories import History

N_ITEMS, N_USERS, HOUR = 7, 4, 3600
ITEM_IDS = tuple(f"i{k}" for k in range(N_ITEMS))
WEIGHTS = st.sampled_from([1.0, 0.5, 2.0, -1.0])
# Few hours, so that ties are common; the epoch itself is among them.
EVENT = st.tuples(st.integers(0, N_USERS - 1), st.integers(0, N_ITEMS - 1), st.integers(0, 400), WEIGHTS)
SEGMENTS = ("one", "two", None)
EVENTS = st.lists(EVENT, min_size=1, max_size=25)


def history_of(events, n_users=N_USERS):
    """Return the history of (user, item, hour, weight) rows."""
    rows = sorted(events, key=lambda row: (row[0], row[2], row[1]))
    user, item, hour, weight = (np.array([row[k] for row in rows]) for k in range(4))
    columns = user.astype(np.int64), item.astype(np.int64), (hour * HOUR).astype(np.int64), weight.astype(np.float32)
    segments = tuple(SEGMENTS[k % len(SEGMENTS)] for k in range(n_users))
    return History(tuple(f"u{k}" for k in range(n_users)), ITEM_IDS, *columns, segments)


@cache
def world(*, priors=False):
    """Return a fitted basis, with estimated and segments' priors or not, and the items' features; made once each."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(N_ITEMS, 10)).astype(np.float32)
    options = EmbeddingOptions(content_dim=4, collaborative_dim=2, half_life_days=4.0, text_dim=0)
    options = dataclasses.replace(options, estimate_shrinkage=priors, segment_prior=priors)
    past = history_of([(u, i, 10 * i, 1.0) for u in range(40) for i in rng.permutation(N_ITEMS)[:3]], n_users=40)
    return fit_basis(past, features, np.ones(N_ITEMS, dtype=bool), options), features


def before(history, **kind):
    """Return the point-in-time rows of a history."""
    basis, features = world(**kind)
    return vectors_before_events(history, basis, features)


def embedded(history, **kind):
    """Return the preference table of a history."""
    basis, features = world(**kind)
    return embed_users(history, basis, features)


def close(one, other):
    """Return whether two arrays of standardised vectors agree but for rounding."""
    return np.allclose(one, other, rtol=1e-4, atol=1e-4)


@given(EVENTS, st.booleans())
def test_a_row_is_tonights_vector_of_the_history_cut_before_the_event(events, priors):
    """Row k equals the other way of embedding, given all events before event k and none at its second or later."""
    history = history_of(events)
    rows = before(history, priors=priors)
    for k, (user, now) in enumerate(zip(history.user_index, history.timestamp, strict=True)):
        assert close(rows[k], embedded(history.where(history.timestamp < now), priors=priors).vectors[user])


@given(EVENTS, EVENTS, st.integers(0, 400))
def test_what_happens_at_an_instant_or_later_cannot_reach_the_rows_up_to_it(past, future, hour):
    """Replacing everything at or after an instant leaves every row at or before it, bit for bit."""
    start = [event for event in past if event[2] < hour]
    anchor = [(user, 0, hour, 1.0) for user in range(N_USERS)]
    one = history_of([*start, *anchor, *(event for event in past if event[2] > hour)])
    other = history_of([*start, *anchor, *((u, i, hour + h, w) for u, i, h, w in future)])
    rows = []
    for history in (one, other):
        upto = history.timestamp <= hour * HOUR
        first_at_instant = np.concatenate([[True], np.diff(history.timestamp) != 0]) | (history.timestamp < hour * HOUR)
        rows.append(before(history)[upto & (first_at_instant | (np.diff(history.user_index, prepend=-1) != 0))])
    assert np.array_equal(*rows)


@given(EVENTS)
def test_events_of_one_second_do_not_see_each_other(events):
    """All events of a user at one instant have the same row."""
    history = history_of(events)
    rows = before(history)
    for k in range(1, len(rows)):
        tie = (history.user_index[k], history.timestamp[k]) == (history.user_index[k - 1], history.timestamp[k - 1])
        assert not tie or np.array_equal(rows[k], rows[k - 1])


@given(EVENTS)
def test_a_first_event_is_preceded_by_the_population(events):
    """Before the first event nothing is known of a user: the zero vector."""
    history = history_of(events)
    first = np.diff(history.user_index, prepend=-1) != 0
    assert np.abs(before(history)[first]).max() < 1e-4


@given(EVENTS, st.integers(-300_000, 300_000))
def test_moving_all_events_in_time_changes_nobody(events, hours):
    """Time passing by itself is no taste: only differences of times count, before and after the epoch."""
    history = history_of(events)
    moved = history_of([(user, item, hour + hours, weight) for user, item, hour, weight in events])
    assert close(embedded(moved).vectors, embedded(history).vectors)
    assert close(before(moved), before(history))


@given(EVENTS, st.permutations(range(N_USERS)))
def test_permuting_users_permutes_rows(events, order):
    """A vector, its count and its reasons belong to the user, not to the place in the table."""
    table = embedded(history_of(events))
    permuted = embedded(history_of([(order[user], item, hour, weight) for user, item, hour, weight in events]))
    assert np.array_equal(permuted.vectors[list(order)], table.vectors)
    assert np.array_equal(permuted.n_events[list(order)], table.n_events)
    assert tuple(permuted.top_events[k] for k in order) == table.top_events


@given(EVENTS, EVENTS)
def test_other_users_do_not_matter(events, others):
    """What others do tonight changes nobody's vector once the basis is frozen."""
    alone = history_of(events)
    together = history_of([*events, *((user + N_USERS, *rest) for user, *rest in others)], n_users=2 * N_USERS)
    assert np.array_equal(embedded(together).vectors[:N_USERS], embedded(alone).vectors)
    assert np.array_equal(before(together)[: len(events)], before(alone))


@given(EVENTS, st.integers(0, N_USERS - 1), st.integers(0, N_ITEMS - 1))
def test_a_first_dislike_pushes_away_from_its_item(events, user, item):
    """A dislike at the time of a user's last like lowers the raw vector's product with that item."""
    basis, features = world()
    likes = [(u, i, hour, abs(weight)) for u, i, hour, weight in events]
    last = max((hour for u, _, hour, _ in likes if u == user), default=0)
    disliked = embedded(history_of([*likes, (user, item, last, -1.0)])).vectors[user] * basis.scale
    plain = embedded(history_of(likes)).vectors[user] * basis.scale
    direction = basis.item_vectors(features, ITEM_IDS)[item]
    assert (disliked - plain) @ direction < -0.1


@given(EVENTS)
def test_shares_of_top_events_are_a_part_of_one(events):
    """Largest first, no share above the whole, signs as the weights; users without events have none."""
    table = embedded(history_of(events))
    for count, tops in zip(table.n_events, table.top_events, strict=True):
        shares = [abs(event["weight"]) for event in tops]
        assert len(tops) == min(count, 5)
        assert sum(shares) < 1.001
        assert shares == sorted(shares, reverse=True)
        assert count > 5 or not count or sum(shares) > 0.999
