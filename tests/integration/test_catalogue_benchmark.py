import json

import pytest

from benchmarks import catalogue, rollback
from tests.catalogues import fresh_database


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_the_benchmark_builds_asks_and_asks_again(request, tmp_path, backend):
    """At a toy size every question has its figures; a second run finds the catalogue and builds nothing."""
    url = ["--url", fresh_database(request.getfixturevalue("postgresql_server"))] if backend == "postgresql" else []
    told = []
    for name in ("first", "second"):
        file = tmp_path / f"{name}.json"
        assert catalogue.main(["--quick", "--home", str(tmp_path), "--json", str(file), *url]) == 0
        told.append(json.loads(file.read_text()))
    assert told[0].keys() - told[1].keys() == {"build_s"}
    assert all(type(value) is float and value >= 0 for figures in told for value in figures.values())
    assert {"latest_p50_ms", "top_night_p99_ms", "changed_mean_cpu_ms", "image_by_id_cpu_us"} <= told[1].keys()


def test_the_way_back_is_measured(tmp_path):
    """At a toy size the move and the count have their figures, also where the catalogue is there."""
    for name in ("first", "second"):
        file = tmp_path / f"{name}.json"
        assert rollback.main(["--quick", "--home", str(tmp_path), "--json", str(file)]) == 0
        figures = json.loads(file.read_text())
        assert figures.keys() == {"users", "move_cpu_ms", "count_without_cpu_ms"}
        assert figures["move_cpu_ms"] > 0
