from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from personalgen.tables.profile import TASTE_BINS, Newcomers, profile_of

T0 = 1_700_000_000
AS_OF = datetime.fromtimestamp(T0 + 7200, UTC)


@pytest.fixture
def figures(shop):
    """Return a function that prepares the shop and returns its figures by full name."""

    def measure(*, since=None, newcomers=None, **changes):
        for table, columns in changes.items():
            setattr(shop, table, getattr(shop, table) | columns)
        tables = shop.prepare(as_of=AS_OF)
        return {one.full_name: one for one in profile_of(tables, since=since, newcomers=newcomers).figures}

    return measure


def test_the_figures_of_a_small_shop(figures):
    """Rows of each table, the age of the newest event, and shares of what was set aside."""
    found = figures(interactions={"item_id": ["a", "b", "b", "gone"]})
    values = {name: figure.value for name, figure in found.items() if not figure.counts}
    assert (values["interactions.volume"], values["items.volume"], values["users.volume"]) == (3, 3, 2)
    assert values["interactions.age_hours"] == pytest.approx((7200 - 20) / 3600)
    assert (values["interactions.quarantined"], values["interactions.unknown_items"]) == (0.25, 0.25)
    assert (values["items.quarantined"], values["users.quarantined"]) == (0, 0)
    assert (values["interactions.new_events"], values["users.new"], values["items.new"]) == (None, None, None)


def test_columns_that_are_null(figures):
    """Absent columns are null throughout; a title that one of three items lacks is a third."""
    found = figures(items={"title": ["Apple", None, "Cat"]})
    shares = {name: figure.value for name, figure in found.items() if ".nulls." in name}
    assert shares == {
        "interactions.nulls.event": 1.0, "items.nulls.title": pytest.approx(1 / 3), "items.nulls.text": 1.0,
        "users.nulls.segment": 1.0, "users.nulls.created_at": 1.0,
    }  # fmt: skip


def test_new_events_are_those_since_the_last_night(figures):
    """They are counted a day, and only they are in the distributions."""
    found = figures(since=AS_OF - timedelta(seconds=7200 - 15), newcomers=Newcomers(users=1, items=0))
    assert sum(found["interactions.taste"].counts) == sum(found["interactions.weights"].counts) == 2
    assert (found["users.new"].value, found["items.new"].value) == (0.5, 0.0)


def test_events_a_day_are_told_of_half_a_day_or_more(figures):
    """An hour after a night a source that is filled once a day has none, and nothing is wrong with it."""
    assert figures(since=AS_OF - timedelta(days=2))["interactions.new_events"].value == pytest.approx(4 / 2)
    assert figures(since=AS_OF - timedelta(hours=12))["interactions.new_events"].value == pytest.approx(4 / 0.5)
    assert figures(since=AS_OF - timedelta(hours=1))["interactions.new_events"].value is None


def test_an_item_is_in_the_same_bin_in_every_night(figures):
    """The bins hold what the items' ids say, not their order or the rest of the catalogue."""
    before = np.array(figures()["interactions.taste"].counts)
    assert len(before) == TASTE_BINS
    after = np.array(figures(interactions={"item_id": ["a", "b", "b", "b"]})["interactions.taste"].counts)
    assert sorted((after - before)[(after - before) != 0].tolist()) == [-1, 1]
