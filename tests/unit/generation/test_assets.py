from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from personalgen.generation.assets import SCHEMA, AssetRow, AssetRows

ROW = AssetRow(
    user_key=2**62, generator_digest=2**63 - 1, condition_digest=3, operating_point_digest=4, variant=99,
    member="höhe.png", shard_offset=2**40, byte_length=2**31 - 1, crc32=2**32 - 1, seed=2**63 - 1, score=None,
    n_events=0, top_events=({"item_id": "höhe", "weight": 0.1, "timestamp": 17},), condition=b"\0\1",
)  # fmt: skip
ROWS = [ROW, replace(ROW, score=0.5, top_events=(), condition=b"")]


def test_rows_come_back_from_columns():
    """Each one by its place, the largest numbers, no score and no events among them."""
    rows = AssetRows.of(ROWS, encoder="png/zlib")
    assert list(rows) == ROWS
    assert (len(rows), rows[1], rows.encoder) == (2, ROWS[1], "png/zlib")
    assert rows.values("score") == [None, 0.5]
    assert rows.values("top_events") == ['[{"item_id":"höhe","timestamp":17,"weight":0.1}]', "[]"]
    assert rows.table.schema.equals(SCHEMA)


def test_rows_are_equal_where_their_columns_are():
    """Also after a way through a file; another value in one column makes others of them."""
    rows = AssetRows.of(ROWS, encoder="png/zlib")
    assert rows == AssetRows.of(ROWS, encoder="png/zlib")
    assert rows != AssetRows.of([ROW, replace(ROWS[1], seed=5)], encoder="png/zlib")


def test_a_sidecar_keeps_rows_and_encoder(tmp_path):
    """What is read back are the same rows, and what encoded them."""
    rows = AssetRows.of(ROWS, encoder="jpeg95/pillow")
    pq.write_table(rows.table, tmp_path / "rows.parquet")
    again = AssetRows(pq.read_table(tmp_path / "rows.parquet"))
    assert (again, again.encoder) == (rows, "jpeg95/pillow")


def test_rows_that_tell_no_encoder_are_noticed():
    """A table of an older sidecar has none."""
    rows = AssetRows.of(ROWS, encoder="png/zlib")
    with pytest.raises(KeyError):
        _ = AssetRows(rows.table.replace_schema_metadata(None)).encoder
