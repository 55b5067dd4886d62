from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy.dialects import postgresql, sqlite

from personalgen.catalogue.column_types import UtcDateTime

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()])
@pytest.mark.parametrize("given", [NOON, NOON.astimezone(timezone(timedelta(hours=5)))])
def test_an_instant_comes_back_in_utc(dialect, given):
    """An aware datetime of any zone comes back as the same instant in UTC."""
    stored = UtcDateTime().process_bind_param(given, dialect)
    back = UtcDateTime().process_result_value(stored, dialect)
    assert (back, back.tzinfo) == (NOON, UTC)


def test_a_naive_datetime_is_refused():
    """A datetime without a zone names no instant."""
    with pytest.raises(ValueError, match="no time zone"):
        UtcDateTime().process_bind_param(NOON.replace(tzinfo=None), sqlite.dialect())


def test_null_stays_null():
    """None passes through both ways."""
    assert UtcDateTime().process_bind_param(None, sqlite.dialect()) is None
    assert UtcDateTime().process_result_value(None, sqlite.dialect()) is None
