import pytest

from personalgen.cli.health import as_told

ROW = {"night_id": 3, "day": "2026-09-22", "expected": None, "low": 0.5, "high": 111756.4, "status": "ok"}


@pytest.mark.parametrize("check", ["interactions.volume", "interactions.new_events"])
def test_counts_are_whole_numbers(check):
    """With thousands separators, whatever their size; what is not there stays so."""
    told = as_told({**ROW, "check": check, "value": 36770.0})
    assert (told["value"], told["expected"], told["low"], told["high"]) == ("36,770", None, "0", "111,756")
    assert (told["night_id"], told["status"]) == (3, "ok")


@pytest.mark.parametrize("check", ["interactions.quarantined", "items.nulls.volume", "users.new"])
def test_shares_stay_figures(check):
    """They are below 1 and tell most in their fractions."""
    row = {**ROW, "check": check, "value": 0.25}
    assert as_told(row) == row
