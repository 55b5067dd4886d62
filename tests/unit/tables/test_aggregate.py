"""Sums made by SQLite, against the state of the same events read one by one; and what is not left to a database."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personalgen.affinity import AffinityOptions, AffinityState
from personalgen.errors import DataError, PushDownError
from personalgen.tables import LimitsOptions, SourceOptions
from personalgen.tables.all_events import open_all_events
from personalgen.tables.options import ColumnMapping, InteractionColumns

T0, DAY = 1_760_000_000, 86_400
AS_OF, NOW = (datetime.fromtimestamp(T0 + day * DAY, UTC) for day in (80, 100))
OPTIONS = AffinityOptions(half_life_days=14.0, n_recent=5, n_buckets=4)
LENIENT = LimitsOptions(max_quarantine_share=1.0, chunk_rows=70)


def write_source(
    folder, rows, *, columns="user_id, item_id, timestamp, weight", users=None, items=None, name="shop.db"
):
    """Return a source of rows of (user, item, time, weight) and of lists of items and users."""
    marks = ", ".join("?" * len(columns.split(",")))
    with closing(sqlite3.connect(folder / name)) as connection, connection:
        connection.execute(f"create table interactions({columns})")
        connection.executemany(f"insert into interactions values({marks})", rows)
        connection.execute("create table items(item_id, image)")
        known = {str(row[1]) for row in rows} if items is None else items
        connection.executemany("insert into items values(?, 'a.png')", [(item,) for item in sorted(known)])
        if users is not None:
            connection.execute("create table users(user_id, opted_out)")
            connection.executemany("insert into users values(?, ?)", users)
    listed = None if users is None else "users"
    return SourceOptions(url=f"sqlite:///{folder / name}", image_root=str(folder), users=listed)


@pytest.fixture
def database(tmp_path):
    """Return a function that writes a source."""
    return lambda rows, **options: write_source(tmp_path, rows, **options)


def events(n, *, text=False, seed=0):
    """Return different events at random, many of one second, a tenth of them dislikes, some later than as_of."""
    rng = np.random.default_rng(seed)
    users, items = rng.integers(0, 30, n).tolist(), (rng.integers(0, 12, n) ** 2).tolist()
    times = (T0 + rng.integers(0, 90 * DAY, n) // (6 * 3600) * (6 * 3600)).tolist()
    weights = rng.choice([1.0, 3.0, 0.1, -1.0], n, p=[0.5, 0.3, 0.1, 0.1]).tolist()
    if text:
        users, items = [f"u{user}" for user in users], [f"item {item} é" for item in items]
    found = {row[:3]: row for row in zip(users, items, times, weights, strict=True)}
    return list(found.values())


def opened(source, folder, *, limits=LENIENT, as_of=AS_OF, **options):
    """Return the open events of a source."""
    return open_all_events(
        source, limits=limits, as_of=as_of, now=NOW, folder=folder, progress=lambda *_: None, **options
    )


def one_by_one(source, folder, **options):
    """Return the state of events that were read one by one."""
    with opened(source, folder, **options) as found:
        return AffinityState.build(folder, found.one_by_one(), as_of=AS_OF, options=OPTIONS, items=found.item_ids)


def by_database(source, folder, *, half_life_days=OPTIONS.half_life_days, **options):
    """Return the state of sums that the database made."""
    with opened(source, folder, **options) as found:
        made = found.aggregated(half_life_days=half_life_days, n_recent=OPTIONS.n_recent)
        return AffinityState.build_from_sums(
            folder, made.sums, made.newest, as_of=AS_OF, options=OPTIONS, items=found.item_ids
        )


@pytest.fixture
def assert_equal(tmp_path, assert_same_state):
    """Return a function that fails where both ways give different states."""

    def compare(source, **options):
        one, other = (made(source, tmp_path / made.__name__, **options) for made in (one_by_one, by_database))
        assert_same_state(one, other)
        assert one.known_items().tolist() == other.known_items().tolist()
        return other

    return compare


@pytest.mark.parametrize("text", [False, True], ids=["numbers", "texts"])
def test_sums_of_the_database_are_those_of_the_events(database, assert_equal, text):
    """Counts and newest events to the bit, sums to a millionth; ids are canonical texts, whatever the column holds."""
    rows = events(3000, text=text)
    state = assert_equal(database(rows))
    assert state.kinds == (("user_id", "texts"), ("item_id", "texts"))
    assert state.parts[0].n_events == sum(time < AS_OF.timestamp() for _, _, time, _ in rows)


def test_a_number_and_its_text_are_one_user(database, assert_equal):
    """SQLite may hold both in a column; times may be fractions of seconds, a weight the least of all numbers."""
    assert_equal(
        database(
            [
                (9, "a", T0, -(2**63)),
                (7, "a", T0 + 0.5, 1),
                ("7", "a", T0 + 1.5, 1),
                ("7", 5, T0 + 9, -2),
                (8, "5", T0, 1),
            ]
        )
    )


def test_a_column_that_ignores_case_changes_nothing(database, assert_equal):
    """Two users whose ids differ in case alone stay two."""
    columns = "user_id text collate nocase, item_id text collate nocase, timestamp, weight"
    state = assert_equal(database([("a", "x", T0, 1), ("A", "X", T0, 1), ("A", "x", T0, 1)], columns=columns))
    assert sorted(user for rows in state.rows() for user in rows.users) == ["A", "a"]


def test_kinds_of_event_tell_events_of_one_second_apart(database, assert_equal):
    """A view and a purchase of one second are two events, without a weight one each."""
    rows = [("u", "a", T0, kind) for kind in ("view", "buy", None, 3)]
    state = assert_equal(database(rows, columns="user_id, item_id, timestamp, event"))
    assert state.parts[0].n_events == 4


def test_who_is_not_read_is_in_no_sum(database, assert_equal):
    """Neither who opted out, nor who is not listed, nor who was forgotten, as if read one by one."""
    rows = [(user, "a", T0 + k, 1) for k, user in enumerate(("stays", "left", "unlisted", "forgotten"))]
    source = database(rows, users=[("stays", 0), ("left", "yes"), ("forgotten", 0)])
    state = assert_equal(source, forgotten=frozenset({"forgotten"}))
    assert [user for found in state.rows() for user in found.users] == ["stays"]


def test_a_select_stands_for_a_table(database, assert_equal):
    """Also with columns of other names."""
    mapping = ColumnMapping(interactions=InteractionColumns(user_id="who", weight="how much"))
    select = 'select user_id as who, item_id, timestamp, weight * 2 as "how much" from interactions; '
    assert_equal(replace(database(events(500)), interactions=select, columns=mapping))


rows_of_a_shop = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "B", "é", "10", "9"]),
        st.sampled_from(["x", "Y", "z", "10", "9"]),
        st.integers(0, 4).map(lambda k: T0 + k * 20 * DAY) | st.integers(T0, T0 + 3),
        st.sampled_from([1.0, -1.0, 0.3, -2.5, 1e9]),
    ),
    min_size=1,
    max_size=60,
    unique_by=lambda row: row[:3],
).filter(lambda rows: any(row[2] < AS_OF.timestamp() for row in rows))


@settings(max_examples=25)
@given(rows=rows_of_a_shop)
def test_any_sound_table_gives_both_ways_the_same(tmp_path_factory, assert_same_state, rows):
    """Whoever did what when, however often in one second."""
    folder = tmp_path_factory.mktemp("any")
    source = write_source(folder, rows)
    assert_same_state(one_by_one(source, folder / "one"), by_database(source, folder / "sums"))


# --- what is read one by one ------------------------------------------------------------------------------------------

SOUND = ("u", "a", T0, 1.0)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ((None, "a", T0, 1), "user_id is neither text nor a whole number (1 of 2 rows)"),
        ((7.0, "a", T0, 1), "user_id is neither text nor a whole number (1 of 2 rows)"),
        ((b"u", "a", T0, 1), "user_id is neither text nor a whole number (1 of 2 rows)"),
        (("u", None, T0, 1), "item_id is neither text nor a whole number (1 of 2 rows)"),
        (("u", 1.5, T0, 1), "item_id is neither text nor a whole number (1 of 2 rows)"),
        (("u", "a", None, 1), "the time cannot be read (1 of 2 rows)"),
        (("u", "a", "2025-11-01", 1), "the time cannot be read (1 of 2 rows)"),
        (("u", "a", -1, 1), "the time cannot be read (1 of 2 rows)"),
        (("u", "a", int(NOW.timestamp()) + DAY + 1, 1), "the time lies in the future (1 of 2 rows)"),
        (("u", "a", T0 + 1, None), "the weight is zero or no number (1 of 2 rows)"),
        (("u", "a", T0 + 1, 0), "the weight is zero or no number (1 of 2 rows)"),
        (("u", "a", T0 + 1, float("inf")), "the weight is zero or no number (1 of 2 rows)"),
        (("u", "a", T0 + 1, 1e39), "the weight is zero or no number (1 of 2 rows)"),
        (("u", "a", T0 + 1, 1e-50), "the weight is zero or no number (1 of 2 rows)"),
        (("u", "a", T0 + 1, "2"), "the weight is zero or no number (1 of 2 rows)"),
        (("u", "nowhere", T0, 1), "the items table lacks items (1), such as 'nowhere'"),
        (("", "a", T0, 1), "the user_id '' (str) is no id"),
        (("u" * 256, "a", T0, 1), "… (str) is no id"),
        (("e\u0301", "a", T0, 1), "is the same as 'é', which is written otherwise"),
        (("u", "a", T0, 5), "events repeat the user, item, time and kind of another one (1 at least)"),
        (("u", "a", T0 + 0.5, -5), "events repeat the user, item, time and kind of another one (1 at least)"),
        (("u", "a", 1000, 1), "over 1,600 half-lives apart"),
    ],
)
def test_a_row_that_is_not_sound_is_named(database, tmp_path, row, reason):
    """One is enough: the reason is said in words, and nothing is built."""
    with pytest.raises(PushDownError) as caught:
        by_database(database([SOUND, row], items=["a"]), tmp_path / "state", half_life_days=7)
    assert reason in str(caught.value)
    assert [path.name[:5] for path in (tmp_path / "state").iterdir()] in ([], ["part-"])


@pytest.mark.parametrize("row", [("u", "a", T0, "soon", 1.5), ("u", "a", T0, "soon", b"view")])
def test_strange_kinds_of_event_are_named(database, tmp_path, row):
    """They are read as texts, which a database writes otherwise."""
    columns = "user_id, item_id, timestamp, other, event"
    with opened(database([row], columns=columns), tmp_path) as found, pytest.raises(PushDownError, match="event is"):
        found.aggregated(half_life_days=30, n_recent=5)


def test_what_comes_after_as_of_is_no_fault(database, assert_equal):
    """Cells of rows that are not read are not looked at, in either way."""
    assert_equal(database([SOUND, (None, 1.5, int(AS_OF.timestamp()), None)], items=["a"]))


def test_ratings_folders_and_empty_tables_are_named(database, tmp_path):
    """Each with its reason."""
    rated = database([("u", "a", T0, 4)], columns="user_id, item_id, timestamp, rating", name="rated.db")
    late = database([("u", "a", int(AS_OF.timestamp()), 4.0)], name="late.db")
    for source, reason in ((rated, "'rating' holds ratings"), (late, "no events before as_of")):
        with opened(source, tmp_path) as found, pytest.raises(PushDownError, match=reason):
            found.aggregated(half_life_days=30, n_recent=5)


def test_another_order_of_texts_is_named(tmp_path):
    """SQLite compares UTF-16 byte by byte, which is not the order of texts."""
    with closing(sqlite3.connect(tmp_path / "wide.db")) as connection, connection:
        connection.execute("pragma encoding = 'UTF-16le'")
        for table in ("interactions(user_id, item_id, timestamp)", "items(item_id, image)"):
            connection.execute(f"create table {table}")
    source = SourceOptions(url=f"sqlite:///{tmp_path}/wide.db", image_root=str(tmp_path))
    with opened(source, tmp_path) as found, pytest.raises(PushDownError, match="this database are UTF-16le"):
        found.aggregated(half_life_days=30, n_recent=5)


def test_too_many_bad_rows_stop_the_reading(database, tmp_path):
    """As in a night: the share of quarantined rows has a limit."""
    source = database([SOUND, ("u", "a", T0, 2), ("u", "a", "soon", 1)])
    with opened(source, tmp_path, limits=LimitsOptions()) as found, pytest.raises(DataError, match="2 of 3 rows"):
        list(found.one_by_one())


def test_all_is_of_one_instant(database, tmp_path):
    """What somebody writes between two statements is in none of the sums."""
    source = database(events(200))
    path = source.url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma journal_mode = wal")
    with opened(source, tmp_path) as found:
        made = found.aggregated(half_life_days=14, n_recent=5)
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(f"insert into interactions values('new', 'nowhere', {T0}, null)")
        assert sum(sum(batch["n_events"].to_pylist()) for batch in made.sums) == made.n_events
