import re
from xml.etree import ElementTree as ET

import pytest

from personalgen.evaluation import CurvePoint, Interval, curve_svg

POINTS = (
    CurvePoint(1.0, 1.0, Interval(1.0, 0.5, 1.5), Interval(0.2, 0.1, 0.3)),
    CurvePoint(1.5, 0.5, Interval(2.0, 1.5, 2.5), Interval(0.4, 0.3, 0.5)),
)


def circles(svg):
    return [(float(c.get("cx")), float(c.get("cy"))) for c in ET.fromstring(svg).iter("circle")]


def test_points_lie_where_their_figures_say():
    """More KID is farther right, more gain higher up; all intervals are inside the frame."""
    (x, y), (other_x, other_y) = circles(curve_svg(POINTS, (1.0, 1.0)))
    assert x < other_x
    assert y > other_y
    for line in ET.fromstring(curve_svg(POINTS, (1.0, 1.0))).iter("line"):
        assert 64 <= float(line.get("x1")) <= float(line.get("x2")) <= 640 - 24
        assert {24 <= float(line.get(end)) <= 320 - 48 for end in ("y1", "y2")} == {True}


@pytest.mark.parametrize("chosen", [0, 1])
def test_the_chosen_point_is_marked(chosen):
    """One point alone is in the colour of values and says that it was chosen."""
    svg = curve_svg(POINTS, (POINTS[chosen].guidance, POINTS[chosen].truncation_psi))
    kinds = re.findall(r'<g class="(of-\w+)">', svg)
    assert [kind == "of-value" for kind in kinds] == [k == chosen for k in range(2)]
    assert svg.count("chosen") == 1


def test_points_without_spread_can_be_drawn():
    """Equal figures without an interval lie in the middle; no points are no plot."""
    flat = CurvePoint(1.0, 1.0, Interval(1.0, 1.0, 1.0), Interval(0.2, 0.2, 0.2))
    assert circles(curve_svg([flat], (1.0, 1.0))) == [((64 + 640 - 24) / 2, (24 + 320 - 48) / 2)]
    assert curve_svg([], (1.0, 1.0)) == ""
