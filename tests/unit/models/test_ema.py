import pytest
import torch
from torch import nn

from personalgen.models import ema_beta, ema_copy, ema_update


def test_half_of_the_old_weights_is_left_after_the_half_life():
    """So many steps as make up the half-life multiply to a half, whatever the batch."""
    for batch in (8, 32):
        beta = ema_beta(batch, half_life_img=1024, seen_img=1e9)
        assert beta ** (1024 / batch) == pytest.approx(0.5)


def test_the_half_life_is_ramped_up():
    """Early on it is a share of the images seen, so that the first weights are soon forgotten."""
    early = ema_beta(32, half_life_img=10_000, seen_img=3200, rampup=0.05)
    assert early == pytest.approx(0.5 ** (32 / 160))
    assert early < ema_beta(32, half_life_img=10_000, seen_img=1e9)
    assert 0 <= ema_beta(32, half_life_img=10_000, seen_img=0) < 1e-6


def test_the_average_moves_towards_the_net_by_the_rest():
    """Beta of the old and 1 - beta of the new; buffers are copied; the net itself stays."""
    net = nn.BatchNorm1d(2)
    average = ema_copy(net)
    with torch.no_grad():
        net.weight.fill_(5.0)
        net.running_mean.fill_(3.0)
    ema_update(average, net, 0.75)
    assert average.weight.tolist() == [2.0, 2.0]
    assert average.running_mean.tolist() == [3.0, 3.0]
    assert net.weight.tolist() == [5.0, 5.0]


def test_the_average_is_frozen_and_apart():
    """It is in evaluation mode, needs no gradient, and shares no memory with the net."""
    net = nn.Linear(2, 2)
    average = ema_copy(net)
    assert not average.training
    assert not any(weight.requires_grad for weight in average.parameters())
    assert net.weight.requires_grad
    assert average.weight.data_ptr() != net.weight.data_ptr()
