import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from personalgen.tables.columns import ceil_seconds, shown, to_flags, to_floats, to_seconds, to_text

NOON = datetime(2020, 1, 1, 12, tzinfo=UTC)
NOON_SEC = 1_577_880_000


@pytest.mark.parametrize(
    "column",
    [
        pa.array([NOON_SEC]),
        pa.array([NOON_SEC], pa.uint32()),
        pa.array([NOON_SEC], pa.uint64()),
        pa.array([NOON_SEC + 0.75]),
        pa.array([Decimal(NOON_SEC)]),
        pa.array([NOON]),
        pa.array([NOON.replace(tzinfo=None)]),
        pa.array([NOON], pa.timestamp("ns", "Europe/Berlin")),
        pa.array([NOON.replace(tzinfo=None)], pa.timestamp("s")),
        pa.array(["2020-01-01 12:00:00"]),
        pa.array(["2020-01-01 12:00:00.999999"]),
        pa.array(["2020-01-01T12:00:00Z"]),
        pa.array(["2020-01-01T14:00:00+02:00"]),
        pa.array([f" {NOON_SEC} "]),
        pa.array([str(NOON_SEC).encode()]),
        pa.array([f"{NOON_SEC}.5"]),
        pa.array(["2020-01-01 12:00:00"]).dictionary_encode(),
        [NOON],
        [NOON.replace(tzinfo=None)],
        [NOON.astimezone(timezone(timedelta(hours=9)))],
        [Decimal(NOON_SEC)],
        ["2020-01-01T12:00:00.123456789"],
    ],
)
def test_every_form_of_an_instant_gives_the_same_seconds(column):
    """Numbers, datetimes and ISO text are UTC seconds rounded down; without a zone they are UTC."""
    seconds, readable = to_seconds(column)
    assert seconds.tolist() == [NOON_SEC]
    assert readable.tolist() == [True]


def test_forms_may_be_mixed_in_text():
    """One column may hold seconds, zoned and zoneless text."""
    seconds, readable = to_seconds(pa.array([str(NOON_SEC), "2020-01-01 12:00", "2020-01-01T12:00Z", None, "soon"]))
    assert seconds.tolist() == [NOON_SEC] * 3 + [0, 0]
    assert readable.tolist() == [True, True, True, False, False]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([None], pa.int64()),
        pa.array([-1]),
        pa.array([math.nan]),
        pa.array([math.inf]),
        pa.array([1e300]),
        pa.array([2**64 - 1], pa.uint64()),
        pa.array([True]),
        pa.array(["yesterday"]),
        pa.array([b"\xff"]),
        pa.array([datetime(1969, 12, 31)]),  # noqa: DTZ001 - a source without zones
        pa.array([[1]]),
        pa.nulls(1),
        [True],
        ["1e400"],
        [{}],
    ],
)
def test_what_is_no_instant_is_unreadable(column):
    """Null, negative, infinite, boolean, nested and other text are masked, never raised."""
    seconds, readable = to_seconds(column)
    assert (seconds.tolist(), readable.tolist()) == ([0], [False])


def test_dates_are_midnight_utc():
    """A date without a time is its first second."""
    for column in (pa.array([date(2020, 1, 1)]), [date(2020, 1, 1)], pa.array(["2020-01-01"])):
        assert to_seconds(column)[0].tolist() == [NOON_SEC - 12 * 3600]


def test_numbers_come_from_numbers_and_their_text():
    """Anything else, booleans included, is NaN."""
    assert to_floats(pa.array([1, None, 3])).tolist()[::2] == [1.0, 3.0]
    assert to_floats(pa.array([b"1.5", b"-2e3"])).tolist() == [1.5, -2000.0]
    assert np.isnan(to_floats(pa.array(["x", None, "1,5", "nan", "0x10"]))).all()
    assert np.isnan(to_floats(pa.array([True, False]))).all()
    assert to_floats([Decimal("0.5"), "2", 3]).tolist() == [0.5, 2.0, 3.0]
    assert to_floats(pa.array([2**60])).tolist() == [float(2**60)]


def test_flags_come_from_booleans_numbers_and_words():
    """Missing is False, and what cannot be read is None."""
    assert to_flags(pa.array([True, False, None])) == [True, False, False]
    assert to_flags(pa.array([1, 0, 2])) == [True, False, None]
    assert to_flags(pa.array([1.0, 0.0, math.nan])) == [True, False, False]
    assert to_flags(pa.array([b"Yes", b"no", b"TRUE", b"", b"maybe"])) == [True, False, True, False, None]
    assert to_flags([True, 0, "t", None]) == [True, False, True, False]


def test_text_is_the_same_whether_typed_or_not():
    """A number and its CSV text give the same text; empty and NaN are missing."""
    assert to_text(pa.array([1995, None])) == to_text(pa.array([b"1995", b""])) == ["1995", None]
    assert to_text(pa.array([0.5, math.nan])) == ["0.5", None]
    assert to_text(pa.array([True])) == ["true"]
    assert to_text(pa.array([b"\xff"])) == ["\ufffd"]
    assert to_text(["\ud800"]) == ["?"]


def test_as_of_is_rounded_up_to_whole_seconds():
    """An event in the second of a fractional as_of began before it, so that second is still read."""
    assert ceil_seconds(NOON) == NOON_SEC
    assert ceil_seconds(NOON + timedelta(microseconds=1)) == NOON_SEC + 1


def test_shown_values_are_short_and_typed():
    """A quarantine detail tells value and type, and stays short."""
    assert shown(1.0) == "1.0 (float)"
    assert len(shown("x" * 5000)) < 80
