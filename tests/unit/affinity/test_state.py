"""The state against sums that DuckDB makes of all events, and against itself however it came about."""

import dataclasses
from datetime import UTC, datetime

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from personalgen.affinity import AffinityOptions, AffinityState
from personalgen.errors import ArtifactError, DataError

T0 = 1_760_000_000
DAY = 86_400
OPTIONS = AffinityOptions(half_life_days=14.0, n_recent=5, n_buckets=4)


def at(day):
    """Return the moment so many days after the first event."""
    return datetime.fromtimestamp(T0 + day * DAY, UTC)


def events(n, *, days=(0, 90), seed=0, n_users=60, n_items=40, text=False):
    """Return events at random in time order; a tenth are dislikes, and many fall into one second."""
    rng = np.random.default_rng(seed)
    users, items = rng.integers(0, n_users, n), rng.integers(0, n_items, n) ** 2
    times = T0 + np.sort(rng.integers(days[0] * DAY, days[1] * DAY, n) // 7200 * 7200)
    weights = rng.choice(np.array([1, 3, -1], dtype=np.float32), n, p=[0.6, 0.3, 0.1])
    names = {"user_id": users, "item_id": items}
    if text:
        names = {"user_id": [f"u{user}" for user in users], "item_id": [f"item {item} é" for item in items]}
    return pa.table(names | {"timestamp": times, "weight": weights})


def sums(state, as_of=None):
    """Return {(user, item): (liked, disliked)} of all buckets, and {user: (events, newest events)}."""
    found, people = {}, {}
    for rows in state.rows(as_of=as_of or datetime.fromtimestamp(state.as_of, UTC)):
        for k, user in enumerate(rows.users.tolist()):
            for side, own in enumerate((rows.liked, rows.disliked)):
                here = slice(own.bounds[k], own.bounds[k + 1])
                for item, value in zip(state.item_ids(own.item[here]).tolist(), own.value[here], strict=True):
                    found.setdefault((user, item), [0.0, 0.0])[side] = value
            newest = rows.recent.take(np.arange(rows.recent_bounds[k], rows.recent_bounds[k + 1]))
            columns = (newest.seconds + state.landmark, state.item_ids(newest.item), newest.weight)
            people[user] = (int(rows.n_events[k]), list(zip(*(column.tolist() for column in columns), strict=True)))
    return found, people


def oracle(table, as_of):
    """Return the same of a table of all events, by DuckDB."""
    now, half_life = int(as_of.timestamp()), OPTIONS.half_life_days * DAY
    with duckdb.connect() as connection:
        connection.register("events", table)
        decayed = f"abs(weight) * pow(2, (timestamp - {now}) / {half_life})"
        pairs = connection.sql(
            f"""select user_id, item_id, coalesce(sum({decayed}) filter (weight > 0), 0),
            coalesce(sum({decayed}) filter (weight < 0), 0) from events where timestamp < {now} group by all"""
        ).fetchall()
        people = connection.sql(
            f"""select user_id, count(*), list((timestamp, item_id, weight) order by timestamp, item_id, weight)
            from events where timestamp < {now} group by all"""
        ).fetchall()
    newest = {user: (count, own[-OPTIONS.n_recent :]) for user, count, own in people}
    return {(user, item): [liked, disliked] for user, item, liked, disliked in pairs}, newest


def assert_equal(found, expected):
    """Fail where sums differ by more than a millionth, or newest events at all."""
    assert found[0].keys() == expected[0].keys()
    for pair, values in expected[0].items():
        assert found[0][pair] == pytest.approx(values, rel=1e-6)
    assert found[1] == expected[1]


@pytest.mark.parametrize("text", [False, True], ids=["numbers", "texts"])
@pytest.mark.parametrize("n_batches", [1, 7])
def test_a_build_is_what_an_independent_engine_finds(tmp_path, text, n_batches):
    """Sums, counts and newest events of every user, whatever the batches; events at or after as_of are not there."""
    table = events(2000, text=text)
    batches = table.to_batches(max_chunksize=-(-len(table) // n_batches))
    state = AffinityState.build(tmp_path / "state", batches, as_of=at(80), options=OPTIONS)
    # Items of one second stand by key, which is not the order of texts.
    expected = oracle(table, at(80))
    found = sums(state)
    if text:
        found, expected = without_order(found), without_order(expected)
    assert_equal(found, expected)


def without_order(both):
    """Return sums, and counts with the times of the newest events."""
    found, people = both
    return found, {user: (count, [time for time, *_ in newest]) for user, (count, newest) in people.items()}


def test_order_does_not_matter(tmp_path):
    """Shuffled events give the same files, byte for byte."""
    table = events(2000)
    shuffled = table.take(np.random.default_rng(1).permutation(len(table)))
    for name, own in {"one": table, "other": shuffled}.items():
        AffinityState.build(tmp_path / name, own.to_batches(), as_of=at(90), options=OPTIONS)
    one, other = (
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("part-*/*")} for name in ("one", "other")
    )
    assert len(one) == OPTIONS.n_buckets
    assert one == other


@pytest.mark.parametrize("text", [False, True], ids=["numbers", "texts"])
def test_night_by_night_is_all_at_once(tmp_path, text):
    """Three nights, the last with events that come late, are one build; so is the state compacted, and opened again."""
    parts = [events(900, text=text), events(200, days=(90, 91), seed=1, text=text)]
    parts += [
        pa.concat_tables([events(100, days=(91, 92), seed=2, text=text), events(50, days=(3, 60), seed=3, text=text)])
    ]
    state = AffinityState.build(tmp_path / "nights", parts[0].to_batches(), as_of=at(90), options=OPTIONS)
    for night, part in enumerate(parts[1:], start=91):
        state = state.add(part.to_batches(), as_of=at(night), night=str(night))
    whole = AffinityState.build(tmp_path / "whole", pa.concat_tables(parts).to_batches(), as_of=at(92), options=OPTIONS)
    expected = without_order(sums(whole)) if text else sums(whole)
    for reopened in (lambda: state, lambda: AffinityState.open(tmp_path / "nights"), state.compacted):
        found = sums(reopened())
        assert_equal(without_order(found) if text else found, expected)
    assert len(AffinityState.open(tmp_path / "nights").parts) == 1
    with pytest.raises(ArtifactError, match=r"changed since it was opened.*Open it again"):
        sums(state)


def test_how_texts_are_cut_on_their_way_changes_no_file(tmp_path, monkeypatch):
    """Looked up batch by batch and hashed three by three, items get the same keys and users the same buckets."""
    batches = events(2000, text=True).to_batches(max_chunksize=150)
    found = {}
    for name in ("at once", "cut"):
        state = AffinityState.build(tmp_path / name, batches, as_of=at(90), options=OPTIONS)
        paths = [*(tmp_path / name).glob("part-*/*"), tmp_path / name / state.items]
        found[name] = {path.name.partition("part-")[0]: path.read_bytes() for path in paths}
        monkeypatch.setattr("personalgen.affinity.spill._SEARCHED", 1)
        monkeypatch.setattr("personalgen.affinity.spill._SLICE", 3)
    assert len(found["cut"]) == OPTIONS.n_buckets + 1
    assert found["at once"] == found["cut"]


@pytest.mark.parametrize("step", [1, 10**15], ids=["dense", "sparse"])
def test_items_may_have_any_numbers(tmp_path, step):
    """Close together or far apart, below and above zero: sums are those of an independent engine."""
    table = events(800)
    items = pa.compute.multiply(pa.compute.subtract(table["item_id"], 300), step)
    table = table.set_column(1, "item_id", items)
    state = AffinityState.build(tmp_path, table.to_batches(), as_of=at(90), options=OPTIONS)
    assert_equal(sums(state), oracle(table, at(90)))


def test_any_text_is_an_id(tmp_path):
    """An empty one, one of more than 255 bytes, one beyond the basic plane; users stand in Python's order of texts."""
    users = ["", "u" * 300, "u" * 299 + "v", "\uffee", "\U0001f600", "é", "e", "u12345678", "u1234567"]
    table = pa.table({"user_id": users, "item_id": users[::-1], "timestamp": [T0] * 9, "weight": [1.0] * 9})
    options = dataclasses.replace(OPTIONS, n_buckets=1)
    state = AffinityState.build(tmp_path, table.to_batches(), as_of=at(90), options=options)
    (rows,) = state.rows()
    assert rows.users.tolist() == sorted(users)
    assert_equal(sums(state), oracle(table, at(90)))


def test_batches_of_nothing_known_add_nothing(tmp_path):
    """Neither an empty batch nor one of events that are yet to come, which are texts."""
    table = events(40, text=True)
    late = events(10, days=(91, 92), text=True)
    nothing = [pa.RecordBatch.from_pylist([], table.schema), *late.to_batches()]
    empty = AffinityState.build(tmp_path / "empty", nothing, as_of=at(90), options=OPTIONS)
    assert list(empty.rows()) == []
    batches = [nothing[0], *table.to_batches(), *nothing]
    state = AffinityState.build(tmp_path / "full", batches, as_of=at(90), options=OPTIONS)
    assert_equal(without_order(sums(state)), without_order(oracle(table, at(90))))


def test_time_passing_changes_no_file(tmp_path):
    """Sums at a later moment are those of now, each times the same factor."""
    state = AffinityState.build(tmp_path, events(500).to_batches(), as_of=at(90), options=OPTIONS)
    now, later = sums(state)[0], sums(state, as_of=at(104))[0]
    assert all(later[pair] == pytest.approx([value / 2 for value in now[pair]]) for pair in now)


def test_a_known_night_changes_nothing(tmp_path):
    """Also after it was merged with others."""
    state = AffinityState.build(tmp_path, events(500).to_batches(), as_of=at(90), options=OPTIONS)
    new = events(50, days=(90, 91), seed=1)
    state = state.add(new.to_batches(), as_of=at(91), night="91")
    before = sums(state)
    assert state.add(new.to_batches(), as_of=at(91), night="91") is state
    state = state.compacted()
    assert state.add(new.to_batches(), as_of=at(91), night="91") is state
    assert_equal(sums(state), before)


def test_a_corrected_history_replaces_what_was_known(tmp_path):
    """Of one user every weight changes, of another one everything is gone; the others stay."""
    table = events(800)
    state = AffinityState.build(tmp_path / "state", table.to_batches(), as_of=at(90), options=OPTIONS)
    own = table.filter(pa.compute.equal(table["user_id"], 7))
    own = own.set_column(3, "weight", pa.array(np.full(len(own), 2, dtype=np.float32)))
    state = state.add(own.to_batches(), as_of=at(91), night="91", replaced=[7, 8])
    others = table.filter(pa.compute.invert(pa.compute.is_in(table["user_id"], value_set=pa.array([7, 8]))))
    expected = oracle(pa.concat_tables([others, own]), at(91))
    for found in (lambda: state, state.compacted):
        assert_equal(sums(found(), as_of=at(91)), expected)


@pytest.mark.parametrize("text", [False, True], ids=["numbers", "texts"])
def test_whoever_is_forgotten_is_in_no_file(tmp_path, text):
    """In the base, in a later night and among the replaced; the others' numbers are the same to the bit."""
    name = "u7" if text else 7
    parts = [events(800, text=text), events(100, days=(90, 91), seed=1, text=text)]
    state = AffinityState.build(tmp_path, parts[0].to_batches(), as_of=at(90), options=OPTIONS)
    state = state.add(parts[1].to_batches(), as_of=at(91), night="91", replaced=[name])
    before = sums(state)
    state = state.forget([name])
    after = sums(AffinityState.open(tmp_path))
    assert after[0] == {pair: values for pair, values in before[0].items() if pair[0] != name}
    assert after[1] == {user: own for user, own in before[1].items() if user != name}
    held = [value for path in tmp_path.glob("part-*/*.parquet") for value in pa.parquet.read_table(path)[0].to_pylist()]
    assert held
    assert name not in held


def test_a_night_in_the_past_is_refused(tmp_path):
    """Nights go forward; the message says what to do, and the state stays."""
    state = AffinityState.build(tmp_path, events(100).to_batches(), as_of=at(90), options=OPTIONS)
    with pytest.raises(DataError, match=r"nights go forward: found .* Build it again to go back\. Nothing was added"):
        state.add(events(10).to_batches(), as_of=at(89), night="89")
    assert AffinityState.open(tmp_path).parts == state.parts


def test_a_time_that_cannot_be_is_refused(tmp_path):
    """A timestamp in milliseconds is no second since 1970; the state of before stays, and nothing is left beside it."""
    state = AffinityState.build(tmp_path, events(100).to_batches(), as_of=at(90), options=OPTIONS)
    old = events(10)
    old = old.set_column(2, "timestamp", pa.array(np.full(10, -(10**11))))
    with pytest.raises(DataError, match=r"more than 68 years from .* Nothing was added"):
        state.add(old.to_batches(), as_of=at(91), night="91")
    assert AffinityState.open(tmp_path) == state
    state = state.add(events(10).to_batches(), as_of=at(91), night="91")
    assert {path.name for path in tmp_path.iterdir()} == {"state.json", *(part.folder for part in state.parts)}


def test_a_build_that_was_cut_leaves_the_state_of_before(tmp_path, monkeypatch):
    """Also the texts behind its keys of items, which another build would number otherwise; the next one tidies up."""
    state = AffinityState.build(tmp_path, events(100, text=True).to_batches(), as_of=at(90), options=OPTIONS)
    before = sums(state)
    other = events(100, seed=5, text=True)
    with monkeypatch.context() as patched:
        patched.setattr("personalgen.affinity.state.write_json", lambda *_: (_ for _ in ()).throw(OSError("cut")))
        with pytest.raises(OSError, match="cut"):
            AffinityState.build(tmp_path, other.to_batches(), as_of=at(90), options=OPTIONS)
    assert_equal(sums(AffinityState.open(tmp_path)), before)
    state = AffinityState.build(tmp_path, other.to_batches(), as_of=at(90), options=OPTIONS)
    assert {path.name for path in tmp_path.iterdir()} == {"state.json", state.items, state.parts[0].folder}


def test_another_version_is_refused(tmp_path):
    """With what to do."""
    AffinityState.build(tmp_path, events(10).to_batches(), as_of=at(90), options=OPTIONS)
    path = tmp_path / "state.json"
    path.write_text(path.read_text().replace('"format": 2', '"format": 7'))
    with pytest.raises(ArtifactError, match=r"format 7, this version reads 2\. Build the state again"):
        AffinityState.open(tmp_path)


def test_a_state_of_nobody_has_no_rows(tmp_path):
    """It can be added to."""
    state = AffinityState.build(tmp_path, [], as_of=at(0), options=OPTIONS)
    assert list(state.rows()) == []
    table = events(50)
    state = state.add(table.to_batches(), as_of=at(90), night="90")
    assert_equal(sums(state), oracle(table, at(90)))


def test_without_newest_events_sums_stay(tmp_path):
    """`n_recent` of 0 keeps sums alone."""
    table = events(300)
    options = dataclasses.replace(OPTIONS, n_recent=0)
    found, people = sums(AffinityState.build(tmp_path, table.to_batches(), as_of=at(90), options=options))
    assert found.keys() == oracle(table, at(90))[0].keys()
    assert all(newest == [] for _, newest in people.values())


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["user_id", "item_id", "timestamp", "weight"])
@pytest.mark.parametrize("text", [False, True], ids=["numbers", "texts"])
def test_a_missing_value_is_refused(tmp_path, column, text):
    """A null is nobody's id; the message names the column, and nothing is built."""
    table = events(10, text=text)
    values = [None, *table[column].to_pylist()[1:]]
    table = table.set_column(table.column_names.index(column), column, pa.array(values, table[column].type))
    with pytest.raises(DataError, match=rf"events lack a value in {column}\. .*Nothing was added"):
        AffinityState.build(tmp_path, table.to_batches(), as_of=at(90), options=OPTIONS)
    assert not (tmp_path / "state.json").exists()


def test_a_weight_that_is_no_number_is_refused(tmp_path):
    """It would count as an event and as nothing else."""
    table = events(3).set_column(3, "weight", pa.array([1.0, float("nan"), 1.0], pa.float32()))
    with pytest.raises(DataError, match="lack a value in weight"):
        AffinityState.build(tmp_path, table.to_batches(), as_of=at(90), options=OPTIONS)


def test_ids_of_another_kind_are_refused(tmp_path):
    """Within one build, in a later night, among the replaced and the forgotten: the state stays as it was."""
    numbers, texts = events(20), events(20, text=True)
    with pytest.raises(DataError, match=r"ids are .*texts.* here and were .*numbers.* before"):
        AffinityState.build(tmp_path, [*numbers.to_batches(), *texts.to_batches()], as_of=at(90), options=OPTIONS)
    state = AffinityState.build(tmp_path, numbers.to_batches(), as_of=at(90), options=OPTIONS)
    with pytest.raises(DataError, match="one kind is needed"):
        state.add(texts.to_batches(), as_of=at(91), night="91")
    with pytest.raises(DataError, match="users of this state are numbers, found texts"):
        state.add(numbers.to_batches(), as_of=at(91), night="91", replaced=["u1"])
    with pytest.raises(DataError, match="users of this state are numbers, found texts"):
        state.forget(["1"])
    assert AffinityState.open(tmp_path) == state


def test_a_state_that_was_changed_since_is_refused(tmp_path):
    """Otherwise the night that somebody else added would be lost."""
    state = AffinityState.build(tmp_path, events(50).to_batches(), as_of=at(90), options=OPTIONS)
    newer = state.add(events(5, days=(90, 91)).to_batches(), as_of=at(91), night="91")
    for change in (lambda: state.add([], as_of=at(92), night="92"), lambda: state.forget([1])):
        with pytest.raises(ArtifactError, match=r"changed since it was opened\. Open it again\. Nothing was changed"):
            change()
    assert AffinityState.open(tmp_path) == newer


def test_weights_stand_however_old_a_history_is(tmp_path):
    """After twenty years, 520 half-lives, nothing is left tonight, and as of somebody's newest event all that was."""
    old = events(40, n_users=3).select(["user_id", "item_id", "timestamp", "weight"])
    new = pa.table({"user_id": [99], "item_id": [1], "timestamp": [T0 + 7300 * DAY], "weight": [2.0]})
    state = AffinityState.build(tmp_path, old.to_batches(), as_of=at(90), options=OPTIONS)
    state = state.add(new.cast(old.schema).to_batches(), as_of=at(7301), night="later").compacted()
    found = {}
    for rows in state.rows():
        for k, user in enumerate(rows.users.tolist()):
            sides = (own.value[own.bounds[k] : own.bounds[k + 1]].sum() for own in (rows.liked, rows.disliked))
            found[user] = sum(sides)
    users, times, weights = (old[name].to_numpy() for name in ("user_id", "timestamp", "weight"))
    for user in range(3):
        age = times[users == user].max() - times[users == user]
        assert found[user] == pytest.approx(
            (np.abs(weights[users == user]) * 0.5 ** (age / (14 * DAY))).sum(), rel=1e-6
        )
    assert found[99] == 2.0
    faded = sum(rows.liked.value.sum() for rows in state.rows(as_of=at(7301)))
    assert faded == pytest.approx(2.0 * 0.5 ** (1 / 14), rel=1e-6)


def test_the_past_cannot_be_asked_about(tmp_path):
    """What happened since a moment is in the sums."""
    state = AffinityState.build(tmp_path, events(50).to_batches(), as_of=at(90), options=OPTIONS)
    with pytest.raises(DataError, match="cannot go back"):
        next(state.rows(as_of=at(80)))


def test_texts_that_begin_or_end_alike_are_spread(tmp_path):
    """Addresses of one host, and paths below one folder, fill all buckets about evenly."""
    for pattern in ("user{}@example.com", "/shop/customers/{}", "{:030d}", "{}"):
        users = [pattern.format(k) for k in range(400)]
        table = pa.table({"user_id": users, "item_id": ["a"] * 400, "timestamp": [T0] * 400, "weight": [1.0] * 400})
        state = AffinityState.build(tmp_path, table.to_batches(), as_of=at(1), options=OPTIONS)
        sizes = [len(rows.users) for rows in state.rows()]
        assert len(sizes) == 4
        assert max(sizes) < 160
