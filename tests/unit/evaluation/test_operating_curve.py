import pytest

from personalgen.errors import DataError
from personalgen.evaluation import CurvePoint, Interval, choose_point


def _point(guidance, kid, gain, *, psi=1.0, reach=0.1):
    return CurvePoint(
        guidance, psi, Interval(kid, kid - reach, kid + reach), Interval(gain, gain - reach, gain + reach)
    )


def test_the_most_personal_of_the_best_looking_points_is_chosen():
    """A point with more fit is taken as long as its KID cannot be told from the least one, and not beyond."""
    points = [_point(1.0, 1.0, 0.3), _point(1.5, 1.09, 0.5), _point(3.0, 1.4, 0.9)]
    chosen, why = choose_point(points)
    assert chosen.guidance == 1.5
    assert "the highest of 2 of 3 points" in why


def test_a_sure_gain_is_worth_more_than_a_large_one():
    """The lower end decides, not the value."""
    sure = CurvePoint(1.0, 1.0, Interval(1, 0.9, 1.1), Interval(0.4, 0.35, 0.45))
    unsure = CurvePoint(2.0, 1.0, Interval(1, 0.9, 1.1), Interval(0.5, 0.1, 0.9))
    assert choose_point([unsure, sure])[0] is sure


def test_of_equal_gains_the_better_looking_point_is_chosen():
    """Nothing is given for nothing."""
    assert choose_point([_point(2.0, 1.05, 0.3), _point(1.0, 1.0, 0.3)])[0].guidance == 1.0


def test_without_points_nothing_is_chosen():
    """An empty curve is refused."""
    with pytest.raises(DataError, match="no operating point"):
        choose_point([])
