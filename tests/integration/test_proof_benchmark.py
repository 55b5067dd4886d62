import json
import shutil
from dataclasses import replace

import pytest

from benchmarks import proof
from benchmarks.world import QUICK_ESTIMATOR
from personalgen.steps import Standing, table
from personalgen.steps.contestants import UNCONDITIONAL
from personalgen.steps.table import HELD_OUT, OURS, PARTS


@pytest.mark.timeout(200)
def test_one_call_trains_measures_and_says_what_is_asked(tmp_path, capsys, empty_tracking, monkeypatch):
    """At a toy size: a table, what is asked of a proof for three ways to draw, and one flat object of numbers."""
    monkeypatch.setattr(table, "EstimatorOptions", lambda threads: replace(QUICK_ESTIMATOR, threads=threads))
    path = tmp_path / "proof.json"
    (tmp_path / "home").mkdir()
    shutil.copy(empty_tracking, tmp_path / "home" / "mlflow.db")
    arguments = ["--quick", "--world", "faces", "--home", str(tmp_path / "home"), "--json", str(path)]
    assert proof.main([*arguments, "--baseline", UNCONDITIONAL, "--set", "evaluation.n_users=24"]) == 0
    told = capsys.readouterr().out
    for way in (OURS, *PARTS):
        assert f"\n{way}:\n" in told
    assert "KID less floor" in told
    figures = json.loads(path.read_text())
    assert all(isinstance(value, float | int) for value in figures.values())
    assert figures["held_out_unconditional_wins_by_truth"] == 0.5


def test_a_ratio_of_kids_is_above_their_floors():
    """(1.2 - 0.2) / (0.7 - 0.2) is 2: the floor is taken off both."""
    assert proof.kid_ratio({"kid": 1.2, "kid_floor": 0.2}, {"kid": 0.7, "kid_floor": 0.2}) == pytest.approx(2)


def test_what_is_missing_is_said_to_be():
    """A way without a figure, as where a judge hardly sees taste, is told as such."""
    bare = {"kid": 1.0, "kid_low": 0.9, "kid_high": 1.1, "kid_floor": 0.1}
    ways = (UNCONDITIONAL, OURS, *PARTS)
    lines = proof.verdicts([Standing(name, HELD_OUT, bare, 1.0) for name in ways])
    assert any("NPG, held out" in line and "missing" in line for line in lines)


def test_a_wrong_setting_is_one_line_and_exit_code_2(tmp_path, capsys):
    """A misspelt key is told like any other."""
    assert proof.main(["--quick", "--home", str(tmp_path), "--set", "train.kimg=1"]) == 2
    assert "train.kimg is not a setting" in capsys.readouterr().err
