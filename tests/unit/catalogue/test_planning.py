from contextlib import closing

import numpy as np
import pytest
from sqlalchemy import text

from personalgen.catalogue.engine import transaction
from personalgen.catalogue.planning import current_conditions
from personalgen.errors import CatalogueError

NO_ASSETS_NEEDED = {"sqlite": "PRAGMA foreign_keys=OFF", "postgresql": "SET session_replication_role = replica"}
COLUMNS = "generator_digest, user_key, asset_id, condition, changed_night_id"
INSERT = f"INSERT INTO user_current ({COLUMNS}) VALUES (1, :k, :k, :c, 1)"


def store(engine, conditions):
    """Store one current condition per user, without the assets behind them."""
    with closing(engine.raw_connection()) as connection:
        connection.driver_connection.execute(NO_ASSETS_NEEDED[engine.dialect.name])
        connection.driver_connection.commit()
    with transaction(engine) as connection:
        for key, values in conditions.items():
            connection.execute(text(INSERT), {"k": key, "c": np.array(values, dtype="<f4").tobytes()})


def test_conditions_come_back_in_the_order_of_users(engine):
    """Rows are sorted by user; values are the float32 that were stored."""
    store(engine, {5: [0.1, 2.0], 3: [-1.0, 0.5]})
    found = current_conditions(engine, 1)
    assert (found.user_keys.tolist(), found.asset_ids.tolist()) == ([3, 5], [3, 5])
    assert np.array_equal(found.conditions, np.array([[-1.0, 0.5], [0.1, 2.0]], dtype=np.float32))
    assert found.conditions.flags.writeable


def test_conditions_of_two_widths_are_refused(engine):
    """Conditions of different widths under one generator cannot be one matrix."""
    store(engine, {1: [0.0], 2: [0.0, 1.0]})
    with pytest.raises(CatalogueError, match=r"\[1, 2\] columns"):
        current_conditions(engine, 1)
