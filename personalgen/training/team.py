"""Several processes as one training: every member draws the same batch, computes its own rows, and shares gradients.

Because all members have the same state and the same random numbers, the batch of a step does not depend on how many
there are, and the averaged gradients are those of one process, within rounding. Every decision is taken on numbers
that are the same on all members, or by the first one for all.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from personalgen.errors import ConfigError, LostProcessError


@dataclass(frozen=True)
class Team:
    """One of `size` processes that train together; alone by default.

    Every method that speaks of the team is called by all members, in the same order.
    """

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
        """Whether this member is the one that reads and writes files, and reports."""
        return self.rank == 0

    def place(self, device: torch.device) -> torch.device:
        """Return where this member computes: on a GPU of its own, whichever GPU the settings name."""
        if self.size == 1 or device.type != "cuda":
            return device
        return torch.device("cuda", torch.cuda.current_device())

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
        with _others_needed():
            distributed.all_reduce(flat)
        for own, mean in zip(gradients, _unflatten_dense_tensors(flat / self.size, gradients), strict=True):
            own.copy_(mean)

    def average(self, values: dict[str, Tensor]) -> dict[str, float]:
        """Return every value's mean over the team."""
        if not values:
            return {}
        stacked = torch.stack(list(values.values()))
        if self.size > 1:
            with _others_needed():
                distributed.all_reduce(stacked)
            stacked = stacked / self.size
        return dict(zip(values, stacked.tolist(), strict=True))

    def agree(self, flag: bool) -> bool:  # noqa: FBT001 - a vote
        """Return the first member's answer, so that all stop or go on together."""
        vote = torch.tensor([float(flag)])  # on the CPU: nobody waits for a GPU
        self.follow_first(vote)
        return bool(vote.item())

    def follow_first(self, tensor: Tensor) -> None:
        """Fill the tensor with the first member's values."""
        if self.size == 1:
            return
        values = tensor.detach().contiguous()
        with _others_needed():
            distributed.broadcast(values, src=0)
        tensor.detach().copy_(values)

    def hear_first(self, text: str = "") -> str:
        """Return the text of the first member, which the others wait for."""
        if self.size == 1:
            return text
        data = torch.tensor(list(text.encode()), dtype=torch.uint8)
        length = torch.tensor([len(data)])
        self.follow_first(length)
        if not int(length):
            return ""
        data = data if self.is_first else torch.zeros(int(length), dtype=torch.uint8)
        self.follow_first(data)
        return bytes(data.tolist()).decode()


@contextmanager
def _others_needed() -> Iterator[None]:
    """Turn what torch says of a process that is not there any more into an error of ours.

    Raises:
        LostProcessError: another process ended, or did not come for longer than the group's patience.
    """
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LostProcessError(
            f"another process of this training ended or does not answer ({reason}). The last checkpoint stands: start "
            "the same command again to go on from it."
        ) from error
