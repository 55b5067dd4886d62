"""The benchmark of the source's checks at toy size."""

import json

import pytest

from benchmarks import health

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]


def test_faults_stop_a_night_or_warn_and_no_clean_night_is_stopped(tmp_path):
    """Of six clean nights none fails; what is lost fails, and a shifted distribution is at least odd after so few."""
    assert health.main(["--quick", "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["clean_nights"], found["clean_fail"]) == (6, 0)
    assert {name for name in health.FAULTS if not found[f"{name}_fail"]} <= {"ratings_turned", "bots"}
    assert all(found[f"{name}_fail"] + found[f"{name}_warn"] for name in health.FAULTS)
    assert found["health_over_prepare"] == pytest.approx(found["health_cpu_s"] / found["prepare_cpu_s"])
