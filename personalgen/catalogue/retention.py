"""For how many days what nights leave is kept, and which nights are old enough to go."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, select

from personalgen.bounds import check_options
from personalgen.catalogue.read import reading
from personalgen.catalogue.rows import Night
from personalgen.catalogue.schema import night


@dataclass(frozen=True)
class RetentionOptions:
    """Days since a night was first begun, by this machine's clock; 0 keeps for ever. What is needed stays, however old.

    Needed is what users may see under any model, the newest night, and the one that the next goes on from.
    """

    nights_days: int = 0
    """Whole nights: images, rows, results, tables and report; the night's own row and its models stay."""
    results_days: int = 0
    """Checkpoints, vectors and tables of recommendations in a night's folder; its results in numbers stay."""
    tables_days: int = 0
    """Validated tables and decoded pictures; another night makes its own."""
    quarantine_days: int = 0
    """Rows that were set aside; how many there were, and why, stays."""

    def __post_init__(self) -> None:
        """Refuse negative days."""
        check_options("retention", self, least=dict.fromkeys(self.__dataclass_fields__, 0))

    @property
    def is_set(self) -> bool:
        """Whether anything goes by its age."""
        return any((self.nights_days, self.results_days, self.tables_days, self.quarantine_days))


def nights_begun_before(engine: Engine, instant: datetime) -> tuple[Night, ...]:
    """Return the nights that were first begun before an instant and are not deleted, the oldest first."""
    query = select(night).where(night.c.created_at < instant, night.c.status != "deleted").order_by(night.c.night_id)
    with reading(engine) as connection:
        return tuple(Night(**row._asdict()) for row in connection.execute(query))
