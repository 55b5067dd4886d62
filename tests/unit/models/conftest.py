"""Nets small enough that a forward and a backward pass take milliseconds."""

import pytest
import torch

from personalgen.conditions import Condition, ConditionSpec
from personalgen.models import ModelOptions

SPEC = ConditionSpec.vector("taste", 5)


@pytest.fixture
def spec():
    """Return the specification of five numbers."""
    return SPEC


@pytest.fixture
def options():
    """Return options of an 8 px model with groups of two."""
    return ModelOptions(resolution=8, z_dim=6, style_dim=16, width=8, max_width=16, discriminator_width=8, group_size=2)


@pytest.fixture
def condition():
    """Return eight random rows."""
    return Condition.vector("taste", torch.randn(8, 5, generator=torch.Generator().manual_seed(1)))


@pytest.fixture(autouse=True)
def seed():
    """Draw the same weights in every order of tests."""
    torch.manual_seed(0)
