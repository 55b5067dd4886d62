import subprocess
import sys
import textwrap

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
    team.wait()
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


MEMBER = """
import sys
import numpy as np
import torch
from safetensors.torch import save_file
from personalgen.conditions import ConditionSpec
from personalgen.models import ModelOptions
from personalgen.training import TrainingOptions, TrainingPairs
from personalgen.training.state import _tensors
from personalgen.training.team import Team
from personalgen.training.trainer import Trainer

folder, rank, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)
if size > 1:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size)
team = Team.of_process_group()
assert team == Team(rank, size)
assert team.agree(rank == 0) and not team.agree(rank == 1)
assert team.average({"x": torch.tensor(float(rank))}) == {"x": (size - 1) / 2}
rng = np.random.default_rng(0)
pairs = TrainingPairs.of(
    rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8), rng.integers(0, 6, 20), np.repeat(np.arange(4), 5),
    of_pair={"taste": rng.normal(size=(20, 5)).astype(np.float32)},
)
model = ModelOptions(resolution=8, z_dim=6, style_dim=16, width=8, max_width=8, discriminator_width=8, group_size=2)
options = TrainingOptions(
    batch_size=8, device="cpu", precision="fp32", threads=1, feature_weight=0.0, augment=0.5, candidates=2,
    warmup_kimg=1.0,
)
trainer = Trainer(pairs, ConditionSpec.vector("taste", 5), model, options, torch.device("cpu"), team)
trainer.step()
sums = trainer.read_sums()
trainer.step()
team.wait()
tensors = {name: value.detach().contiguous().clone() for name, value in _tensors(trainer.state)}
tensors |= {f"metric.{name}": torch.tensor(value) for name, value in sums.items()}
save_file(tensors, f"{folder}/{size}-{rank}.safetensors")
if size > 1:
    torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    """Two steps of two processes leave weights, moments and losses of one process within rounding, alike for both."""
    from safetensors.torch import load_file

    script = tmp_path / "member.py"
    script.write_text(textwrap.dedent(MEMBER))
    runs = [(0, 1), (0, 2), (1, 2)]
    members = [
        subprocess.Popen(
            [sys.executable, str(script), str(tmp_path), str(rank), str(size)], stderr=subprocess.PIPE, text=True
        )
        for rank, size in runs
    ]
    for member in members:
        _, told = member.communicate(timeout=110)
        assert member.returncode == 0, told
    alone, first, second = (load_file(tmp_path / f"{size}-{rank}.safetensors") for rank, size in runs)
    assert alone.keys() == first.keys() == second.keys()
    for name, expected in alone.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], expected, rtol=1e-3, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}")
    assert any(not torch.equal(first[name], expected) for name, expected in alone.items())
