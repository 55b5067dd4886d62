import json

import pytest

from benchmarks import orchestration


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_is_not_a_stage_is_told(tmp_path, capsys):
    """The toy size is one night without a server: stages and the rest are all of its time, and the parts lie within."""
    told = tmp_path / "told.json"
    assert orchestration.main(["--quick", "--nights", "1", "--home", str(tmp_path / "home"), "--json", str(told)]) == 0
    found = {name.removesuffix("_sec_without_0"): value for name, value in json.loads(told.read_text()).items()}
    assert found["wall"] == pytest.approx(found["stages"] + found["overhead"])
    parts = ("before_first_stage", "between_stages", "after_last_stage")
    assert found["overhead"] == pytest.approx(sum(found[name] for name in parts), abs=0.1)
    assert 0 < found["imports"] < found["before_first_stage"]
    assert 0 < found["overhead_cpu"] < found["cpu"]
    assert "overhead" in capsys.readouterr().out
