"""What was live when: read from the decisions, for whoever looks back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, func, select

from personalgen.catalogue.read import reading
from personalgen.catalogue.schema import model_promotion, model_version, night


@dataclass(frozen=True)
class PastRelease:
    """A move of what users see."""

    since: datetime
    """Of a night's promotion its `as_of`, as its images are of that instant; of a person's move when it was made."""
    model_version_id: int
    version: int
    operating_point: Mapping[str, Any]


def past_releases(engine: Engine) -> tuple[PastRelease, ...]:
    """Return every move of the live model, in the order in which they were made."""
    since = func.coalesce(night.c.as_of, model_promotion.c.at).label("since")
    moves = model_promotion.join(
        model_version, model_version.c.model_version_id == model_promotion.c.to_model_version_id
    ).outerjoin(night, night.c.night_id == model_promotion.c.night_id)
    columns = (since, model_version.c.model_version_id, model_version.c.version, model_promotion.c.operating_point)
    query = select(*columns).select_from(moves).where(model_promotion.c.operating_point_digest.is_not(None))
    with reading(engine) as connection:
        rows = connection.execute(query.order_by(model_promotion.c.promotion_id))
        return tuple(PastRelease(**row._asdict()) for row in rows)


def live_at(releases: Sequence[PastRelease], instant: datetime) -> PastRelease | None:
    """Return what was live at an instant, a night's own promotion of that very instant included; None before all."""
    return next((one for one in reversed(releases) if one.since <= instant), None)
