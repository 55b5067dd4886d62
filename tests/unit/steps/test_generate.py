"""Where a night draws, also where somebody moves what is live in its middle."""

from dataclasses import asdict
from importlib import import_module
from types import SimpleNamespace

import pytest

from personalgen.generation.options import OperatingPoint

generate = import_module("personalgen.steps.generate")  # the step of this name hides its module
FORMER, LIVE, MEASURED = (OperatingPoint(guidance=guidance) for guidance in (1.5, 2.0, 3.0))


@pytest.fixture
def workspace(monkeypatch):
    """A workspace in which version 1 is live, at a point of its own, after version 2 was."""
    moves = [SimpleNamespace(model_version_id=k, operating_point=asdict(at)) for k, at in ((1, LIVE), (2, FORMER))]
    monkeypatch.setattr(generate, "past_releases", lambda _: moves)
    live = SimpleNamespace(model_version_id=1, operating_point=asdict(LIVE))
    return SimpleNamespace(live=lambda: live, engine=None)


@pytest.mark.parametrize(
    ("model", "promote", "expected"),
    [(1, False, LIVE), (2, False, FORMER), (3, True, MEASURED), (3, False, LIVE)],
    ids=["kept", "rolled back since", "promoted", "never released"],
)
def test_a_model_is_drawn_where_it_is_released(workspace, model, promote, expected):
    """The champion of the night's decision at its own point, whatever is live by now."""
    decided = SimpleNamespace(model_version_id=model, promote=promote, operating_point=asdict(MEASURED))
    assert generate.operating_point(workspace, decided) == expected
