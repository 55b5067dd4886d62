import pytest
import torch

from personalgen.errors import ConfigError
from personalgen.training.team import Team


def test_alone_everything_stays_as_it_is():
    """One process is the first, has all rows, its own gradients, means and votes, and waits for nobody."""
    team, net = Team.of_process_group(), torch.nn.Linear(2, 1)
    net(torch.ones(1, 2)).sum().backward()
    before = net.weight.grad.clone()
    team.average_gradients([net])
    assert team.hear_first("train this") == "train this"
    assert team == Team(0, 1)
    assert team.is_first
    assert team.share(10) == slice(0, 10)
    assert torch.equal(net.weight.grad, before)
    assert team.average({"a": torch.tensor(1.5), "b": torch.tensor(2.0)}) == {"a": 1.5, "b": 2.0}
    assert team.average({}) == {}
    assert team.agree(True)
    assert not team.agree(False)


def test_members_share_the_rows_of_a_batch():
    """Equal parts in order, which together are the batch; the first member alone is the first."""
    members = [Team(rank, 3) for rank in range(3)]
    assert [team.share(12) for team in members] == [slice(0, 4), slice(4, 8), slice(8, 12)]
    assert [team.is_first for team in members] == [True, False, False]


def test_rows_that_members_do_not_divide_are_refused():
    """Neither between members nor within a group."""
    with pytest.raises(ConfigError, match=r"number of processes, which is 3, times .* is 1, found 10\. Nothing was tr"):
        Team(0, 3).share(10)
    with pytest.raises(ConfigError, match=r"which is 2, times model\.group_size, which is 4, found 12"):
        Team(0, 2).share(12, 4)
    assert Team(1, 2).share(16, 4) == slice(8, 16)
