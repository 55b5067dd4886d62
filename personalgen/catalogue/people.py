"""Deleting what the catalogue's tables hold of people: every table that names a user, those of later revisions too."""

from collections import Counter
from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, Connection, Table, delete, func, or_, select, update

from personalgen.catalogue.bulk import chunks
from personalgen.catalogue.ratings import delete_opinions_of
from personalgen.catalogue.schema import (
    METADATA,
    asset,
    comparison,
    model_version,
    night,
    user,
    user_change,
    user_current,
    user_variant,
)

KEPT = frozenset({"user", "asset", "forgotten", "erasure"})
"""The key stays for ever, assets go with their bytes (`erasures`), the others are the ledger itself."""
KINDS = {
    "recommendation": "recommendations",
    "user_neighbour": "neighbours",
    "user_current": "conditions",
    "user_variant": "further images",
    "refused": "refused images",
    "comparison": "blind choices",
}
"""What the ledger calls the rows of a table; others by the table's name."""
_NAMING = ("user_key", "neighbour_key")
EVENTS = "assets' events in SQL"


def tables_of_people() -> list[Table]:
    """Return the tables whose rows of a person go as soon as that is asked for."""
    return [table for table in METADATA.sorted_tables if "user_key" in table.c and table.name not in KEPT]


def delete_people(connection: Connection, user_keys: Sequence[int]) -> dict[int, Counter[str]]:
    """Delete these people's rows, their segment and the events behind their assets; return counts by kind for each.

    Rows in which somebody is another's neighbour go too, and count for whom they were found; so does what they said as
    raters and voters, where these are named by the ids of users.
    """
    counts = {key: Counter(dict.fromkeys([*KINDS.values(), EVENTS], 0)) for key in user_keys}
    for part in chunks(list(counts)):
        for table in reversed(tables_of_people()):
            _delete_from(connection, table, part, counts)
        named = select(user.c.user_id, user.c.user_key).where(user.c.user_key.in_(part))
        delete_opinions(connection, {row.user_id: row.user_key for row in connection.execute(named)}, counts)
        connection.execute(update(user).where(user.c.user_key.in_(part)).values(segment=None))
        own = owned(asset, part) & (asset.c.top_events != [])
        for key, count in connection.execute(select(asset.c.user_key, func.count()).where(own).group_by("user_key")):
            counts[key][EVENTS] += count
        connection.execute(update(asset).where(own).values(top_events=[]))
    return counts


def delete_opinions(connection: Connection, keys: Mapping[str, int], counts: Mapping[int, Counter[str]]) -> None:
    """Delete what people said as raters and voters of anybody's pictures, by the ids that name them there.

    `keys` are those of the people by such an id; how many went is added to the counts of each.
    """
    for user_id, count in delete_opinions_of(connection, list(keys)).items():
        counts[keys[user_id]]["rating"] += count
    for part in chunks(list(keys)):
        voted = comparison.c.voter.in_(part)
        votes = select(comparison.c.voter, func.count()).where(voted).group_by(comparison.c.voter)
        for user_id, count in connection.execute(votes):
            counts[keys[user_id]][KINDS["comparison"]] += count
        connection.execute(delete(comparison).where(voted))


def owned(table: Table, user_keys: Sequence[int]) -> ColumnElement[bool]:
    """Return whether a row is of one of these people; naming the generators lets a key that they lead serve it.

    Only where the writer of the table has seen that they are registered (`shards`): elsewhere rows might be missed.
    """
    ours: ColumnElement[bool] = table.c.user_key.in_(user_keys)
    if table is user_change:
        ours = table.c.night_id.in_(select(night.c.night_id)) & ours
    elif table not in (asset, user_current, user_variant):
        return ours
    return table.c.generator_digest.in_(select(model_version.c.generator_digest)) & ours


def _delete_from(
    connection: Connection, table: Table, user_keys: Sequence[int], counts: dict[int, Counter[str]]
) -> None:
    kind = KINDS.get(table.name, table.name)
    for name in _NAMING:
        if name in table.c:
            named = owned(table, user_keys) if name == "user_key" else table.c[name].in_(user_keys)
            for key, count in connection.execute(select(table.c[name], func.count()).where(named).group_by(name)):
                counts[key][kind] += count
    doomed = [table.c[name].in_(user_keys) for name in _NAMING[1:] if name in table.c]
    connection.execute(delete(table).where(or_(owned(table, user_keys), *doomed)))
