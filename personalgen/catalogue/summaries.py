"""What the newest night read of each user's history: counts and dates, kept by `prepare`."""

from collections.abc import Iterator
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, delete, select

from personalgen.catalogue.bulk import chunks, execute_rows, insert_into
from personalgen.catalogue.engine import transaction
from personalgen.catalogue.facts import HistorySummaries
from personalgen.catalogue.schema import user, user_summary
from personalgen.errors import NotFoundError

_Facts = tuple[int, int, datetime, datetime]

_COLUMNS = (
    user_summary.c.user_key, user_summary.c.n_events, user_summary.c.n_likes, user_summary.c.first_event_at,
    user_summary.c.last_event_at,
)  # fmt: skip


def replace_summaries(engine: Engine, night_id: int, found: HistorySummaries) -> int:
    """Make these the summaries; return how many rows were written. Who is not among them has no event any more.

    A row that would say the same but for the night stays as it is.

    Raises:
        NotFoundError: a user is not in the catalogue. Nothing was changed.
    """
    with transaction(engine) as connection:
        told = dict(zip(_keys(connection, found.user_ids), _facts(found), strict=True))
        stored = {key: tuple(facts) for key, *facts in connection.execute(select(*_COLUMNS))}
        for part in chunks(sorted(stored.keys() - told.keys())):
            connection.execute(delete(user_summary).where(user_summary.c.user_key.in_(part)))
        names = [column.name for column in user_summary.columns]
        changed = sorted(key for key, facts in told.items() if stored.get(key) != facts)
        rows = [dict(zip(names, (key, *told[key], night_id), strict=True)) for key in changed]
        insert = insert_into(connection, user_summary)
        fresh = {name: insert.excluded[name] for name in names[1:]}
        return execute_rows(connection, insert.on_conflict_do_update(index_elements=names[:1], set_=fresh), rows)


def _keys(connection: Connection, user_ids: tuple[str, ...]) -> list[int]:
    known: dict[str, int] = {}
    for part in chunks(user_ids):
        query = select(user.c.user_id, user.c.user_key).where(user.c.user_id.in_(part))
        known.update((row.user_id, row.user_key) for row in connection.execute(query))
    if missing := [user_id for user_id in user_ids if user_id not in known]:
        raise NotFoundError(
            f"{len(missing)} of {len(user_ids)} users are not in the catalogue, the first being {missing[0]!r}. "
            "Allocate keys with allocate_user_keys first. Nothing was changed."
        )
    return [known[user_id] for user_id in user_ids]


def _facts(found: HistorySummaries) -> Iterator[_Facts]:
    columns = (found.n_events, found.n_likes, found.first_event, found.last_event)
    for n_events, n_likes, first, last in zip(*(column.tolist() for column in columns), strict=True):
        yield n_events, n_likes, datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC)
