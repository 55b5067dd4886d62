"""Several processes as one training: every member draws the same batch, computes its own rows, and shares gradients.

Started by torchrun. Because all members have the same seed, the batch of a step does not depend on how many there are,
and the averaged gradients are those of one process, within rounding.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from personalgen.errors import ConfigError


@dataclass(frozen=True)
class Team:
    """One of `size` processes that train together; alone by default."""

    rank: int = 0
    size: int = 1

    @classmethod
    def of_process_group(cls) -> "Team":
        """Return the member that this process is; alone where no process group was initialised."""
        if not distributed.is_available() or not distributed.is_initialized():
            return cls()
        return cls(distributed.get_rank(), distributed.get_world_size())

    @property
    def is_first(self) -> bool:
        """Whether this member is the one that writes files and metrics."""
        return self.rank == 0

    def share(self, rows: int, group_size: int = 1) -> slice:
        """Return the rows of a batch that this member computes, whole groups of one person's.

        Raises:
            ConfigError: the members do not divide the batch between groups.
        """
        if rows % (self.size * group_size):
            raise ConfigError(
                f"train.batch_size must be a multiple of the number of processes, which is {self.size}, times "
                f"model.group_size, which is {group_size}, found {rows}. Nothing was trained."
            )
        part = rows // self.size
        return slice(self.rank * part, (self.rank + 1) * part)

    def average_gradients(self, nets: Iterable[nn.Module]) -> None:
        """Replace every gradient by its mean over the team."""
        if self.size == 1:
            return
        gradients = [p.grad for net in nets for p in net.parameters() if p.grad is not None]
        flat = _flatten_dense_tensors(gradients)
        distributed.all_reduce(flat)
        for own, mean in zip(gradients, _unflatten_dense_tensors(flat / self.size, gradients), strict=True):
            own.copy_(mean)

    def average(self, values: dict[str, Tensor]) -> dict[str, float]:
        """Return every value's mean over the team."""
        if not values:
            return {}
        stacked = torch.stack(list(values.values()))
        if self.size > 1:
            distributed.all_reduce(stacked)
            stacked = stacked / self.size
        return dict(zip(values, stacked.tolist(), strict=True))

    def wait(self) -> None:
        """Return when all members are here."""
        if self.size > 1:
            distributed.barrier()

    def agree(self, flag: bool) -> bool:  # noqa: FBT001 - a vote
        """Return the first member's answer, so that all stop or go on together."""
        if self.size == 1:
            return flag
        vote = torch.tensor([float(flag)])
        if distributed.get_backend() == "nccl":
            vote = vote.cuda()
        distributed.broadcast(vote, src=0)
        return bool(vote.item())
