"""People of the world of shapes, half of whom have moved to another taste halfway, as a table with the truth behind it.

Every like is drawn from the taste of its time, so that the order of likes says nothing but when somebody moved.
"""

import numpy as np
from numpy.typing import NDArray

from benchmarks.list_like import Planted
from personalgen.embeddings import image_features
from personalgen.histories import History
from personalgen.worlds import HistoryOptions, PlantedUsers, ShapesWorld
from personalgen.worlds.history import moved_users, simulate_events

_COLUMNS, _FEATURE_PX = 24, 64
Matrix = NDArray[np.float64]


def moved(n_users: int, *, n_items: int = 1024) -> Planted:
    """Return the table; tastes are the main components of true utilities, at the beginning and at the end."""
    world, options = ShapesWorld(n_items), HistoryOptions(n_users=n_users, cold_share=0.0, moved_share=0.5)
    users = world.sample_users(n_users, options.seed)
    others = PlantedUsers(users.user_ids, world.sample_users(n_users, options.seed + 1).tastes)
    events = simulate_events(world, users, options)
    order = np.lexsort((events.item, events.timestamp, events.user))
    columns = (events.item[order], events.timestamp[order], events.weight[order].astype(np.float32))
    history = History(users.user_ids, world.items().item_ids, events.user[order], *columns)
    features = image_features(world.render(_FEATURE_PX), feature_px=_FEATURE_PX)
    now, then = (world.true_utility(people).astype(np.float64) for people in (users, others))
    then[~moved_users(options)] = now[~moved_users(options)]
    return Planted(history, features, _components(then, now))


def _components(then: Matrix, now: Matrix) -> Matrix:
    """Return (n_users, 2, columns) of the utilities in the main directions of today's ones."""
    directions = np.linalg.svd(now - now.mean(0), full_matrices=False)[2][:_COLUMNS].T
    return np.stack([(utility - now.mean(0)) @ directions for utility in (then, now)], axis=1)
