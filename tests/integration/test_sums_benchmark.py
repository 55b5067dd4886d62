"""The benchmark of sums that a database makes: every way runs at toy size, in a process of its own."""

import json

import pytest

from benchmarks import sums
from tests.catalogues import fresh_database

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_all_ways_run_at_toy_size(tmp_path, capsys, request, backend):
    """Events are written once; ratios are of the figures beside them; a server's seconds are told."""
    url = []
    if backend == "postgresql":
        url = ["--url", fresh_database(request.getfixturevalue("postgresql_server"))]
    arguments = ["--quick", *url, "--home", str(tmp_path), "--json", str(tmp_path / "found.json")]
    assert sums.main(arguments) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    told = capsys.readouterr().out
    assert all(f"\n{way} " in told for way in sums.WAYS)
    assert found["sums_50_cpu_s"] / found["events_50_cpu_s"] == pytest.approx(found["sums_cpu_s_over_events_50"])
    assert found["sums_50_rows"] / found["events_50_rows"] == pytest.approx(found["sums_rows_over_events_50"])
    assert found["events_50_rows"] == found["events, checked_50_rows"] == 20_000
    assert (found["sums_50_server_s"] > 0) == (backend == "postgresql")
