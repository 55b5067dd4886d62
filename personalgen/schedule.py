"""When nights run by themselves, and which of the missed ones are run after a pause."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from personalgen.bounds import check_options

CATCH_UP = ("latest", "all", "skip")


@dataclass(frozen=True)
class ScheduleOptions:
    """When `personalgen serve` runs nights; the zone is `store.time_zone`."""

    cron: str = "0 2 * * *"
    """Minute, hour, day of month, month, day of week; empty runs nothing by itself."""
    catch_up: str = "latest"
    """What happens to nights missed while nothing served: "latest" runs the newest of them, "all" each of them in
    order, "skip" none. Whatever is left out loses no event: the next night reads all before its own instant."""
    crash_retries: int = 2
    """How often a night whose process died is started again while `serve` lives; one that failed waits for a person."""
    port: int = 4200
    """Port on 127.0.0.1 of the Prefect server that `serve` starts where PREFECT_API_URL names none."""

    def __post_init__(self) -> None:
        """Refuse what is no cron line, no policy or no port, all in one message."""
        n_fields = len(self.cron.split())
        faults = [f"cron must have five fields or be empty, found {self.cron!r}"] if n_fields not in (0, 5) else []
        faults += [] if 0 < self.port < 65536 else [f"port must be in [1, 65535], found {self.port}"]
        check_options("schedule", self, least={"crash_retries": 0}, choices={"catch_up": CATCH_UP}, more=faults)


def nights_to_run(missed: Sequence[datetime], catch_up: str) -> tuple[datetime, ...]:
    """Return which of the scheduled instants since the newest finished night are run now, the earliest first."""
    in_order = sorted(set(missed))
    return tuple({"latest": in_order[-1:], "all": in_order, "skip": []}[catch_up])
