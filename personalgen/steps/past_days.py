"""Which past days are backfilled, each as of which instant and by which model: all settled before any of it runs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from personalgen.catalogue import read
from personalgen.catalogue.past_releases import live_at, past_releases
from personalgen.errors import ConfigError
from personalgen.steps.workspace import Workspace

MIDNIGHT = time()
_SHOWN = 5


@dataclass(frozen=True)
class PastDay:
    """A day to look back to."""

    day: date
    as_of: datetime
    """UTC, exclusive."""
    since: datetime
    """As of when the day before was: who did something between the two is drawn for."""
    model_version_id: int
    version: int
    operating_point: Mapping[str, Any]
    everybody: bool
    """Whether also people are drawn for who did nothing on that day."""


def days_to_backfill(
    workspace: Workspace,
    first: date,
    last: date,
    *,
    version: int | None = None,
    everybody: bool = False,
    at: time = MIDNIGHT,
) -> tuple[PastDay, ...]:
    """Return the days from `first` to `last`, each as of `at` in the catalogue's time zone.

    Each with the model that was live then and where it drew, or with `version`, where it was released last, else at the
    operating point of the settings.

    Raises:
        ConfigError: `last` is before `first`, a day is not over, or nothing was live on one. Nothing was started.
        NotFoundError: there is no such version.
    """
    zone = ZoneInfo(workspace.settings.store.time_zone)
    if last < first:
        raise ConfigError(f"the days end on {last}, before they begin on {first}. Nothing was started.")
    days = [first + timedelta(days=k) for k in range((last - first).days + 1)]
    instants = {day: instant_of(day, at, zone) for day in days}
    if late := [day for day, instant in instants.items() if instant > workspace.now()]:
        raise ConfigError(
            f"{_named(late)} cannot be backfilled: {instants[late[0]].isoformat()} has not come yet. `personalgen "
            "nightly` draws what is new. Nothing was started."
        )
    chosen = {day: _drawn_by(workspace, instant, version) for day, instant in instants.items()}
    if without := [day for day, found in chosen.items() if found is None]:
        raise ConfigError(
            f"no model was live on {_named(without)} (`personalgen models history`). Begin later, or name a model with "
            "--model VERSION. Nothing was started."
        )
    before = timedelta(days=1)
    return tuple(
        PastDay(day, instants[day], instant_of(day - before, at, zone), *found, everybody)
        for day, found in chosen.items()
        if found is not None
    )


def instant_of(day: date, at: time, zone: ZoneInfo) -> datetime:
    """Return when `at` is on a day in a zone, in UTC; an hour that comes twice is the first of them."""
    return datetime.combine(day, at, tzinfo=zone).astimezone(UTC)


def _drawn_by(
    workspace: Workspace, instant: datetime, version: int | None
) -> tuple[int, int, Mapping[str, Any]] | None:
    """Return (model version id, version, operating point) of an instant; None where nothing was live."""
    releases = past_releases(workspace.engine)
    if version is None:
        found = live_at(releases, instant)
        return None if found is None else (found.model_version_id, found.version, found.operating_point)
    model = read.model_by_version(workspace.engine, workspace.settings.store.model_name, version)
    own = [one.operating_point for one in releases if one.model_version_id == model.model_version_id]
    point = own[-1] if own else asdict(workspace.settings.generation.operating_point)
    return model.model_version_id, version, point


def _named(days: list[date]) -> str:
    """Return some days in words."""
    more = f" and {len(days) - _SHOWN} more" if len(days) > _SHOWN else ""
    return ", ".join(map(str, days[:_SHOWN])) + more
