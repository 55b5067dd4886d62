import math
from types import SimpleNamespace

import pytest

from personalgen.bounds import check_options
from personalgen.errors import ConfigError, OptionsError

OPTIONS = SimpleNamespace(count=0, rate=0.0, share=1.0, kind="b")


def test_values_at_the_edge_of_their_range_are_fine():
    """`least`, `shares` and `choices` hold their ends."""
    check_options("part", OPTIONS, least={"count": 0}, shares=("share",), choices={"kind": ("a", "b")})


def test_every_fault_is_named_with_what_was_expected_and_found():
    """One error of the section, in which each phrase can be read alone."""
    with pytest.raises(OptionsError) as caught:
        check_options(
            "part", OPTIONS, least={"count": 1}, above={"rate": 0}, choices={"kind": ("x", "y")}, more=["tone is off"]
        )
    assert caught.value.section == "part"
    assert caught.value.faults == (
        "count must be at least 1, found 0", "rate must be above 0, found 0.0", "kind must be one of x, y, found 'b'",
        "tone is off",
    )  # fmt: skip
    assert str(caught.value).startswith("part: count must be at least 1, found 0; rate")
    assert str(caught.value).endswith("Nothing was started.")
    assert isinstance(caught.value, ConfigError)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("bounds", [{"least": {"rate": 0}}, {"above": {"rate": 0}}, {"shares": ("rate",)}])
def test_a_number_is_finite(value, bounds):
    """Not a number compares as false with everything, and infinity with most."""
    with pytest.raises(OptionsError, match=rf"rate must be .*, found {value}"):
        check_options("part", SimpleNamespace(rate=value), **bounds)
