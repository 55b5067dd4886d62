import dataclasses
import json
import sqlite3
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from personalgen.artifacts import canonical_json
from personalgen.errors import OptionsError, SourceError
from personalgen.worlds import HistoryOptions, ShapesWorld, add_days, write_history
from personalgen.worlds.history import simulate_events, write_images

DAY = 86_400
OPTIONS = HistoryOptions(n_users=60, mean_events=12, image_px=8, days=20)


@pytest.fixture(scope="module")
def world():
    """Return a world of 64 shapes."""
    return ShapesWorld(64)


@pytest.fixture
def database(tmp_path, world):
    """Return a fresh history database."""
    return write_history(world, tmp_path, OPTIONS)


def rows(database, query):
    """Return the rows of a query."""
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


def about(database):
    """Return what the database says of itself."""
    return dict(rows(database, "select key, value from about"))


def test_the_history_says_that_it_is_simulated(database, world):
    """The table `about` marks it, with the world, its licence and the end of the period."""
    assert about(database) == {
        "simulated": "true",
        "world": "shapes",
        "licence": world.licence,
        "options": canonical_json(dataclasses.asdict(OPTIONS)),
        "end_timestamp": str(OPTIONS.end_timestamp),
    }


def test_the_catalogue_and_its_pictures_are_written(database, world):
    """Every item with a readable picture of the asked size, equal to the rendered one."""
    items = rows(database, "select item_id, image, title, category, colour from items")
    assert [item[0] for item in items] == list(world.items().item_ids)
    assert [item[3] for item in items] == list(world.items().labels["category"])
    pictures = np.stack([np.asarray(Image.open(database.parent / item[1])) for item in items])
    assert (pictures == world.render(8)).all()


def test_users_have_a_segment_and_a_beginning(database, world):
    """All of them, those who opted out too; the segment is what they love."""
    users = rows(database, "select user_id, segment, created_at, opted_out from users")
    planted = world.sample_users(OPTIONS.n_users, OPTIONS.seed)
    assert [user[0] for user in users] == list(planted.user_ids)
    assert [user[1] for user in users] == [" + ".join(taste["category"]) for taste in planted.tastes]
    assert {user[2] for user in users} == {OPTIONS.end_timestamp - OPTIONS.days * DAY}
    assert {user[3] for user in users} <= {0, 1}


def test_events_lie_within_the_period(database):
    """From the first day up to the end, which is exclusive; likes weigh 1, dislikes -1."""
    events = rows(database, "select timestamp, weight, event from interactions order by rowid")
    times = [event[0] for event in events]
    assert times == sorted(times)
    assert times[0] >= OPTIONS.end_timestamp - OPTIONS.days * DAY
    assert times[-1] < OPTIONS.end_timestamp
    assert {event[1:] for event in events} == {(1.0, "like"), (-1.0, "dislike")}
    assert not rows(
        database,
        "select * from interactions where user_id not in (select user_id from users)"
        " or item_id not in (select item_id from items)",
    )


def test_a_history_is_written_once(database, world):
    """An existing one is left alone, down to the last byte."""
    before = database.read_bytes()
    assert write_history(world, database.parent, OPTIONS) == database
    assert database.read_bytes() == before


@pytest.mark.parametrize("act", [lambda world, path, options: write_history(world, path.parent, options), add_days])
def test_a_history_of_other_options_is_refused(database, world, act):
    """Neither read for the asked one nor gone on with: the message names what differs, and nothing is changed."""
    before = database.read_bytes()
    other = dataclasses.replace(OPTIONS, seed=1, n_users=70)
    with pytest.raises(SourceError, match=r"n_users 60 \(now 70\), seed 0 \(now 1\)\..*Nothing was changed"):
        act(world, database, other)
    assert database.read_bytes() == before


def test_a_history_of_another_world_is_refused(database):
    """The name of the world counts like the options."""

    class Circles(ShapesWorld):
        name = "circles"

    with pytest.raises(SourceError, match=r"name shapes \(now circles\)\. Delete it"):
        write_history(Circles(64), database.parent, OPTIONS)


def test_sizes_that_no_history_can_have_are_refused():
    """All of them in one message."""
    with pytest.raises(OptionsError, match=r"world\.history: n_users must be at least 1, found 0; .*cold_share"):
        HistoryOptions(n_users=0, cold_share=2)


def test_a_history_is_a_function_of_world_and_options(tmp_path, database, world):
    """Written again elsewhere it has the same rows; another seed has others."""
    query = "select * from interactions order by rowid"
    again = write_history(ShapesWorld(64), tmp_path / "again", OPTIONS)
    other = write_history(world, tmp_path / "other", dataclasses.replace(OPTIONS, seed=1))
    assert rows(again, query) == rows(database, query)
    assert rows(other, query) != rows(database, query)


def test_a_killed_write_leaves_no_history(tmp_path, world, monkeypatch):
    """A failure half-way leaves neither a database nor a temporary file, and the next call writes it whole."""
    with monkeypatch.context() as patch:
        patch.setattr("personalgen.worlds.history._insert_events", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_history(world, tmp_path, OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
    assert rows(write_history(world, tmp_path, OPTIONS), "select count(*) from interactions")[0][0] > 300


def test_the_shares_of_the_options_are_kept(world):
    """Cold users, dislikes and opt-outs come at the stated shares.

    600 users: within five standard errors, false alarm below 1e-5.
    """
    options = HistoryOptions(n_users=600, mean_events=12, cold_share=0.3, dislike_share=0.2)
    events = simulate_events(world, world.sample_users(600, 0), options)
    counts = np.bincount(events.user, minlength=600)
    assert counts.min() >= 1
    assert (counts < 5).mean() == pytest.approx(0.3, abs=5 * np.sqrt(0.21 / 600))
    regular = counts[events.user] >= 5
    assert (events.weight[regular] < 0).mean() == pytest.approx(0.2, abs=5 * np.sqrt(0.16 / regular.sum()))
    assert counts[counts >= 5].mean() == pytest.approx(12, rel=0.15)


def test_nobody_likes_a_thing_twice(world):
    """Within one period a user's likes are different items."""
    events = simulate_events(world, world.sample_users(60, 0), OPTIONS)
    likes = np.stack([events.user, events.item])[:, events.weight > 0]
    assert len(np.unique(likes, axis=1).T) == likes.shape[1]


def test_likes_follow_the_true_utility(world):
    """Liked items are worth more than a nat over the average item, disliked ones less than it."""
    users = world.sample_users(60, 0)
    events, utility = simulate_events(world, users, OPTIONS), world.true_utility(users)
    worth = utility[events.user, events.item] - utility.mean(1)[events.user]
    assert worth[events.weight > 0].mean() > 1
    assert worth[events.weight < 0].mean() < 0


def test_a_day_is_appended_and_nothing_else_changes(database, world):
    """New events lie after the old end and before the new one; old events, users and items stay."""
    tables = ("users", "items")
    before = {name: rows(database, f"select * from {name} order by rowid") for name in (*tables, "interactions")}
    count = add_days(world, database, OPTIONS)
    after = rows(database, "select * from interactions order by rowid")
    assert count > 0
    assert len(after) == len(before["interactions"]) + count
    assert after[:-count] == before["interactions"]
    assert all(OPTIONS.end_timestamp <= event[2] < OPTIONS.end_timestamp + DAY for event in after[-count:])
    assert int(about(database)["end_timestamp"]) == OPTIONS.end_timestamp + DAY
    assert all(rows(database, f"select * from {name} order by rowid") == before[name] for name in tables)


def test_days_go_on_where_the_last_ones_ended(database, world):
    """Three days, then two: five days later in all, and the second call's events are not the first's."""
    first = add_days(world, database, OPTIONS, days=3)
    second = add_days(world, database, OPTIONS, days=2)
    assert int(about(database)["end_timestamp"]) == OPTIONS.end_timestamp + 5 * DAY
    added = rows(database, "select user_id, item_id, timestamp from interactions order by rowid")[-(first + second) :]
    assert min(event[2] for event in added[first:]) >= OPTIONS.end_timestamp + 3 * DAY
    assert {event[:2] for event in added[:first]} != {event[:2] for event in added[first:]}


def test_no_new_event_lies_before_the_old_end(database, world, monkeypatch):
    """Some 300 events within days of ten seconds: one second too early or too late would show."""
    monkeypatch.setattr("personalgen.worlds.history.DAY_SEC", 10)
    count = add_days(world, database, OPTIONS, active_share=1.0)
    times = [row[0] for row in rows(database, "select timestamp from interactions order by rowid")][-count:]
    assert (min(times), max(times)) == (OPTIONS.end_timestamp, OPTIONS.end_timestamp + 9)


def test_only_a_share_of_the_users_is_active(database, world):
    """Nobody acts at a share of 0; all do at 1."""
    assert add_days(world, database, OPTIONS, active_share=0.0) == 0
    last = int(about(database)["end_timestamp"])
    add_days(world, database, OPTIONS, active_share=1.0)
    active = rows(database, f"select count(distinct user_id) from interactions where timestamp >= {last}")
    assert active == [(OPTIONS.n_users,)]


def test_days_need_a_history(tmp_path, world):
    """A missing database is a SourceError that names the command, and none is created."""
    with pytest.raises(SourceError, match=r"history\.db does not exist; .*world write.*Nothing was changed"):
        add_days(world, tmp_path / "history.db", OPTIONS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", ["create table interactions(a)", "create table about(key, value)"])
def test_days_are_not_added_to_somebody_elses_database(tmp_path, world, script):
    """A database that does not say that it is simulated is refused and left as it was."""
    path = tmp_path / "history.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    before = path.read_bytes()
    with pytest.raises(SourceError, match=r"history\.db is not a simulated history.*Nothing was changed"):
        add_days(world, path, OPTIONS)
    assert path.read_bytes() == before


def test_pictures_that_are_there_are_kept(tmp_path, world):
    """A folder that is there is not rendered again."""
    write_images(world, tmp_path / "images", 8)
    marked = tmp_path / "images" / "shape-00003.png"
    marked.write_bytes(b"mine")
    write_images(world, tmp_path / "images", 8)
    assert marked.read_bytes() == b"mine"


def test_a_killed_rendering_leaves_no_picture(tmp_path, world, monkeypatch):
    """Pictures appear all at once or not at all, so that a truncated one is never kept."""
    with monkeypatch.context() as patch:
        patch.setattr("PIL.Image.Image.save", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_images(world, tmp_path / "images", 8)
    assert not list(tmp_path.iterdir())
    write_images(world, tmp_path / "images", 8)
    assert len(list((tmp_path / "images").iterdir())) == len(world.items().item_ids)


def test_who_has_moved_liked_something_else_in_the_first_half(world):
    """Half of the people liked what is worth less to today's taste; nobody did by default."""
    gaps = {}
    for share in (0.0, 0.5):
        options = HistoryOptions(n_users=400, mean_events=30, cold_share=0, dislike_share=0, moved_share=share)
        users = world.sample_users(400, 0)
        events, utility = simulate_events(world, users, options), world.true_utility(users)
        assert (np.diff(events.timestamp) >= 0).all()
        worth = utility[events.user, events.item]
        late = events.timestamp >= options.end_timestamp - options.days * DAY // 2
        both = [
            [np.bincount(events.user[side], weight, 400) for weight in (worth[side], None)] for side in (late, ~late)
        ]
        gaps[share] = np.subtract(*(total / np.maximum(count, 1) for total, count in both))
    assert abs(gaps[0.0].mean()) < 0.2
    assert (gaps[0.5] > 1).mean() == pytest.approx(0.5, abs=0.12)


def test_a_history_of_an_earlier_version_is_taken_for_one_with_the_defaults(database, world):
    """Settings that came later do not refuse it; where they are not the defaults, they do."""
    with closing(sqlite3.connect(database)) as connection, connection:
        (told,) = connection.execute("select value from about where key = 'options'").fetchone()
        older = {key: value for key, value in json.loads(told).items() if key not in {"moved_share", "popularity_nats"}}
        connection.execute("update about set value = ? where key = 'options'", (canonical_json(older),))
    assert write_history(world, database.parent, OPTIONS) == database
    with pytest.raises(SourceError, match=r"moved_share 0\.0 \(now 0\.5\), popularity_nats 0\.5 \(now 1\.0\)"):
        write_history(world, database.parent, dataclasses.replace(OPTIONS, moved_share=0.5, popularity_nats=1.0))


def test_some_items_are_liked_more_by_everybody(world):
    """The tenth of the items liked most gets a larger share of all likes, the larger `popularity_nats` is."""
    users, shares = world.sample_users(300, 0), []
    for nats in (0.0, 0.5, 2.0):
        options = HistoryOptions(n_users=300, mean_events=12, popularity_nats=nats)
        events = simulate_events(world, users, options)
        likes = np.sort(np.bincount(events.item[events.weight > 0], minlength=64))
        shares.append(likes[-6:].sum() / likes.sum())
    assert shares[0] < 0.18
    assert shares[0] + 0.03 < shares[1]
    assert shares[1] + 0.1 < shares[2]
