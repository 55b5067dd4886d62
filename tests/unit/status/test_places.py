from datetime import UTC, datetime

import pytest

from personalgen.config import Settings, build_settings
from personalgen.errors import ConfigError
from personalgen.option_values import read_values
from personalgen.status.places import next_night, places_of

NOW = datetime(2026, 3, 28, 23, 30, tzinfo=UTC)  # the night before clocks go forward in Berlin


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"home": "/srv/x", "limits": {"max_quarantine_share": 0.2}},
        {
            "store": {
                "catalogue_url": "postgresql+psycopg://db/c",
                "time_zone": "Europe/Berlin",
                "shard_root": "s3://b/p",
            }
        },
    ],
)
def test_the_places_are_those_of_the_settings(values):
    """Defaults and given values alike, without loading the settings."""
    settings, places = build_settings(values), places_of(values)
    assert (places.root, places.catalogue_url) == (settings.root, settings.catalogue_url)
    assert (places.time_zone, places.shard_root) == (settings.store.time_zone, settings.store.shard_root)
    assert places.max_quarantine_share == settings.limits.max_quarantine_share


def test_the_next_night_is_in_the_schedules_zone():
    """02:30 does not exist on the day on which clocks go forward: the night comes at the next moment there is."""
    places = places_of({"schedule": {"cron": "0 4 * * *"}, "store": {"time_zone": "Europe/Berlin"}})
    assert next_night(places, NOW).isoformat() == "2026-03-29T04:00:00+02:00"
    assert next_night(places_of({}), NOW) is None
    with pytest.raises(ConfigError, match="expected five fields"):
        next_night(places_of({"schedule": {"cron": "at night"}}), NOW)


def test_values_of_another_kind_are_refused():
    """A section that is a value, a text that is a number."""
    with pytest.raises(ConfigError, match="store is a section"):
        places_of({"store": 5})
    with pytest.raises(ConfigError, match="home must be text"):
        places_of({"home": 5})


def test_the_mail_password_is_no_value():
    """It stands in the environment and nowhere else."""
    assert read_values(None, (), environment={"PERSONALGEN_SMTP_PASSWORD": "x", "PERSONALGEN_HOME": "/h"}) == {
        "home": "/h"
    }
    assert Settings().logs.keep_days == 30
