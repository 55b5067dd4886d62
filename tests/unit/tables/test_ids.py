import unicodedata
import uuid
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from personalgen.tables.ids import canonical_id, canonical_ids


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, "7"),
        (-7, "-7"),
        (10**30, str(10**30)),
        ("007", "007"),
        (" a ", " a "),
        ("e\u0301", "\u00e9"),
        (b"abc", "abc"),
        (Decimal(12), "12"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    ],
)
def test_ids_of_every_allowed_type_become_text(value, expected):
    """Integers become decimal text, text becomes NFC and keeps zeros and spaces."""
    assert canonical_id(value) == expected


@pytest.mark.parametrize(
    "value",
    [None, 1.0, float("nan"), True, "", "a\0b", "\ud800", b"\xff", Decimal("1.50"), Decimal("NaN"), [1], {"a": 1}],
)
def test_what_is_no_id_is_refused(value):
    """Null, floats, booleans, empty, NUL, broken text and nested values are no ids."""
    assert canonical_id(value) is None


def test_the_length_limit_counts_utf8_bytes_after_nfc():
    """255 bytes pass, 256 do not, and characters of two bytes count twice."""
    assert canonical_id("x" * 255) == "x" * 255
    assert canonical_id("x" * 256) is None
    assert canonical_id("é" * 128) is None
    assert canonical_id(unicodedata.normalize("NFD", "é" * 127)) == "é" * 127


def test_csv_integers_that_became_floats_are_refused_but_hex_like_ids_pass():
    """Without types, 12.0 is a float; 12e4 may be a hash and 1.10 a version."""
    assert canonical_id("12.0", typed=False) is None
    assert canonical_id("12.0", typed=True) == "12.0"
    assert [canonical_id(one, typed=False) for one in ("12e4", "1.10")] == ["12e4", "1.10"]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([3, None, 5, 3]),
        pa.array(["3", None, "5", "3"]),
        pa.array([b"3", None, b"5", b"3"]),
        pa.array(["3", None, "5", "3"]).dictionary_encode(),
        pa.array([3, None, 5, 3], pa.uint64()),
        pa.array([Decimal(3), None, Decimal(5), Decimal(3)]),
        [3, None, "5", b"3"],
    ],
)
def test_columns_of_any_storage_give_the_same_ids(column):
    """The storage type of an id does not show in its canonical form."""
    ids = canonical_ids(column)
    assert [ids.at(row) for row in range(4)] == ["3", None, "5", "3"]
    assert ids.mapped({"3": 1}, none=-3, other=-2).tolist() == [1, -3, -2, 1]


@pytest.mark.parametrize(
    "column",
    [pa.array([1.0, 2.5]), pa.array([True, False]), pa.array([[1], [2]]), pa.array([{"a": 1}] * 2), pa.nulls(2)],
)
def test_columns_of_a_wrong_type_hold_no_id(column):
    """A float, boolean, nested or empty column has no id in any row."""
    assert canonical_ids(column).mapped({}, none=-3).tolist() == [-3, -3]


def test_true_and_one_stay_apart_in_a_mixed_column():
    """Equal values of different types are told apart: True == 1 == 1.0 in Python."""
    ids = canonical_ids([True, 1, 1.0, "1"])
    assert [ids.at(row) for row in range(4)] == [None, "1", None, "1"]


def test_an_empty_column_maps_to_nothing():
    """No rows give no numbers."""
    assert canonical_ids(pa.array([], pa.string())).mapped({}).dtype == np.int64
