"""What a safety filter refused is remembered in the catalogue, on SQLite and on PostgreSQL."""

import os
from datetime import UTC, datetime

import numpy as np
import psycopg
import pytest

from personalgen.catalogue.engine import open_catalogue, transaction
from personalgen.catalogue.migrations import upgrade
from personalgen.catalogue.people import delete_people
from personalgen.catalogue.query import run_sql
from personalgen.catalogue.refusals import record_refused, were_refused

AT = datetime(2026, 3, 1, 3, 30, tzinfo=UTC)
BIG = 2**62 + 1
KEYS = [(1, BIG, 11, 7, 0), (1, BIG, 12, 7, 1), (2, BIG, 11, 7, 0)]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """Return the URL of an empty catalogue, once per backend."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/catalogue.db"
    server, name = request.getfixturevalue("postgresql_server"), f"r{os.urandom(4).hex()}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{server}/{name}"


@pytest.fixture
def engine(url):
    """Return an engine on a catalogue in which three images were refused."""
    engine = open_catalogue(url)
    upgrade(engine)
    record_refused(engine, [(key, 0.9) for key in KEYS], rule="own 1 < 0.8", night_id=1, at=AT)
    yield engine
    engine.dispose()


def known(engine, keys, *, rule="own 1 < 0.8", generator=BIG, point=7):
    """Return which of (user, condition, variant) were refused."""
    users, conditions, variants = (np.array(column, dtype=np.int64) for column in zip(*keys, strict=True))
    found = were_refused(
        engine, generator, point, user_keys=users, condition_digests=conditions, variants=variants, rule=rule
    )
    return found.tolist()


def test_exactly_the_refused_keys_are_known(engine):
    """User, condition, variant, generator, operating point and rule must all agree."""
    asked = [(1, 11, 0), (1, 12, 1), (2, 11, 0), (1, 11, 1), (2, 12, 1), (3, 11, 0)]
    assert known(engine, asked) == [True, True, True, False, False, False]
    for other in ({"rule": "own 1 < 0.7"}, {"rule": "own 2 < 0.8"}, {"generator": 5}, {"point": 8}):
        assert known(engine, asked, **other) == [False] * 6


def test_refusing_twice_is_refusing_once_and_a_newer_rule_stays(engine, url):
    """The same again changes nothing; under another rule the row tells the newer one."""
    record_refused(engine, [(KEYS[0], 0.1)], rule="own 1 < 0.8", night_id=2, at=AT)
    record_refused(engine, [(KEYS[1], 0.5)], rule="own 1 < 0.4", night_id=2, at=AT)
    record_refused(engine, [], rule="own 1 < 0.4", night_id=3, at=AT)
    asked = "SELECT variant, score, rule, night_id FROM v_refused ORDER BY score, variant"
    assert run_sql(url, asked, as_owner=True, timeout_sec=30).rows == (
        (1, 0.5, "own 1 < 0.4", 2), (0, 0.9, "own 1 < 0.8", 1), (0, 0.9, "own 1 < 0.8", 1),
    )  # fmt: skip


def test_who_is_forgotten_leaves_no_refusal(engine):
    """The rows of one person go, other people's stay."""
    with transaction(engine) as connection:
        assert delete_people(connection, [1])[1]["refused images"] == 2
    assert known(engine, [(1, 11, 0), (2, 11, 0)]) == [False, True]
