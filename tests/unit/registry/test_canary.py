import math
from dataclasses import replace

import pytest

from personalgen.registry.canary import CanaryFigures, decide_canary
from personalgen.registry.promotion import Difference

SAME = Difference(0.01, -0.1, 0.1)
LESS, MORE = Difference(-0.2, -0.3, -0.1), Difference(0.2, 0.1, 0.3)
FINE = CanaryFigures(120, 40, fit=SAME, between=SAME, refused=SAME)


def test_no_difference_goes_on():
    """A canary asks for nothing better: what is better was the gate's question. Every figure is told."""
    verdict = decide_canary(FINE)
    assert verdict.promote
    assert len(verdict.reasons) == 3
    assert verdict.reasons[0].startswith("canary of 120 users, 40 of them judged: personal fit did not change")


@pytest.mark.parametrize(
    ("name", "worse", "told"),
    [
        ("fit", LESS, "personal fit regressed"),
        ("between", LESS, "diversity between users regressed"),
        ("refused", MORE, "the share of refused pictures regressed"),
    ],
)
def test_each_figure_that_is_worse_beyond_its_interval_holds(name, worse, told):
    """The reason names it with its interval; what is better beside it does not make up for it."""
    verdict = decide_canary(replace(FINE, **{"fit": MORE, name: worse}))
    assert not verdict.promote
    assert any(told in reason and f"{worse.low:+.4g} to {worse.high:+.4g}" in reason for reason in verdict.reasons)


@pytest.mark.parametrize(
    ("name", "better"), [("fit", MORE), ("between", MORE), ("refused", LESS), ("between", None), ("refused", None)]
)
def test_what_is_better_or_cannot_be_measured_holds_nobody(name, better):
    """Diversity of copies and refusals without a filter have no figure."""
    assert decide_canary(replace(FINE, **{name: better})).promote


def test_a_canary_without_a_fit_holds():
    """With too few users nothing is known, and the reason says so."""
    verdict = decide_canary(CanaryFigures(3, 0, missing="3 of its users can be judged, fewer than gate.min_users = 8."))
    assert not verdict.promote
    assert verdict.reasons[0].endswith("fewer than gate.min_users = 8.")


@pytest.mark.parametrize("bad", [Difference(math.nan, 0.0, 0.0), Difference(0.0, 0.1, -0.1)], ids=["nan", "reversed"])
@pytest.mark.parametrize("name", ["fit", "between", "refused"])
def test_figures_that_make_no_sense_hold(name, bad):
    """Not a number, or an interval that ends before it starts."""
    verdict = decide_canary(replace(FINE, **{name: bad}))
    assert not verdict.promote
    assert "not finite" in verdict.reasons[0]


def test_figures_are_flat_numbers():
    """Each difference with its ends; what was not measured has no name."""
    assert replace(FINE, between=None, refused=None).numbers() == {
        "n_users": 120, "n_judged": 40, "fit_diff": 0.01, "fit_low": -0.1, "fit_high": 0.1
    }  # fmt: skip
