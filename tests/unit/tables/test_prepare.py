"""Whole sources, each spoilt in one way: a clear error or a quarantined row, and nothing half-written."""

import fcntl
import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from personalgen.artifacts import read_manifest
from personalgen.errors import ConfigError, DataError, PersonalgenError, SourceError
from personalgen.tables import (
    ColumnMapping,
    InteractionColumns,
    ItemColumns,
    LimitsOptions,
    SourceOptions,
    UserColumns,
    load_prepared,
)

T0 = 1_700_000_000
NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOW_SEC = int(NOW.timestamp())
STRICT = LimitsOptions()


def add_events(shop, **columns):
    """Append rows to the shop's interactions."""
    for name, values in columns.items():
        shop.interactions[name] = [*shop.interactions[name], *values]


def add_items(shop, *rows):
    """Append (item_id, image) rows to the shop's items."""
    for item_id, image in rows:
        shop.items["item_id"].append(item_id)
        shop.items["image"].append(image)
        shop.items["title"].append(None)


def test_a_good_source_becomes_a_sealed_folder(shop, picture):
    """Every table of the contract is written, and the folder is listed as finished."""
    tables = shop.prepare(limits=STRICT)
    assert (tables.n_interactions, tables.n_users, tables.n_items, tables.n_quarantined) == (4, 2, 3, 0)
    assert tables.as_of == datetime.fromtimestamp(T0 + 31, UTC)
    prepared = load_prepared(tables.folder, verify=True)
    assert prepared.tables == tables
    assert prepared.items["item_id"].tolist() == ["a", "b", "c"]
    assert prepared.items["image_index"].tolist() == [0, 1, 2]
    assert prepared.images[:, 0, 0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert prepared.users["user_id"].tolist() == ["u1", "u2"]
    assert sorted(path.name for path in Path(tables.folder).iterdir()) == [
        "images.npy", "interactions.parquet", "items.parquet", "manifest.json", "quarantine.parquet", "users.parquet",
    ]  # fmt: skip


def test_files_have_the_types_of_the_contract(shop):
    """Columns and their types are what later stages rely on."""
    folder = Path(shop.prepare().folder)
    found = {path.stem: str(pa.parquet.read_schema(path)) for path in folder.glob("*.parquet")}
    assert found == {
        "interactions": "user_id: string\nitem_id: string\ntimestamp: int64\nweight: float\nevent: string",
        "items": "item_id: string\ntitle: string\ntext: string\nlabels: string\nimage_index: int32\n"
        "image_sha256: string",
        "users": "user_id: string\nsegment: string\ncreated_at: int64\nopted_out: bool",
        "quarantine": "table: string\nrow: int64\nuser_id: string\nitem_id: string\nreason: string\ndetail: string",
    }


def test_the_same_content_is_prepared_once(shop):
    """A second run writes nothing and returns the same folder, also with other chunks."""
    first = shop.prepare()
    before = {path: path.stat().st_mtime_ns for path in Path(first.folder).iterdir()}
    assert shop.prepare(limits=replace(STRICT, max_quarantine_share=1.0, chunk_rows=1)) == first
    assert {path: path.stat().st_mtime_ns for path in Path(first.folder).iterdir()} == before
    assert shop.leftovers() == [Path(first.folder).name]


def test_the_order_of_rows_does_not_show(shop):
    """Shuffled tables give the same digest, folder, items and images."""
    first = shop.prepare()
    for table in (shop.interactions, shop.items):
        for name in table:
            table[name] = table[name][::-1]
    assert shop.prepare() == first


@pytest.mark.parametrize(
    "spoil",
    [
        lambda shop: shop.interactions["timestamp"].__setitem__(0, T0 + 1),
        lambda shop: shop.interactions["user_id"].__setitem__(0, "u2"),
        lambda shop: shop.interactions["item_id"].__setitem__(0, "c"),
        lambda shop: shop.interactions.update(event=["view", None, None, None]),
        lambda shop: shop.interactions.update(weight=[2.0, 1.0, 1.0, 1.0]),
        lambda shop: shop.interactions.update(rating=[1.0, 1.0, 1.0, 1.0]),
        lambda shop: shop.items["title"].__setitem__(0, "Orange"),
        lambda shop: shop.items["image"].__setitem__(0, "images/b.png"),
        lambda shop: setattr(shop, "users", {"user_id": ["u1", "u2", "u3"]}),
    ],
)
def test_every_change_of_content_changes_the_digest(shop, spoil):
    """Nothing that later stages read is left out of the digest."""
    first = shop.prepare()
    spoil(shop)
    other = shop.prepare()
    assert other.source_digest != first.source_digest
    assert other.folder != first.folder


def test_as_of_image_size_and_limits_name_other_folders(shop):
    """Folders differ where their content may."""
    folders = {
        shop.prepare().folder,
        shop.prepare(image_px=4).folder,
        shop.prepare(as_of=NOW).folder,
        shop.prepare(limits=LimitsOptions(max_quarantine_share=0.5)).folder,
    }
    assert len(folders) == 4


# --- rows that are quarantined ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("user_id", pa.array([1.0, 2.0, 3.0, 4.0]), "bad_user_id"),
        ("user_id", pa.array([None] * 4, pa.string()), "bad_user_id"),
        ("user_id", pa.array([True, False, True, False]), "bad_user_id"),
        ("user_id", pa.array([[1]] * 4), "bad_user_id"),
        ("user_id", pa.array(["", "x" * 256, "a\0", "é" * 128]), "bad_user_id"),
        ("item_id", pa.array([1.5, math.nan, 1.0, None]), "bad_item_id"),
        ("item_id", pa.array([None] * 4, pa.int64()), "bad_item_id"),
        ("item_id", pa.array([1, 2, 3, 4]), "unknown_item"),
        ("item_id", pa.array(["A", "a ", "á", "zz"]), "unknown_item"),
        ("timestamp", pa.array(["soon", "2020-13-01", "", None]), "bad_timestamp"),
        ("timestamp", pa.array([None, -1, -(2**60), None]), "bad_timestamp"),
        ("timestamp", pa.array([math.nan, math.inf, -0.5, None]), "bad_timestamp"),
        ("timestamp", pa.array([True] * 4), "bad_timestamp"),
        ("timestamp", pa.array([NOW_SEC + 86_401, 2**40, 1_700_000_000_000, 2**61]), "future"),
        ("timestamp", pa.array([datetime(2030, 1, 1, tzinfo=UTC)] * 4), "future"),
        ("weight", pa.array([0.0, math.nan, math.inf, None]), "bad_weight"),
        ("weight", pa.array([1e300, 1e-300, -0.0, -math.inf]), "bad_weight"),
        ("weight", pa.array(["much", "", None, "1,5"]), "bad_weight"),
        ("rating", pa.array([math.nan, math.inf, None, 1e39]), "bad_weight"),
        ("rating", pa.array([True, False, True, None]), "bad_weight"),
    ],
)
def test_each_bad_event_is_quarantined_with_its_reason(shop, column, values, reason):
    """Wrong types, nulls, NaN and impossible values are quarantined row by row; the good rows beside them stay."""
    source = shop.write()
    (shop.folder / "interactions.parquet").unlink()
    (shop.folder / "interactions").mkdir()
    good = pa.table(shop.interactions | {"rating": [3.0] * 4, "weight": [1.0] * 4})
    if column == "rating":
        good = good.drop_columns("weight")
    bad = good.drop_columns(column).append_column(column, values)
    for part, table in enumerate((good, bad)):
        pa.parquet.write_table(table, shop.folder / "interactions" / f"{part}.parquet")
    prepared = load_prepared(shop.prepare(source).folder)
    assert prepared.quarantine[["table", "row", "reason"]].values.tolist() == [
        ["interactions", row, reason] for row in range(4, 8)
    ]
    assert len(prepared.interactions()) == 4


def test_a_quarantined_row_tells_where_and_what(shop):
    """quarantine.parquet holds the row's number, its ids where they are ids, the reason and what was found."""
    add_events(shop, user_id=["u1", "u3"], item_id=["zz", "a"], timestamp=[T0, None])
    rows = shop.load().quarantine.to_dict("records")
    assert [(row["table"], row["row"], row["user_id"], row["item_id"], row["reason"]) for row in rows] == [
        ("interactions", 4, "u1", "zz", "unknown_item"),
        ("interactions", 5, "u3", "a", "bad_timestamp"),
    ]
    assert [row["detail"] for row in rows] == ["item_id = 'zz' (str)", "timestamp = None (NoneType)"]


def test_duplicate_events_are_quarantined_and_the_first_kept(shop):
    """The same user, item, time and event is one event, over batches too; another time or event is not."""
    shop.interactions = {
        "user_id": ["u", "u", "u", "u", "v", "u"],
        "item_id": ["a", "a", "a", "a", "a", "b"],
        "timestamp": [T0, T0, T0 + 1, T0, T0, T0],
        "event": ["view", "buy", "view", "view", "view", "view"],
        "weight": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
    }
    prepared = shop.load(limits=LimitsOptions(max_quarantine_share=1, chunk_rows=2))
    assert prepared.quarantine[["row", "reason", "user_id", "item_id"]].values.tolist() == [[3, "duplicate", "u", "a"]]
    assert sorted(prepared.interactions().weight.tolist()) == [1, 2, 3, 5, 6]


def test_events_without_a_kind_are_no_duplicates_of_those_with_one(shop):
    """A missing event and an empty one are the same kind: none."""
    shop.interactions = {
        "user_id": ["u"] * 4, "item_id": ["a"] * 4, "timestamp": [T0] * 4, "event": ["x", None, "", "x"],
    }  # fmt: skip
    assert shop.reasons() == {("interactions", "duplicate"): 2}


def test_ids_that_differ_only_in_unicode_form_are_one(shop):
    """Composed and decomposed letters are the same user and the same item."""
    shop.items["item_id"][0] = "e\u0301"
    shop.interactions["item_id"][0] = "\u00e9"
    shop.interactions["user_id"] = ["Zoe\u0308", "Zo\u00eb", "u2", "u2"]
    prepared = shop.load(limits=STRICT)
    assert prepared.users["user_id"].tolist() == ["Zo\u00eb", "u2"]
    assert "\u00e9" in prepared.item_ids


def test_integers_in_one_table_meet_text_in_another(shop):
    """Item 7 of a typed table is item "7" of a CSV file."""
    shop.items["item_id"] = ["7", "8", "9"]
    shop.interactions["item_id"] = [7, 8, 8, 9]
    assert shop.prepare(limits=STRICT).n_interactions == 4


def test_csv_with_ragged_rows_and_floated_ids_is_quarantined(shop):
    """A row of another width is bad_row, and 1.0 in a column of ids is no id."""
    shop.kind = "csv"
    source = shop.write()
    with (shop.folder / "interactions.csv").open("a") as file:
        file.write(f"u1,a\n1.0,a,{T0}\nu9,c,{T0}\n")
    prepared = load_prepared(shop.prepare(source).folder)
    assert prepared.quarantine[["row", "reason"]].values.tolist() == [[4, "bad_row"], [5, "bad_user_id"]]
    assert "u9" in prepared.users["user_id"].tolist()


# --- items and images ------------------------------------------------------------------------------------------------


def test_each_bad_item_is_quarantined_with_its_reason(shop, picture):
    """Bad ids, repeats, and pictures that are missing, cut, too large or no pictures."""
    shop.write()
    images = shop.folder / "images"
    (images / "cut.png").write_bytes(picture((1, 2, 3), 200)[:90])
    (images / "text.png").write_text("not a picture at all")
    (images / "wide.png").write_bytes(picture((1, 2, 3), 400))
    (images / "heavy.png").write_bytes(picture((1, 2, 3)) + bytes(9000))
    (shop.folder.parent / "secret.png").write_bytes(picture((1, 2, 3)))
    add_items(
        shop, (None, "images/a.png"), ("a", "images/b.png"), ("d", "images/none.png"), ("e", None),
        ("f", "images/cut.png"), ("g", "images/text.png"), ("h", "images/wide.png"), ("i", "images/heavy.png"),
        ("j", "../secret.png"), ("k", str(images / "a.png")),
    )  # fmt: skip
    limits = LimitsOptions(max_quarantine_share=1, max_image_bytes=8000, max_image_pixels=300 * 300)
    prepared = shop.load(limits=limits)
    assert prepared.item_ids == ["a", "b", "c"]
    assert prepared.quarantine[["row", "item_id", "reason"]].fillna("").values.tolist() == [
        [3, "", "bad_item_id"],
        [4, "a", "duplicate_item"],
        [5, "d", "image_missing"],
        [6, "e", "image_missing"],
        [7, "f", "image_truncated"],
        [8, "g", "image_undecodable"],
        [9, "h", "image_too_large"],
        [10, "i", "image_too_large"],
        [11, "j", "image_missing"],
        [12, "k", "image_missing"],
    ]


def test_events_on_an_item_without_a_picture_are_told_apart(shop):
    """Such an item is known but unusable: item_quarantined, not unknown_item."""
    add_items(shop, ("d", "images/none.png"))
    add_events(shop, user_id=["u1", "u1"], item_id=["d", "zz"], timestamp=[T0, T0])
    assert shop.reasons() == {
        ("items", "image_missing"): 1,
        ("interactions", "item_quarantined"): 1,
        ("interactions", "unknown_item"): 1,
    }


def test_texts_and_labels_come_from_the_mapped_columns(shop):
    """Text columns are joined in the order of the mapping; labels keep their names, as text whatever their type."""
    shop.items |= {"plot": ["falls", None, "purrs"], "kind": ["fruit", None, "pet"], "year": [1999, None, 2001]}
    columns = ColumnMapping(items=ItemColumns(text=("plot", "kind"), labels=("year", "kind")))
    source = replace(shop.write(), columns=columns)
    items = load_prepared(shop.prepare(source).folder).items
    assert items["text"].fillna("").tolist() == ["falls fruit", "", "purrs pet"]
    assert json.loads(items["labels"][0]) == {"kind": "fruit", "year": "1999"}
    assert json.loads(items["labels"][1]) == {"kind": None, "year": None}


# --- users -----------------------------------------------------------------------------------------------------------


def test_the_users_table_says_who_gets_images(shop):
    """Its users are kept, with events or without; others' events are counted, neither read nor quarantined."""
    shop.users = {"user_id": ["u9", "u1"], "segment": ["new", None], "created_at": ["2020-01-01", "once"]}
    prepared = shop.load(limits=STRICT)
    assert prepared.users["user_id"].tolist() == ["u1", "u9"]
    assert prepared.users["segment"].fillna("").tolist() == ["", "new"]
    assert prepared.users["created_at"].fillna(-1).tolist() == [-1, 1_577_836_800]
    assert prepared.interactions().user_ids == ["u1"]
    assert (prepared.tables.n_unlisted_events, prepared.tables.n_quarantined) == (2, 0)


@pytest.mark.parametrize("name", ["Opted_Out", "opt_out", "optedout"])
def test_a_column_like_the_one_that_says_who_opted_out_is_told(shop, name):
    """People would get images against their will; set to "", the column is left alone."""
    shop.users = {"user_id": ["u1", "u2"], name: ["yes", "no"]}
    with pytest.raises(SourceError, match=rf"column '{name}', not read, and no 'opted_out'\. Name it under"):
        shop.prepare()
    columns = ColumnMapping(users=UserColumns(opted_out=""))
    assert load_prepared(shop.prepare(replace(shop.write(), columns=columns)).folder).tables.n_users == 2


def test_a_users_table_of_other_ids_is_told(shop):
    """Where no event is a listed user's, the message says how many belong to whom."""
    shop.users = {"user_id": ["user-1", "user-2"]}
    with pytest.raises(DataError, match=r"All 4 interactions .* are not in the users table \(4\)\..*both tables mean"):
        shop.prepare()
    assert shop.leftovers() == []


def test_events_of_users_who_opted_out_are_not_read(shop):
    """Not trained on, not quarantined; any of a user's rows that says so is enough, and so is one nobody can read."""
    shop.users = {"user_id": ["u1", "u2", "u1", "u3"], "opted_out": ["no", "no", "yes", "perhaps"]}
    add_events(shop, user_id=["u3", "u1"], item_id=["a", "zz"], timestamp=[T0, None])
    prepared = shop.load()
    assert prepared.interactions().user_ids == ["u2"]
    assert prepared.users[["user_id", "opted_out"]].values.tolist() == [["u1", True], ["u2", False], ["u3", True]]
    assert prepared.tables.n_opted_out_events == 4
    assert {one.reason for one in prepared.tables.quarantine} == {"duplicate_user", "bad_opted_out"}


def test_bad_users_are_quarantined(shop):
    """Users without an id and repeated users are told."""
    shop.users = {"user_id": ["u1", None, "", "u1"], "segment": ["a", "b", "c", "d"]}
    prepared = shop.load()
    assert {(one.table, one.reason): one.n_rows for one in prepared.tables.quarantine} == {
        ("users", "bad_user_id"): 2,
        ("users", "duplicate_user"): 1,
    }
    assert prepared.users["segment"].tolist() == ["a"]


# --- time ------------------------------------------------------------------------------------------------------------


def test_events_at_or_after_as_of_are_counted_and_never_quarantined(shop):
    """as_of is exclusive, and what lies after it is not judged at all."""
    add_events(shop, user_id=[None, "u1"], item_id=["zz", "a"], timestamp=[T0 + 20, NOW_SEC + 90_000])
    tables = shop.prepare(as_of=datetime.fromtimestamp(T0 + 20, UTC))
    assert (tables.n_interactions, tables.n_after_as_of) == (2, 3)
    assert {one.reason for one in tables.quarantine} == {"future"}


def test_without_as_of_the_newest_event_until_now_decides(shop):
    """A plausible event of the next day waits for a later night, which it cannot stand in the way of."""
    times = [NOW_SEC - 1, NOW_SEC, NOW_SEC + 86_400, NOW_SEC + 86_401]
    add_events(shop, user_id=["u1"] * 4, item_id=["a", "b", "a", "b"], timestamp=times)
    tables = shop.prepare()
    assert tables.as_of == NOW
    assert (tables.n_interactions, tables.n_after_as_of, tables.n_quarantined) == (5, 2, 1)


def test_events_that_all_lie_ahead_are_told(shop):
    """The night ends now, and has nothing to read."""
    shop.interactions["timestamp"] = [NOW_SEC + place for place in range(len(shop.interactions["timestamp"]))]
    with pytest.raises(DataError, match=f"lie at or after as_of = {NOW.isoformat()[:19]}"):
        shop.prepare()


def test_a_table_in_milliseconds_is_told_so(shop):
    """The commonest mistake about times is named in the error."""
    shop.interactions["timestamp"] = [1000 * second for second in shop.interactions["timestamp"]]
    with pytest.raises(DataError, match=r"future 4 .* looks like milliseconds or smaller; expected seconds"):
        shop.prepare(limits=STRICT)


def test_later_events_change_nothing_about_an_earlier_night(shop):
    """Redoing an old night on a grown table finds its folder again."""
    as_of = datetime.fromtimestamp(T0 + 25, UTC)
    first = shop.prepare(as_of=as_of)
    add_events(shop, user_id=["u5"] * 3, item_id=["a"] * 3, timestamp=[T0 + 25, T0 + 26, T0 + 90])
    assert shop.prepare(as_of=as_of).folder == first.folder


@pytest.mark.parametrize("moment", ["as_of", "now"])
def test_a_time_without_a_zone_is_refused(shop, moment):
    """Naive datetimes mean something else on each machine."""
    with pytest.raises(ConfigError, match="without a zone"):
        shop.prepare(**{moment: datetime(2020, 1, 1)})  # noqa: DTZ001 - the point of the test


def test_an_as_of_before_all_events_is_explained(shop):
    """Nothing to read is an error that names as_of."""
    with pytest.raises(DataError, match=r"All 4 interactions .* at or after as_of = 2000-01-01"):
        shop.prepare(as_of=datetime(2000, 1, 1, tzinfo=UTC))
    assert shop.leftovers() == []


# --- runs that stop, with nothing left behind ------------------------------------------------------------------------


def test_too_many_bad_rows_stop_the_run(shop):
    """The message gives counts, share, limit and an example, and says that nothing was written."""
    add_events(shop, user_id=["u1"], item_id=["zz"], timestamp=[T0])
    with pytest.raises(DataError) as caught:
        shop.prepare(limits=STRICT)
    assert str(caught.value).startswith(
        "1 of 5 rows of interactions (20.0%) cannot be used; the limit is 5.0%: "
        "unknown_item 1 (first in row 4: item_id = 'zz' (str))."
    )
    assert str(caught.value).endswith("Nothing was written.")
    assert shop.leftovers() == []
    assert shop.prepare(limits=LimitsOptions(max_quarantine_share=0.2)).n_quarantined == 1


@pytest.mark.parametrize("table", ["interactions", "items", "users"])
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_an_empty_table_is_an_error(shop, table, kind):
    """A table without rows stops the run by its name."""
    shop.kind, shop.users = kind, {"user_id": ["u1"]}
    setattr(shop, table, {name: pa.array([], pa.string()) for name in getattr(shop, table)})
    with pytest.raises(DataError, match=f"The {table} table .* is empty"):
        shop.prepare()
    assert shop.leftovers() == []


def test_a_source_without_one_usable_picture_is_an_error(shop):
    """With any limit, no items at all is too few."""
    shop.items["image"] = ["x.png"] * 3
    with pytest.raises(DataError, match=r"None of the 3 rows of items .* image_missing 3"):
        shop.prepare()
    assert shop.leftovers() == []


def test_events_that_are_all_bad_are_an_error(shop):
    """With any limit, no events at all is too few."""
    shop.interactions["timestamp"] = [None, "x", "", "-"]
    with pytest.raises(DataError, match=r"None of the 4 rows of interactions .* bad_timestamp 4"):
        shop.prepare()
    assert shop.leftovers() == []


def test_an_event_column_of_unique_values_is_refused(shop, monkeypatch):
    """A column of kinds has few kinds; another column was mapped by mistake."""
    monkeypatch.setattr("personalgen.tables.events.MAX_EVENT_KINDS", 3)
    shop.interactions["event"] = ["a", "b", "c", "d"]
    with pytest.raises(DataError, match=r"source\.columns\.interactions\.event"):
        shop.prepare()
    assert shop.leftovers() == []


def test_options_out_of_range_are_told_together(shop):
    """All faults of the limits are in one ConfigError, and a picture has at least a pixel."""
    with pytest.raises(ConfigError, match=r"limits: chunk_rows .*; max_id_bytes .*; max_quarantine_share must be in"):
        LimitsOptions(max_quarantine_share=2, chunk_rows=0, max_id_bytes=0)
    with pytest.raises(ConfigError, match="image_px must be at least 1, found 0"):
        shop.prepare(image_px=0)
    assert shop.leftovers() == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, OSError("disk full")])
def test_an_interrupted_run_leaves_nothing(shop, monkeypatch, error):
    """Ctrl-C, lack of memory and a full disk half-way through leave the output root as it was."""
    first = shop.prepare()

    def fail(*_args, **_options):
        raise error

    monkeypatch.setattr("personalgen.tables.prepare.write_users", fail)
    with pytest.raises((KeyboardInterrupt, MemoryError, OSError)):
        shop.prepare(as_of=NOW)
    assert shop.leftovers() == [Path(first.folder).name]


def test_leftovers_of_a_killed_run_are_swept_and_those_of_a_living_one_are_not(shop):
    """A workspace that no process holds is removed by the next run."""
    dead, alive = shop.out_root / ".prepare-dead", shop.out_root / ".prepare-alive"
    for folder in (dead, alive):
        folder.mkdir(parents=True)
        (folder / "images.raw").write_bytes(b"half")
    handle = os.open(alive, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        shop.prepare()
        assert not dead.exists()
        assert alive.exists()
    finally:
        os.close(handle)


def test_two_runs_at_once_end_in_one_folder(shop):
    """Threads that prepare the same content at the same time agree, and leave one sealed folder."""
    source = shop.write()
    with ThreadPoolExecutor(3) as pool:
        tables = list(pool.map(lambda _: shop.prepare(source), range(6)))
    assert set(tables) == {tables[0]}
    assert shop.leftovers() == [Path(tables[0].folder).name]


def test_a_folder_that_was_never_sealed_is_replaced(shop):
    """Only a manifest makes a folder count."""
    folder = Path(shop.prepare().folder)
    (folder / "manifest.json").unlink()
    (folder / "users.parquet").write_bytes(b"half")
    shop.prepare()
    assert read_manifest(folder, verify=True) is not None


def test_progress_is_told_by_table(shop):
    """The callback hears of each table and ends at its number of rows."""
    told = []
    shop.users = {"user_id": ["u1"]}
    shop.prepare(progress=lambda table, n_rows: told.append((table, n_rows)))
    assert told == [("items", 3), ("users", 1), ("interactions", 4)]


def test_missing_columns_stop_before_anything_is_made(shop):
    """No folder is made for a source that cannot be read."""
    del shop.interactions["timestamp"]
    with pytest.raises(SourceError, match="lacks 1 column: 'timestamp'"):
        shop.prepare()
    assert not shop.out_root.exists()


@pytest.mark.parametrize("path", ["nowhere", "shop/items.parquet"])
def test_a_missing_folder_is_a_source_error(shop, tmp_path, path):
    """A path that is no folder is named."""
    shop.write()
    with pytest.raises(SourceError, match="which is not a folder"):
        shop.prepare(SourceOptions(path=str(tmp_path / path)))
    assert not shop.out_root.exists()


def test_every_error_is_one_of_ours(shop):
    """What a user may get wrong ends in a PersonalgenError with exit code 2."""
    shop.interactions = {}
    with pytest.raises(PersonalgenError) as caught:
        shop.prepare()
    assert caught.value.exit_code == 2


def test_ratings_become_weights_in_any_chunks(shop):
    """Means run over all of a user's events, not over a batch, and dislikes are negative."""
    shop.interactions["rating"] = [1.0, 5.0, 3.0, 3.0]
    for chunk_rows in (1, 3, 100):
        limits = LimitsOptions(chunk_rows=chunk_rows)
        events = shop.load(limits=limits).interactions()
        assert events.weight.tolist() == [-1.0, 1.0, 0.5, 0.5]


def test_large_ratings_lose_no_precision(shop):
    """Ratings of 10,000 and a bit are weighed as exactly as those of 1 to 5: their squares are summed in float64."""
    shop.interactions["user_id"] = ["u"] * 4
    shop.interactions["rating"] = [10_000.0, 10_001.0, 10_002.0, 10_003.0]
    near = 0.5 + 0.25 / np.std([0, 1, 2, 3])
    assert shop.load().interactions().weight.tolist() == pytest.approx([-1, -near, near, 1], abs=1e-6)


def test_a_user_of_one_opinion_dislikes_nothing(shop):
    """Seven times 3.3 has the mean 3.3 to the last bit, from float32, float64 and text."""
    shop.interactions = {"user_id": ["u"] * 7, "item_id": ["a"] * 7, "timestamp": [T0 + row for row in range(7)]}
    for ratings in (pa.array([3.3] * 7, pa.float32()), pa.array([3.3] * 7), pa.array(["3.3"] * 7)):
        shop.interactions["rating"] = ratings
        assert shop.load().interactions().weight.tolist() == [0.5] * 7


def test_mapped_columns_are_read_under_their_own_names(shop):
    """A source may call everything otherwise."""
    shop.interactions = dict(zip(("who", "what", "when"), shop.interactions.values(), strict=True)) | {
        "score": [-2] * 4
    }
    shop.users = {"who": ["u1", "u2"]}
    columns = ColumnMapping(
        InteractionColumns(user_id="who", item_id="what", timestamp="when", weight="score"),
        users=UserColumns(user_id="who"),
    )
    tables = shop.prepare(replace(shop.write(), columns=columns))
    assert load_prepared(tables.folder).interactions().weight.tolist() == [-2.0] * 4


def test_images_are_a_plain_array_file(shop):
    """images.npy opens with numpy alone, and without pickle."""
    images = np.load(Path(shop.prepare().folder) / "images.npy", allow_pickle=False)
    assert (images.shape, images.dtype) == ((3, 8, 8, 3), np.uint8)


def test_refused_rows_are_part_of_the_content(shop):
    """A night whose only news are rows that cannot be used is another night: it tells of them."""
    first = shop.prepare()
    add_events(shop, user_id=["u1"], item_id=["a"], timestamp=[None])
    second = shop.prepare()
    assert (first.n_quarantined, second.n_quarantined) == (0, 1)
    assert first.source_digest != second.source_digest
    assert first.folder != second.folder


def test_as_of_never_lies_before_the_floor(shop):
    """Without as_of the newest event decides, unless the last night read further."""
    floor = datetime.fromtimestamp(T0 + 1000, UTC)
    assert shop.prepare(not_before=floor).as_of == floor
    assert shop.prepare(not_before=datetime.fromtimestamp(T0, UTC)).as_of.timestamp() == T0 + 31
    assert shop.prepare(not_before=floor, as_of=datetime.fromtimestamp(T0 + 5, UTC)).as_of.timestamp() == T0 + 5


@pytest.mark.parametrize("listed", [False, True], ids=["without a users table", "with one"])
def test_nothing_is_read_of_who_is_forgotten(shop, listed):
    """No row of any table holds the id, not even a bad one; the events count with those who opted out."""
    if listed:
        shop.users = {"user_id": ["u1", "u2", "u1"], "opted_out": ["no", "no", "perhaps"]}
    shop.interactions["timestamp"] = [T0, "yesterday", T0 + 20, T0 + 30]
    shop.interactions["timestamp"] = [str(one) for one in shop.interactions["timestamp"]]
    prepared = shop.load(forgotten=frozenset({"u1", "somebody else"}))
    assert prepared.users["user_id"].tolist() == ["u2"]
    assert prepared.interactions().user_ids == ["u2"]
    assert prepared.tables.n_opted_out_events == 2
    assert len(prepared.quarantine) == 0
    assert prepared.tables.source_digest != shop.prepare().source_digest
