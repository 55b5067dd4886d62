"""What is no opinion is told with its line, and nothing is stored."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from personalgen.errors import DataError
from personalgen.steps.rate import rate_from_file

WORKSPACE = SimpleNamespace(now=lambda: datetime(2026, 3, 1, tzinfo=UTC))
"""Has no catalogue: nothing may be asked of one."""


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        (f"{10**20},1,ada,", "an asset's id is from 1 to 9223372036854775807, found 100000000000000000000"),
        ("-1,1,ada,", "an asset's id is from 1"),
        ("1,1,ada,0001-01-01T00:00:00+10:00", "years 1 to 9999 of UTC"),
        ("1,1,a\0da,", "none of them NUL"),
    ],
)
def test_what_no_database_holds_is_a_fault_of_its_line(tmp_path, cells, why):
    """Ids, instants and names that only Python can hold."""
    file = tmp_path / "ratings.csv"
    file.write_text(f"asset_id,rating,rater,at\n{cells}\n")
    with pytest.raises(DataError, match=f"line 2: .*{why}.*Nothing was stored"):
        rate_from_file(WORKSPACE, file)
