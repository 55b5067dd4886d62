"""The few settings that say where a home's things are, with the defaults of `config`, which a test compares."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from personalgen.errors import ConfigError
from personalgen.locks import SERVE
from personalgen.schedule import ScheduleOptions


@dataclass(frozen=True)
class Places:
    """Where to look."""

    root: Path
    catalogue_url: str
    shard_root: str
    """A folder (relative ones below the home's data), a URL, or empty for the data folder."""
    time_zone: str
    cron: str
    """When nights are scheduled; empty where nobody has said so, nor ever served this home."""
    max_quarantine_share: float

    @property
    def data(self) -> Path:
        """Folder of everything but mlflow.db."""
        return self.root / "data"

    @property
    def shards(self) -> Path | None:
        """Folder of the shards; None where they are behind a URL."""
        return None if "://" in self.shard_root else self.data / self.shard_root


def places_of(values: Mapping[str, Any]) -> Places:
    """Return the places that values of settings name (`option_values.read_values`).

    Raises:
        ConfigError: one of them is no text, or no number.
    """
    store, limits, schedule = (_section(values, name) for name in ("store", "limits", "schedule"))
    root = Path(_text(values, "home", ".")).resolve()
    return Places(
        root=root,
        catalogue_url=_text(store, "catalogue_url", "") or f"sqlite:///{root / 'data' / 'catalogue.db'}",
        shard_root=_text(store, "shard_root", ""),
        time_zone=_text(store, "time_zone", "UTC"),
        cron=_text(schedule, "cron", ScheduleOptions().cron if (root / "data" / SERVE).exists() else ""),
        max_quarantine_share=float(limits.get("max_quarantine_share", 0.05)),
    )


def refused_path(data: Path) -> Path:
    """Return where the newest night stands that a failing check stopped; there is none after a night went on."""
    return data / "health" / "refused.json"


def next_night(places: Places, now: datetime) -> datetime | None:
    """Return when the next night is scheduled, or None where none is.

    Raises:
        ConfigError: the schedule is no cron line.
    """
    if not places.cron:
        return None
    from cronsim import CronSim, CronSimError

    try:
        found: datetime = next(CronSim(places.cron, now.astimezone(ZoneInfo(places.time_zone))))
    except (CronSimError, StopIteration) as error:
        raise ConfigError(
            f"schedule.cron is {places.cron!r}, expected five fields such as 0 2 * * *: {error}. Nothing was read."
        ) from None
    return found


def _section(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name, {})
    if not isinstance(found, Mapping):
        raise ConfigError(f"{name} is a section, found the value {found!r}. Nothing was read.")
    return found


def _text(values: Mapping[str, Any], name: str, default: str) -> str:
    found = values.get(name, default)
    if not isinstance(found, str):
        raise ConfigError(f"{name} must be text, found {found!r}. Nothing was read.")
    return found
