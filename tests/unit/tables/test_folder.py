import gzip
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from personalgen.errors import ConfigError, SourceError
from personalgen.tables import ColumnMapping, InteractionColumns, ItemColumns, SourceOptions, UserColumns
from personalgen.tables.folder import FolderSource
from personalgen.tables.source import open_source, read_layout


def read(folder, table, columns, chunk_rows=100):
    return list(FolderSource.open(folder).batches(table, columns, chunk_rows=chunk_rows))


def layout_error(source):
    with pytest.raises(SourceError) as caught, open_source(source) as opened:
        read_layout(opened, source)
    return str(caught.value)


def test_parquet_comes_in_chunks_with_row_numbers(tmp_path):
    """No batch is larger than asked for, and only the named columns are read."""
    pa.parquet.write_table(pa.table({"a": range(10), "b": range(10)}), tmp_path / "t.parquet")
    batches = read(tmp_path, "t", ["b"], chunk_rows=4)
    assert [batch.rows.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert list(batches[0].columns) == ["b"]


def test_a_folder_of_parquet_files_is_one_table(tmp_path):
    """Parts are read in the order of their names and numbered through."""
    (tmp_path / "t" / "day=1").mkdir(parents=True)
    pa.parquet.write_table(pa.table({"a": [3, 4]}), tmp_path / "t" / "part-1.parquet")
    pa.parquet.write_table(pa.table({"a": [1, 2]}), tmp_path / "t" / "day=1" / "part-0.parquet")
    batches = read(tmp_path, "t", ["a"])
    assert [batch.columns["a"].to_pylist() for batch in batches] == [[1, 2], [3, 4]]
    assert [batch.rows.tolist() for batch in batches] == [[0, 1], [2, 3]]


def test_a_part_without_a_column_is_refused(tmp_path):
    """A column that one part lacks is not silently empty."""
    (tmp_path / "t").mkdir()
    pa.parquet.write_table(pa.table({"a": [1], "b": [1]}), tmp_path / "t" / "0.parquet")
    pa.parquet.write_table(pa.table({"a": [1]}), tmp_path / "t" / "1.parquet")
    with pytest.raises(SourceError, match=r"1\.parquet lacks the columns b"):
        read(tmp_path, "t", ["a", "b"])


def test_csv_cells_stay_text(tmp_path):
    """No type is guessed, so leading zeros stay and a late word cannot break a column of numbers."""
    (tmp_path / "t.csv").write_bytes(b'\xef\xbb\xbfa,b\n007,1\n"x, y",\nlast,\xff\n')
    (batch,) = read(tmp_path, "t", ["b", "a"])
    assert batch.columns["a"].to_pylist() == [b"007", b"x, y", b"last"]
    assert batch.columns["b"].to_pylist() == [b"1", None, b"\xff"]
    assert not batch.typed


def test_csv_may_be_compressed(tmp_path):
    """t.csv.gz is a CSV file."""
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a\n1\n"))
    assert read(tmp_path, "t", ["a"])[0].columns["a"].to_pylist() == [b"1"]


def test_csv_rows_of_another_width_are_reported_by_their_number(tmp_path):
    """Rows with too many or too few cells are skipped, and the numbers of the others count them."""
    (tmp_path / "t.csv").write_text('a,b\n0,0\n1\n2,2\n3,3,3\n4\n"5\nx",5\n6\n')
    batches = read(tmp_path, "t", ["a"])
    bad = [one for batch in batches for one in batch.bad_rows]
    assert np.concatenate([batch.rows for batch in batches]).tolist() == [0, 2, 5]
    assert [one.row for one in bad] == [1, 3, 4, 6]
    assert (bad[0].what, bad[0].text) == ("expected 2 columns, found 1", "1")


def test_csv_row_numbers_hold_over_block_borders(tmp_path, monkeypatch):
    """Bad rows of later blocks do not shift the numbers of earlier ones."""
    monkeypatch.setattr("personalgen.tables.folder._CSV_BLOCK_BYTES", 64)
    lines = [f"{row},x" if row % 7 else f"{row}" for row in range(200)]
    (tmp_path / "t.csv").write_text("a,b\n" + "\n".join(lines) + "\n")
    batches = read(tmp_path, "t", ["a"])
    assert len(batches) > 5
    for batch in batches:
        assert batch.rows.tolist() == [int(cell) for cell in batch.columns["a"].to_pylist()]
    assert [one.row for batch in batches for one in batch.bad_rows] == list(range(0, 200, 7))


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_csv_in_another_encoding_is_refused(tmp_path, encoding):
    """As spreadsheets write it, header included."""
    (tmp_path / "t.csv").write_bytes("bewertung_für,b\n1,2\n".encode(encoding))
    with pytest.raises(SourceError, match=r"t\.csv cannot be read as CSV"):
        FolderSource.open(tmp_path).columns("t")


def test_missing_folders_are_named(tmp_path):
    """A source path or an image root that does not exist is a SourceError."""
    with pytest.raises(SourceError, match=r"source\.path is .*none, which is not a folder"):
        FolderSource.open(tmp_path / "none")
    with pytest.raises(SourceError, match=r"source\.image_root is .*none"):
        FolderSource.open(tmp_path, image_root="none")


def test_a_source_is_a_folder_or_a_database(tmp_path):
    """Both or neither of path and url is a ConfigError."""
    for source, word in ((SourceOptions(), "neither"), (SourceOptions(path="a", url="sqlite:///b"), "both")):
        with pytest.raises(ConfigError, match=word), open_source(source):
            pass


def test_all_missing_tables_and_columns_are_told_at_once(shop):
    """One message names every missing column with its nearest, the columns found, and where to map them."""
    shop.interactions = {"userId": ["u"], "item_id": ["a"], "when": [1]}
    shop.items = {"item_id": ["a"], "picture": ["a.png"]}
    message = layout_error(replace(shop.write(), users="people"))
    assert "'interactions' (interactions) in folder" in message
    assert "lacks 2 columns: 'user_id' (nearest: 'userId'), 'timestamp'. Found: userId, item_id, when." in message
    assert "lacks 1 column: 'image'" in message
    assert "source.columns.items" in message
    assert "has no table 'people'" in message
    assert message.endswith("Nothing was read.")


def test_defaults_may_be_absent_but_named_columns_may_not(shop):
    """A rating that the config names must be there; the default one need not."""
    source = shop.write()
    with open_source(source) as opened:
        assert read_layout(opened, source).interactions.one("rating") is None
    mapping = ColumnMapping(InteractionColumns(rating="stars"), ItemColumns(text=("plot",), labels=("genre",)))
    message = layout_error(replace(source, columns=mapping))
    assert all(f"'{name}'" in message for name in ("stars", "plot", "genre"))


def test_an_empty_name_means_not_read(shop):
    """A column is left out with an empty name, but a required one cannot be."""
    shop.interactions["event"] = ["view"] * 4
    source = replace(shop.write(), columns=ColumnMapping(InteractionColumns(event="")))
    with open_source(source) as opened:
        assert read_layout(opened, source).interactions.one("event") is None
    assert "''" in layout_error(
        replace(source, columns=ColumnMapping(users=UserColumns(), items=ItemColumns(image="")))
    )


def test_a_weight_wins_over_a_rating(shop):
    """Where both are there, the rating is not read."""
    shop.interactions |= {"rating": [1.0] * 4, "weight": [1.0] * 4}
    source = shop.write()
    with open_source(source) as opened:
        layout = read_layout(opened, source).interactions
    assert (layout.one("rating"), layout.one("weight")) == (None, "weight")


def test_a_column_that_is_there_twice_is_refused(shop):
    """Which of the two is meant cannot be known."""
    source = shop.write()
    table = pa.parquet.read_table(shop.folder / "items.parquet")
    doubled = table.append_column("title", table["title"])
    pa.parquet.write_table(doubled, shop.folder / "items.parquet")
    assert "'items' (items) in folder" in (message := layout_error(source))
    assert "has more than one column named 'title'" in message


def test_two_files_of_one_name_are_ambiguous(shop):
    """The extension must then be given."""
    source = shop.write()
    (shop.folder / "items.csv").write_text("item_id,image\n")
    assert "is ambiguous: items.parquet and items.csv" in layout_error(source)
    with open_source(source) as opened:
        read_layout(opened, replace(source, items="items.csv"))


@pytest.mark.parametrize(("name", "kind"), [("items.parquet", "Parquet"), ("items.csv", "CSV")])
def test_a_broken_file_is_a_source_error(shop, name, kind):
    """A file that is not what its name says is explained."""
    source = shop.write()
    (shop.folder / name).write_bytes(b"")
    assert f"cannot be read as {kind}" in layout_error(replace(source, items=name))


def test_options_list_their_faults():
    """Every fault of the options is told, none twice."""
    faults = SourceOptions(url="sqlite:///a.db", interactions="", items="").faults()
    assert len(faults) == 3
