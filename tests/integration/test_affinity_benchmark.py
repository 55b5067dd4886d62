"""The benchmark of the affinity state: every engine runs at toy size, in a process of its own."""

import json

import pytest

from benchmarks import affinity

pytestmark = pytest.mark.timeout(300)


@pytest.mark.slow
def test_all_engines_run_at_toy_size(tmp_path, capsys):
    """Twice in one home: events are written once, and a second night is added."""
    for run in range(2):
        arguments = ["--quick", "--home", str(tmp_path), "--json", str(tmp_path / "found.json")]
        only = [] if run == 0 else ["--only", "addition", "--only", "ours, newest"]
        assert affinity.main([*arguments, *only, "--plot", str(tmp_path / "plot.png")]) == 0
        found = json.loads((tmp_path / "found.json").read_text())
        assert all(value > 0 for value in found.values())
        ratio = found["addition_20000_cpu_s"] / found["ours, newest_20000_cpu_s"]
        assert found["addition_cpu_s_over_ours, newest_20000"] == pytest.approx(ratio)
    assert (tmp_path / "plot.png").stat().st_size > 1000
    told = capsys.readouterr().out
    assert all(f"\n{engine} " in told for engine in affinity.ENGINES)


def test_the_slope_is_the_power_of_the_events():
    """Of what costs twice as much with four times the events it is a half; two sizes are not enough."""
    sizes = [100, 400, 1600]
    figures = {f"ours_{size}_cpu_s": 3 * size**0.5 for size in sizes} | {"read_100_cpu_s": 1.0, "read_400_cpu_s": 2.0}
    assert dict(affinity._slopes(sizes, figures)) == {"ours": pytest.approx(0.5)}
