"""A world's people acting on its catalogue, written as the tables of the input contract into a SQLite history database.

The pipeline reads that database through SQLAlchemy like any company's. A table `about` marks it as simulated.
"""

import json
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from personalgen.artifacts import atomic_path, canonical_json
from personalgen.bounds import check_options
from personalgen.errors import SourceError
from personalgen.histories import DAY_SEC
from personalgen.worlds.base import PlantedUsers, World

_SCHEMA = """
create table about(key text primary key, value text not null);
create table users(user_id text primary key, segment text, created_at integer, opted_out integer not null default 0);
create table items(item_id text primary key, image text not null, title text, category text, colour text);
create table interactions(user_id text not null, item_id text not null, timestamp integer not null, weight real not
null, event text not null);
create index interactions_by_time on interactions(timestamp);
"""
_COLD_EVENTS = 4
"""Most events of a cold user."""


@dataclass(frozen=True)
class HistoryOptions:
    """Size of a simulated history."""

    n_users: int = 1000
    """Simulated people."""
    mean_events: float = 40.0
    """Events of a regular user over the whole period (log-normal)."""
    cold_share: float = 0.1
    """Share of users with 1 to 4 events."""
    dislike_share: float = 0.1
    """Share of events that are a dislike of something the user does not love."""
    moved_share: float = 0.0
    """Share of users with more than 4 events whose taste became another one halfway through the period."""
    popularity_nats: float = 0.5
    """How much items differ in what everybody likes more of them, as a standard deviation; 0 is no popularity."""
    opted_out_share: float = 0.01
    """Share of users who opted out: neither trained on nor generated for."""
    days: int = 60
    """Length of the period."""
    end_timestamp: int = 1_790_000_000
    """End of the period, UTC seconds, exclusive."""
    image_px: int = 64
    """Edge of the written pictures."""
    seed: int = 0
    """Seed of users and events."""

    def __post_init__(self) -> None:
        """Refuse sizes that no history can have, all in one message."""
        check_options(
            "world.history",
            self,
            least={"n_users": 1, "days": 1, "image_px": 1, "end_timestamp": 0, "seed": 0, "popularity_nats": 0},
            above={"mean_events": 0},
            shares=("cold_share", "dislike_share", "moved_share", "opted_out_share"),
        )


@dataclass(frozen=True)
class Events:
    """Columns of simulated interactions, in time order."""

    user: NDArray[np.int64]
    item: NDArray[np.int64]
    timestamp: NDArray[np.int64]
    weight: NDArray[np.float64]


def write_history(world: World, folder: Path, options: HistoryOptions) -> Path:
    """Write `folder`/history.db and `folder`/images/; return the database's path. An existing one is left alone.

    Raises:
        SourceError: the existing one is another world's, or was written with other options.
    """
    database = folder / "history.db"
    if database.exists():
        with closing(sqlite3.connect(database)) as connection:
            _check_same(connection, database, world, options)
        return database
    write_images(world, folder / "images", options.image_px)
    users = world.sample_users(options.n_users, options.seed)
    with atomic_path(database) as temporary, closing(sqlite3.connect(temporary)) as connection, connection:
        connection.executescript(_SCHEMA)
        _insert_catalogue(connection, world, users, options)
        _insert_events(connection, world, users, simulate_events(world, users, options))
    return database


def add_days(world: World, database: Path, options: HistoryOptions, *, active_share: float = 0.2, days: int = 1) -> int:
    """Append `days` of new events of a share of the users to the database; return how many were added.

    Raises:
        SourceError: the database is missing, is not a simulated history, or was written with other options.
    """
    if not database.exists():
        raise SourceError(
            f"{database} does not exist; write it first with `personalgen world write`. Nothing was changed."
        )
    with closing(sqlite3.connect(database)) as connection, connection:
        end = int(_check_same(connection, database, world, options)["end_timestamp"])
        rng = np.random.default_rng([options.seed, end])
        users = world.sample_users(options.n_users, options.seed)
        active = rng.random(options.n_users) < active_share
        counts = np.where(active, rng.poisson(4.0, options.n_users) + 1, 0)
        new = _draw(world, users, counts, (end, end + days * DAY_SEC), options, rng)
        _insert_events(connection, world, users, new)
        connection.execute("update about set value = ? where key = 'end_timestamp'", (str(end + days * DAY_SEC),))
    return len(new.user)


def write_images(world: World, folder: Path, image_px: int) -> None:
    """Render the catalogue into `folder`/<item_id>.png, all or nothing; a folder that is there is left alone."""
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        pictures = Path(temporary) / folder.name
        pictures.mkdir()
        for item_id, picture in zip(world.items().item_ids, world.render(image_px), strict=True):
            Image.fromarray(picture).save(pictures / f"{item_id}.png", compress_level=1)
        pictures.rename(folder)


def simulate_events(world: World, users: PlantedUsers, options: HistoryOptions) -> Events:
    """Return what the users did over the period: choices by softmax of the true utility, popularity included.

    The tastes of `users` are those at the end; who has moved had somebody else's in the first half.
    """
    rng = np.random.default_rng([options.seed, 1])
    counts = np.clip(rng.lognormal(np.log(options.mean_events) - 0.18, 0.6, options.n_users), 5, 400).astype(np.int64)
    cold = rng.random(options.n_users) < options.cold_share
    counts[cold] = rng.integers(1, _COLD_EVENTS + 1, int(cold.sum()))
    start, end = options.end_timestamp - options.days * DAY_SEC, options.end_timestamp
    moved = moved_users(options) & (counts > _COLD_EVENTS)
    if not moved.any():
        return _draw(world, users, counts, (start, end), options, rng)
    earlier = PlantedUsers(users.user_ids, world.sample_users(options.n_users, options.seed + 1).tastes)
    parts = [
        (users, np.where(moved, 0, counts), (start, end)),
        (earlier, np.where(moved, counts // 2, 0), (start, (start + end) // 2)),
        (users, np.where(moved, counts - counts // 2, 0), ((start + end) // 2, end)),
    ]
    return _joined([_draw(world, *part, options, rng) for part in parts])


def moved_users(options: HistoryOptions) -> NDArray[np.bool_]:
    """Return (n_users,) who moves, if they have events enough."""
    return np.random.default_rng([options.seed, 3]).random(options.n_users) < options.moved_share


def _joined(parts: Sequence[Events]) -> Events:
    """Return the events of all parts in time order."""
    order = np.argsort(np.concatenate([part.timestamp for part in parts]), kind="stable")
    return Events(*(np.concatenate([getattr(part, entry.name) for part in parts])[order] for entry in fields(Events)))


def _draw(
    world: World,
    users: PlantedUsers,
    counts: NDArray[np.int64],
    period: tuple[int, int],
    options: HistoryOptions,
    rng: np.random.Generator,
) -> Events:
    """Return counts[u] events of each user u within the period, in time order; nobody likes, or dislikes, one twice."""
    utility = world.true_utility(users)
    popularity = options.popularity_nats * np.random.default_rng(7).standard_normal(utility.shape[1])
    rows: list[tuple[int, int, float]] = []
    for user, count in enumerate(counts):
        if count:
            disliked = int(rng.binomial(count, options.dislike_share)) if count > _COLD_EVENTS else 0
            liked = _choose(utility[user] + popularity, int(count) - disliked, rng)
            rows += [(user, item, 1.0) for item in liked]
            rows += [(user, item, -1.0) for item in _choose(-utility[user], disliked, rng)]
    times = np.sort(rng.integers(period[0], period[1], len(rows)))
    order = rng.permutation(len(rows))
    columns = np.array(rows, dtype=np.float64).reshape(-1, 3)[order]
    return Events(columns[:, 0].astype(np.int64), columns[:, 1].astype(np.int64), times, columns[:, 2])


def _choose(logits: NDArray[np.floating], count: int, rng: np.random.Generator) -> list[int]:
    """Return `count` distinct items drawn by softmax of the logits (Gumbel top-k)."""
    if count <= 0:
        return []
    keys = logits + rng.gumbel(size=len(logits))
    return [int(item) for item in np.argpartition(-keys, min(count, len(keys) - 1))[:count]]


def _check_same(
    connection: sqlite3.Connection, database: Path, world: World, options: HistoryOptions
) -> dict[str, str]:
    """Return what the database says about itself, if it is the one that world and options would give."""
    try:
        about = dict(connection.execute("select key, value from about").fetchall())
    except sqlite3.DatabaseError:
        about = {}
    if "simulated" not in about:
        raise SourceError(f"{database} is not a simulated history. Nothing was changed.")
    written = {"name": about.get("world"), **asdict(HistoryOptions()), **json.loads(about.get("options", "{}"))}
    wanted = {"name": world.name, **asdict(options)}
    differing = [
        f"{key} {written.get(key)} (now {value})" for key, value in wanted.items() if written.get(key) != value
    ]
    if differing:
        raise SourceError(
            f"{database} was written with other settings of the world: {', '.join(differing)}. Delete it with its "
            "images/, or choose another folder with --set world.folder=… Nothing was changed."
        )
    return about


def _insert_catalogue(
    connection: sqlite3.Connection, world: World, users: PlantedUsers, options: HistoryOptions
) -> None:
    """Write about, users and items."""
    items = world.items()
    facts = {
        "simulated": "true",
        "world": world.name,
        "licence": world.licence,
        "options": canonical_json(asdict(options)),
        "end_timestamp": str(options.end_timestamp),
    }
    connection.executemany("insert into about values(?, ?)", facts.items())
    opted_out = np.random.default_rng([options.seed, 2]).random(len(users.user_ids)) < options.opted_out_share
    start = options.end_timestamp - options.days * DAY_SEC
    segments = [" + ".join(taste["category"]) for taste in users.tastes]
    connection.executemany(
        "insert into users values(?, ?, ?, ?)",
        [
            (user_id, segment, start, int(out))
            for user_id, segment, out in zip(users.user_ids, segments, opted_out, strict=True)
        ],
    )
    blank = ("",) * len(items.item_ids)
    columns = [items.labels.get(name, blank) for name in ("category", "colour")]
    connection.executemany(
        "insert into items values(?, ?, ?, ?, ?)",
        [
            (item_id, f"images/{item_id}.png", title, category, colour)
            for item_id, title, category, colour in zip(items.item_ids, items.titles, *columns, strict=True)
        ],
    )


def _insert_events(connection: sqlite3.Connection, world: World, users: PlantedUsers, events: Events) -> None:
    """Append interactions."""
    item_ids = world.items().item_ids
    columns = zip(
        events.user.tolist(), events.item.tolist(), events.timestamp.tolist(), events.weight.tolist(), strict=True
    )
    connection.executemany(
        "insert into interactions values(?, ?, ?, ?, ?)",
        [
            (users.user_ids[user], item_ids[item], timestamp, weight, "like" if weight > 0 else "dislike")
            for user, item, timestamp, weight in columns
        ],
    )
