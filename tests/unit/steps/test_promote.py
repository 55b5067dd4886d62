import math
from types import SimpleNamespace

import pytest

from personalgen.registry.promotion import GateOptions
from personalgen.steps.evaluate import Evaluated
from personalgen.steps.promote import difference, figures, gate

GOOD = {
    "kid": 0.01, "kid_low": 0.0, "kid_high": 0.02, "kid_floor": 0.0, "fit_gain": 0.5, "fit_gain_low": 0.4,
    "fit_gain_high": 0.6, "n_users": 100,
}  # fmt: skip
BETTER = {"fit_diff": 0.1, "fit_low": 0.05, "fit_high": 0.15, "kid_diff": 0.0, "kid_low": -0.1, "kid_high": 0.1}


@pytest.fixture
def workspace():
    return SimpleNamespace(settings=SimpleNamespace(gate=GateOptions()), live=lambda: None)


def evaluated(challenger=GOOD, before=None, before_is="", paired=None, missing=""):
    """Return an evaluation."""
    return Evaluated(challenger, before or {}, before_is, paired or {}, missing, "judge", "")


def test_the_first_champion_needs_the_absolute_thresholds(workspace):
    """Without a champion good figures are promoted and bad ones held."""
    assert gate(workspace, evaluated()).promote
    assert not gate(workspace, evaluated(GOOD | {"kid": 2.9})).promote
    assert not gate(workspace, evaluated(GOOD | {"fit_gain_low": -0.1})).promote


def test_a_missing_evaluation_holds(workspace):
    """Nothing measured, nothing promoted; the reason is told."""
    verdict = gate(workspace, evaluated({}, missing="too few users"))
    assert not verdict.promote
    assert "too few users" in " ".join(verdict.reasons)


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_missing_figure_holds(workspace, name):
    """A figure that could not be measured is no pass."""
    assert not gate(workspace, evaluated({key: value for key, value in GOOD.items() if key != name})).promote


def test_a_snapshot_is_no_champion(workspace):
    """What training started from is compared in the report; the gate keeps to the absolute thresholds."""
    worse_than_snapshot = {"fit_diff": -1.0, "fit_low": -1.1, "fit_high": -0.9}
    assert gate(workspace, evaluated(before=GOOD, before_is="snapshot", paired=worse_than_snapshot)).promote


def test_against_a_champion_the_difference_decides(workspace):
    """A challenger that is better beyond the interval is promoted, one that is not is held."""
    assert gate(workspace, evaluated(before=GOOD, before_is="champion", paired=BETTER)).promote
    undecided = BETTER | {"fit_low": -0.05}
    assert not gate(workspace, evaluated(before=GOOD, before_is="champion", paired=undecided)).promote


def test_a_champion_that_could_not_be_measured_holds(workspace):
    """With a champion whose figures are missing, absolute thresholds are not enough."""
    assert not gate(workspace, evaluated(before_is="champion")).promote
    assert not gate(workspace, evaluated(before=GOOD, before_is="champion")).promote


def test_what_is_missing_is_nan():
    """The gate's view of nothing is NaN and no user."""
    assert figures({}).n_users == 0
    assert math.isnan(figures({}).kid)
    assert math.isnan(difference({}).fit.low)
