"""A world in feature space: users and items with one hidden taste vector each, seen through noisy features."""

from dataclasses import dataclass

import numpy as np
import pytest

from personalgen.evaluation import EvaluationOptions, Pictures, Selection, Yardstick, build_yardstick, select_held_out

N_USERS, N_ITEMS, N_TASTES, WIDTH = 64, 600, 6, 48


@dataclass(frozen=True)
class FeatureWorld:
    """Planted tastes, the yardstick built on the held-out part, and perfect features for a user."""

    tastes: np.ndarray
    item_tastes: np.ndarray
    mixing: np.ndarray
    features: np.ndarray
    selection: Selection
    yardstick: Yardstick

    def pictures(self, tastes, seed=0, k=4):
        """Return (n_users, k, d) features of pictures of items near these tastes, one row of tastes a user."""
        rng = np.random.default_rng(seed)
        utility = 2 * tastes @ self.item_tastes.T + rng.gumbel(size=(k, len(tastes), len(self.item_tastes)))
        return np.swapaxes(self.features[utility.argmax(axis=2)], 0, 1)


@pytest.fixture(scope="session")
def options():
    """Options of a quick evaluation."""
    return EvaluationOptions(n_users=N_USERS, bootstrap=300, permutations=300)


@pytest.fixture(scope="session")
def world(options):
    """64 users with tastes in 6 dimensions and 600 items in 48 features, 80 events each, later half held out."""
    rng = np.random.default_rng(0)
    tastes, item_tastes = rng.normal(size=(N_USERS, N_TASTES)), rng.normal(size=(N_ITEMS, N_TASTES))
    mixing = rng.normal(size=(N_TASTES, WIDTH)) / np.sqrt(N_TASTES)
    features = item_tastes @ mixing + 0.2 * rng.normal(size=(N_ITEMS, WIDTH)) + 1
    utility = 2 * tastes @ item_tastes.T + rng.gumbel(size=(80, N_USERS, N_ITEMS))
    liked = utility.argmax(axis=2)
    selection = select_held_out(
        user_ids=[f"u{k}" for k in range(N_USERS)],
        judged_users=np.ones(N_USERS, dtype=bool),
        user_split=np.repeat([1, 2], N_USERS // 2),
        item_split=rng.choice(3, N_ITEMS, p=[0.4, 0.3, 0.3]),
        user_index=np.tile(np.arange(N_USERS), 80),
        item_index=liked.ravel(),
        weight=np.ones(liked.size, np.float32),
        later=np.repeat(np.arange(80) >= 40, N_USERS),
        options=options,
    )
    yardstick = build_yardstick(selection, Pictures(features[selection.item_index]), options=options)
    return FeatureWorld(tastes[selection.user_index], item_tastes, mixing, features, selection, yardstick)
