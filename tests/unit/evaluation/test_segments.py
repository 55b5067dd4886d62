import numpy as np
import pytest

from personalgen.errors import DataError
from personalgen.evaluation.figures import segment_rows
from personalgen.evaluation.interval import mean_interval
from personalgen.evaluation.segments import segment_figures, user_means

RNG = np.random.default_rng(0)


def test_each_segment_has_its_own_mean_and_interval():
    """Two segments with planted means keep them apart, the larger one first."""
    values = np.concatenate([RNG.normal(1, 0.1, 20), RNG.normal(2, 0.1, 30)])
    small, large = ["a"] * 20, ["b"] * 30
    found = segment_figures(values, small + large)
    assert [(figure.segment, figure.n_users) for figure in found] == [("b", 30), ("a", 20)]
    assert found[0].value.value == pytest.approx(values[20:].mean())
    assert found[1].value.high < found[0].value.low


def test_small_segments_are_taken_together():
    """Segments of 5, 2 and 1 users and those without a label are one row, the last, with the mean of all of them."""
    labels = ["a"] * 10 + ["b"] * 5 + ["c"] * 2 + ["d"] + [None, ""]
    values = RNG.normal(size=20)
    found = segment_figures(values, labels)
    assert [(figure.segment, figure.n_users) for figure in found] == [("a", 10), ("others", 10)]
    assert found[1].value.value == pytest.approx(values[10:].mean())


def test_too_few_others_have_a_number_and_no_figure():
    """Seven users left over are counted, and nothing else is told of them."""
    found = segment_figures(np.arange(17.0), ["a"] * 10 + ["b"] * 7)
    assert (found[1].segment, found[1].value, found[1].n_users) == ("others", None, 7)


def test_a_missing_value_is_no_user():
    """Users without a value do not count, also for whether a segment is large enough."""
    values = np.arange(20.0)
    values[:3] = np.nan
    found = segment_figures(values, ["a"] * 10 + ["b"] * 10)
    assert [(figure.segment, figure.n_users) for figure in found] == [("b", 10), ("others", 7)]


def test_the_order_of_users_does_not_matter():
    """Users in another order give the same figures."""
    values, labels, order = RNG.normal(size=40), np.array(list("abcd") * 10), RNG.permutation(40)
    first, again = segment_figures(values, labels), segment_figures(values[order], labels[order])
    assert [figure.segment for figure in first] == [figure.segment for figure in again]
    assert [figure.value.value for figure in first] == pytest.approx([figure.value.value for figure in again])


def test_users_have_the_mean_of_their_rows():
    """Rows become users' values, users in ascending order, however many rows each has."""
    assert user_means(np.array([1.0, 3.0, 10.0, 2.0]), np.array([7, 7, 3, 7])) == pytest.approx([10, 2])


def test_labels_that_do_not_fit_are_refused():
    """Another number of labels than of values is named."""
    with pytest.raises(DataError, match="each of 5 users, found 4"):
        segment_figures(np.arange(5.0), ["a"] * 4)


def test_the_report_tells_segments_beside_everybody():
    """Each segment's gain has everybody's as its control; small ones tell their number; one segment is no news."""
    values = np.r_[np.linspace(0, 1, 20), np.linspace(1, 2, 10), 5.0]
    labels = ["a"] * 20 + ["b"] * 10 + ["c"]
    gain = mean_interval(values, 0.95)
    rows = segment_rows(segment_figures(values, labels), gain)
    assert [row.name for row in rows] == [f"Gain in the segment {name}" for name in ("a", "b", "others")]
    assert [row.value.value for row in rows[:2]] == pytest.approx([0.5, 1.5])
    assert rows[2].value is None
    assert {row.control for row in rows} == {gain}
    assert rows[2].reading == "Only 1 users: too few for a figure."
    assert segment_rows(segment_figures(values, [None] * 31), gain) == ()
