"""A state built of sums that an independent engine made, against one built of the single events."""

import dataclasses
from datetime import UTC, datetime

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from personalgen.affinity import AffinityOptions, AffinityState
from personalgen.errors import DataError

T0, DAY = 1_760_000_000, 86_400
AS_OF = datetime.fromtimestamp(T0 + 80 * DAY, UTC)
OPTIONS = AffinityOptions(half_life_days=14.0, n_recent=5, n_buckets=4)


def events(n, *, text=False):
    """Return events at random, many of one second and a tenth of them dislikes."""
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 60, n), rng.integers(0, 40, n)
    names = {"user_id": users, "item_id": items}
    if text:
        names = {"user_id": [f"u{user}" for user in users], "item_id": [f"item {item} é" for item in items]}
    times = T0 + rng.integers(0, 90 * DAY, n) // 86400 * 86400
    weights = rng.choice(np.array([1, 3, -1], dtype=np.float32), n, p=[0.6, 0.3, 0.1])
    return pa.table(names | {"timestamp": times, "weight": weights})


def summed(table, n_recent=OPTIONS.n_recent):
    """Return the sums and the newest events of a table, by DuckDB, in small batches."""
    now, half_life = int(AS_OF.timestamp()), OPTIONS.half_life_days * DAY
    with duckdb.connect() as connection:
        connection.register("events", table.filter(pa.compute.less(table["timestamp"], now)))
        weighed = f"weight * pow(2, (timestamp - {T0}) / {half_life})"
        sums = connection.sql(
            f"""select user_id, item_id, max(timestamp) as timestamp, count(*) as n_events,
            (sum({weighed}) * pow(2, ({T0} - max(timestamp)) / {half_life}))::float as weight
            from events group by user_id, item_id, weight > 0"""
        ).to_arrow_table()
        newest = connection.sql(
            f"""select user_id, item_id, timestamp, weight from events qualify row_number() over
            (partition by user_id order by timestamp desc, item_id desc, weight desc) <= {n_recent}"""
        ).to_arrow_table()
    return sums.to_batches(max_chunksize=100), newest.to_batches(max_chunksize=70)


@pytest.mark.parametrize("text", [False, True], ids=["numbers", "texts"])
def test_sums_give_the_state_of_the_events(tmp_path, assert_same_state, text):
    """Counts and newest events to the bit, ties included, sums to a millionth; later additions count as ever."""
    table = events(3000, text=text)
    items = sorted(set(table["item_id"].to_pylist())) if text else ()
    options = {"as_of": AS_OF, "options": OPTIONS, "items": items}
    one = AffinityState.build(tmp_path / "events", table.to_batches(), **options)
    other = AffinityState.build_from_sums(tmp_path / "sums", *summed(table), **options)
    assert_same_state(other, one)
    assert dataclasses.replace(one, folder=other.folder, parts=other.parts, items=other.items) == other
    assert one.parts[0].n_events == other.parts[0].n_events
    later = datetime.fromtimestamp(T0 + 91 * DAY, UTC)
    new = table.filter(pa.compute.greater_equal(table["timestamp"], int(AS_OF.timestamp()))).to_batches()
    assert_same_state(other.add(new, as_of=later, night="91"), one.add(new, as_of=later, night="91"))


def test_without_newest_events_sums_stay(tmp_path, assert_same_state):
    """`n_recent` of 0 asks for none."""
    table, options = events(500), dataclasses.replace(OPTIONS, n_recent=0)
    one = AffinityState.build(tmp_path / "events", table.to_batches(), as_of=AS_OF, options=options)
    sums, _ = summed(table)
    other = AffinityState.build_from_sums(tmp_path / "sums", sums, [], as_of=AS_OF, options=options)
    assert_same_state(other, one)


def test_known_items_decide_ties(tmp_path):
    """Events of one second stand in the order of the items told beforehand, whichever came first."""
    table = pa.table({"user_id": ["u"] * 3, "item_id": ["b", "c", "a"], "timestamp": [T0] * 3, "weight": [1.0] * 3})
    found = {}
    for name, items in (("as they came", ()), ("sorted", ("a", "b", "c"))):
        state = AffinityState.build(tmp_path / name, table.to_batches(), as_of=AS_OF, items=items)
        (rows,) = state.rows()
        found[name] = state.item_ids(rows.recent.item).tolist()
    assert found == {"as they came": ["b", "c", "a"], "sorted": ["a", "b", "c"]}


def test_sums_are_checked_like_events(tmp_path):
    """A missing value or another kind of ids is refused, and the state of before stays."""
    table = events(100)
    state = AffinityState.build(tmp_path, table.to_batches(), as_of=AS_OF, options=OPTIONS)
    sums, newest = summed(table)
    _, texts = summed(events(100, text=True))
    with pytest.raises(DataError, match="one kind is needed"):
        AffinityState.build_from_sums(tmp_path, sums, texts, as_of=AS_OF)
    column = sums[0].schema.get_field_index("weight")
    broken = sums[0].set_column(column, "weight", pa.nulls(len(sums[0]), pa.float32()))
    with pytest.raises(DataError, match="lack a value in weight"):
        AffinityState.build_from_sums(tmp_path, [broken], newest, as_of=AS_OF)
    assert AffinityState.open(tmp_path) == state
