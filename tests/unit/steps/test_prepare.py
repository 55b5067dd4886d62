import dataclasses
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from personalgen.config import build_settings
from personalgen.errors import ConfigError
from personalgen.steps.prepare import night_key, source_of
from personalgen.tables import PreparedTables

TABLES = PreparedTables(
    folder="/somewhere", as_of=datetime(2026, 9, 21, tzinfo=UTC), source_digest="d" * 32, n_interactions=1, n_users=1,
    n_items=1, n_quarantined=0, n_after_as_of=0, quarantine=(),
)  # fmt: skip
KEY = night_key(TABLES, "shop", build_settings({}).digest())


def key(tables=TABLES, source="shop", **settings):
    """Return the key of a night with these settings."""
    return night_key(tables, source, build_settings(settings).digest())


@pytest.mark.parametrize("place", ["path", "url"])
def test_a_simulated_and_a_real_source_at_once_are_refused(place):
    """The message names both settings, and nothing is written."""
    settings = build_settings({"world": {"name": "shapes"}, "source": {place: "sqlite:///x.db"}})
    with pytest.raises(ConfigError, match=r"world\.name = 'shapes'.*one of them.*Nothing was read"):
        source_of(SimpleNamespace(settings=settings))


def test_a_night_is_named_by_32_hex_digits():
    """The key fits the catalogue's column."""
    assert len(KEY) == 32
    assert int(KEY, 16) >= 0


@pytest.mark.parametrize(
    "other",
    [
        {"tables": dataclasses.replace(TABLES, source_digest="e" * 32)},
        {"tables": dataclasses.replace(TABLES, as_of=TABLES.as_of + timedelta(seconds=1))},
        {"source": "another shop"},
        {"train": {"max_kimg": 31.0}},
        {"gate": {"min_gain": 0.1}},
        {"generation": {"min_shift": 0.06}},
        {"world": {"history": {"seed": 1}}},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_decides_the_result_makes_another_night(other):
    """Another content, instant, source or setting is another night."""
    assert key(**other) != KEY


@pytest.mark.parametrize(
    "other",
    [
        {"home": "/elsewhere"},
        {"train": {"threads": 7, "device": "cpu"}},
        {"evaluation": {"threads": 7}},
        {"store": {"tracking_uri": "sqlite:///other.db"}},
        {"world": {"folder": "/elsewhere"}},
        {"limits": {"chunk_rows": 7}},
        {"tables": dataclasses.replace(TABLES, folder="/elsewhere", n_after_as_of=3)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_places_and_speed_do_not(other):
    """The same night in another home, on another machine, is the same night."""
    assert key(**other) == KEY


def test_another_kind_is_another_night():
    """A nightly night keeps the key that it had before there were kinds."""
    keys = [night_key(TABLES, "shop", build_settings({}).digest(), of) for of in ((), ("retrain", "warm"), ("x",))]
    assert keys[0] == KEY
    assert len(set(keys)) == 3
