"""A small world of random features: 12 items in two camps, 30 users who like one camp."""

import numpy as np
import pytest

from personalgen.embeddings import EmbeddingOptions, fit_basis
from personalgen.histories import History

DAY = 86_400
N_ITEMS, N_USERS, WIDTH = 12, 30, 20


def history_of(events, n_users=N_USERS, n_items=N_ITEMS):
    """Return the history of (user, item, day, weight) rows, sorted as a History must be."""
    rows = sorted(events, key=lambda row: (row[0], row[2], row[1]))
    user, item, day, weight = (np.array(column) for column in zip(*rows, strict=True)) if rows else [np.empty(0)] * 4
    return History(
        tuple(f"u{k:02d}" for k in range(n_users)),
        tuple(f"i{k:02d}" for k in range(n_items)),
        user.astype(np.int64),
        item.astype(np.int64),
        (day * DAY).astype(np.int64),
        weight.astype(np.float32),
    )


@pytest.fixture(scope="session")
def make_history():
    """Return the function that makes a history of (user, item, day, weight) rows."""
    return history_of


@pytest.fixture(scope="session")
def options():
    """Return options of a 6-column space."""
    return EmbeddingOptions(content_dim=4, collaborative_dim=2, half_life_days=10.0, text_dim=0, n_top_events=3)


@pytest.fixture(scope="session")
def features():
    """Return (n_items, WIDTH) features in which items 0-5 and 6-11 lie apart."""
    rng = np.random.default_rng(0)
    camps = np.repeat(3 * rng.normal(size=(2, WIDTH)), N_ITEMS // 2, axis=0)
    return (camps + rng.normal(size=(N_ITEMS, WIDTH))).astype(np.float32)


@pytest.fixture(scope="session")
def past():
    """Return five likes of each user: even users like items 0-5, odd ones 6-11."""
    rng = np.random.default_rng(1)
    events = [
        (user, int(item) + 6 * (user % 2), 100 + day, 1.0)
        for user in range(N_USERS)
        for day, item in enumerate(rng.permutation(6)[:5])
    ]
    return history_of(events)


@pytest.fixture(scope="session")
def basis(past, features, options):
    """Return a basis fitted on all of it."""
    return fit_basis(past, features, np.ones(N_ITEMS, dtype=bool), options)
