"""Sums made by a PostgreSQL server, against the state of the same events read one by one."""

import os
from datetime import UTC, datetime

import numpy as np
import psycopg
import pytest

from personalgen.affinity import AffinityOptions, AffinityState
from personalgen.config import load_settings
from personalgen.errors import PushDownError
from personalgen.steps import Workspace, rebuild
from personalgen.tables import LimitsOptions, SourceOptions
from personalgen.tables.all_events import open_all_events

T0, DAY = 1_760_000_000, 86_400
AS_OF, NOW = (datetime.fromtimestamp(T0 + day * DAY, UTC) for day in (80, 100))
OPTIONS = AffinityOptions(half_life_days=14.0, n_recent=5, n_buckets=4)
PLAIN = "user_id bigint, item_id bigint, timestamp bigint, weight real"


@pytest.fixture
def database(postgresql_server, tmp_path):
    """Return a function that makes a source of a table of such columns and rows."""

    def made(columns, rows, *, items, url=postgresql_server, options=""):
        name = f"s{os.urandom(4).hex()}"
        with psycopg.connect(f"{url}/postgres", autocommit=True) as server:
            server.execute(f"CREATE DATABASE {name} {options}")
        with psycopg.connect(f"{url}/{name}") as connection:
            connection.execute(f"CREATE TABLE interactions({columns})")
            connection.execute("CREATE TABLE items(item_id text, image text)")
            marks = ", ".join(["%s"] * len(columns.split(",")))
            connection.cursor().executemany(f"INSERT INTO interactions VALUES ({marks})", rows)
            connection.cursor().executemany("INSERT INTO items VALUES (%s, 'a.png')", [(item,) for item in items])
        driver = url.replace("://", "+psycopg://")
        return SourceOptions(url=f"{driver}/{name}", image_root=str(tmp_path))

    return made


def events(n):
    """Return different events at random, many of one second, a tenth of them dislikes, some later than as_of."""
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 30, n).tolist(), (rng.integers(0, 12, n) ** 2).tolist()
    times = (T0 + rng.integers(0, 90 * DAY, n) // (6 * 3600) * (6 * 3600)).tolist()
    weights = rng.choice([1.0, 3.0, 0.1, -1.0], n, p=[0.5, 0.3, 0.1, 0.1]).tolist()
    return list({row[:3]: row for row in zip(users, items, times, weights, strict=True)}.values())


def moment(second):
    return datetime.fromtimestamp(second, UTC)


def local(second):
    return moment(second).replace(tzinfo=None, microsecond=5)


def both(source, folder):
    """Return the state of events read one by one, and that of sums."""
    limits = LimitsOptions(max_quarantine_share=1.0, chunk_rows=70)
    with open_all_events(source, limits=limits, as_of=AS_OF, now=NOW, folder=folder, progress=lambda *_: None) as found:
        options = {"as_of": AS_OF, "options": OPTIONS, "items": found.item_ids}
        made = found.aggregated(half_life_days=OPTIONS.half_life_days, n_recent=OPTIONS.n_recent)
        sums = AffinityState.build_from_sums(folder / "sums", made.sums, made.newest, **options)
        return AffinityState.build(folder / "events", found.one_by_one(), **options), sums


@pytest.mark.parametrize(
    ("columns", "converted"),
    [
        (PLAIN, lambda user, item, time, weight: (user, item, time, weight)),
        (
            "user_id integer, item_id text, timestamp timestamptz, weight double precision",
            lambda user, item, time, weight: (user, f"Item {item} é", moment(time), weight),
        ),
        (
            "user_id varchar(20), item_id varchar, timestamp timestamp, weight smallint",
            lambda user, item, time, weight: (
                f"u{user}",
                f"{item:b}",
                moment(time).replace(tzinfo=None, microsecond=5),
                int(weight) or 2,
            ),
        ),
        (
            "user_id uuid, item_id smallint, timestamp double precision, event text",
            lambda user, item, time, weight: (f"{user:032X}", item, time + 0.25, str(weight)),
        ),
        (
            "user_id text, item_id text, timestamp date, event text",
            lambda user, item, time, weight: (f"u{user}", f"{item}", moment(time).date(), f"{time} {weight}"),
        ),
    ],
    ids=["numbers", "timestamptz", "timestamp", "uuid", "date"],
)
def test_sums_of_the_server_are_those_of_the_events(database, tmp_path, assert_same_state, columns, converted):
    """Counts and newest events to the bit, sums to a millionth, of all types that are known."""
    rows = [converted(*row) for row in events(2000)]
    source = database(columns, rows, items={str(row[1]) for row in rows})
    assert_same_state(*both(source, tmp_path))


@pytest.mark.parametrize(
    ("columns", "row", "reason"),
    [
        (PLAIN, (None, 1, T0, 1), "user_id is missing (1 of 1 rows)"),
        (PLAIN, (1, None, T0, 1), "item_id is missing (1 of 1 rows)"),
        (PLAIN, (1, 1, None, 1), "the time cannot be read (1 of 1 rows)"),
        (PLAIN, (1, 1, int(NOW.timestamp()) + DAY + 1, 1), "the time lies in the future (1 of 1 rows)"),
        (PLAIN, (1, 1, T0, None), "the weight is zero or no number (1 of 1 rows)"),
        (PLAIN, (1, 1, T0, 0), "the weight is zero or no number (1 of 1 rows)"),
        (PLAIN, (1, 1, T0, float("nan")), "the weight is zero or no number (1 of 1 rows)"),
        (PLAIN, (1, 1, T0, float("-inf")), "the weight is zero or no number (1 of 1 rows)"),
        (PLAIN, (1, 2, T0, 1), "the items table lacks items (1), such as '2'"),
        ("u text, item_id integer, timestamp bigint", ("", 1, T0), "the user_id '' (str) is no id"),
        ("u double precision, item_id integer, timestamp bigint", (1, 1, T0), "'user_id' is of type double precision"),
        ("u char(3), item_id integer, timestamp bigint", ("u", 1, T0), "'user_id' is of type character,"),
        ("u text, item_id integer, timestamp text", ("u", 1, str(T0)), "'timestamp' is of type text,"),
        ("u text, item_id integer, timestamp bigint, weight numeric", ("u", 1, T0, 1), "'weight' is of type numeric,"),
        (
            "u text, item_id integer, timestamp double precision",
            ("u", 1, float("nan")),
            "the time lies in the future (1 of 1 rows)",
        ),
        (
            "u text, item_id integer, timestamp timestamp",
            ("u", 1, "infinity"),
            "the time lies in the future (1 of 1 rows)",
        ),
        (
            "u text, item_id integer, timestamp timestamp",
            ("u", 1, "-infinity"),
            "the time cannot be read (1 of 1 rows)",
        ),
        ("u text, item_id integer, timestamp bigint, rating real", ("u", 1, T0, 1), "'rating' holds ratings"),
    ],
)
def test_what_is_not_sound_is_named(database, tmp_path, columns, row, reason):
    """One row, or a type that is read otherwise, is enough."""
    source = database(columns.replace("u ", "user_id ", 1), [row], items=["1"])
    with pytest.raises(PushDownError) as caught:
        both(source, tmp_path)
    assert reason in str(caught.value)


def test_an_event_that_is_there_twice_is_named(database, tmp_path):
    """With another weight too: of such rows the first one counts, and a database has no first row."""
    source = database(PLAIN, [(1, 1, T0, 1), (1, 1, T0, -1)], items=["1"])
    with pytest.raises(PushDownError, match=r"repeat the user, item, time and kind of another one \(1 at least"):
        both(source, tmp_path)


def test_another_encoding_is_named(database, tmp_path):
    """Its order of texts may be another one."""
    source = database(PLAIN, [(1, 1, T0, 1)], items=["1"], options="ENCODING latin1 LOCALE 'C' TEMPLATE template0")
    with pytest.raises(PushDownError, match="texts of this database are LATIN1"):
        both(source, tmp_path)


def test_an_empty_table_is_named(database, tmp_path):
    """There is nothing to sum."""
    with pytest.raises(PushDownError, match="the table is empty"):
        both(database(PLAIN, [], items=["1"]), tmp_path)


def test_a_server_is_asked_where_less_is_read(database, tmp_path, assert_same_state):
    """Of deep histories sums are taken; of shallow ones, or where a row is not sound, events, for a reason said."""
    deep = [(k % 10, k % 7, T0 + k * 600, 1.5) for k in range(5000)]
    cases = {
        "sums": (deep, "summed by the database"),
        "shallow": (
            deep[:3000],
            "everybody's newest 200 are 2,000 of 3,000 events, so sums save little",
        ),
        "unsound": ([*deep, (1, None, T0, 1)], "read one by one: item_id is missing (1 of 5,001 rows)"),
        "twice": ([*deep, deep[0]], "read one by one: events repeat the user, item, time and kind of another one"),
    }
    states = {}
    for name, (rows, how) in cases.items():
        source = database(PLAIN, rows, items=map(str, range(7)))
        options = [f"home={tmp_path}/home", f"source.url={source.url}", f"source.image_root={tmp_path}"]
        built = rebuild(Workspace(load_settings(None, options)), tmp_path / name, as_of=AS_OF)
        assert how in built.how
        assert built.n_rows_read == (70 + 2000 if name == "sums" else built.n_events)
        assert (built.n_events, built.n_quarantined) == (min(len(rows), 5000), max(len(rows) - 5000, 0))
        states[name] = AffinityState.open(tmp_path / name)
    assert_same_state(states["sums"], states["unsound"])
    assert_same_state(states["sums"], states["twice"])
