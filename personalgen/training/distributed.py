"""The processes that torchrun starts: how one joins its team, and how the others learn what the first one trains."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from importlib import import_module
from os import environ
from pathlib import Path

import torch
from torch import distributed

from personalgen.errors import ConfigError, LostProcessError, TrainingError, UnfinishedError
from personalgen.training.job import Job, load_job, save_job
from personalgen.training.loop import train
from personalgen.training.team import Team
from personalgen.training.trainer import pick_device

PATIENCE = timedelta(hours=2)
"""How long members wait for one that lives: the first one may take minutes over a snapshot or the night's tables.

A member that dies is noticed at once: torchrun ends the others, and so does the closed connection."""


@contextmanager
def joined(device: str) -> Iterator[Team]:
    """Yield this process as a member of the team that torchrun started, or alone where torchrun did not start it.

    `device` is the setting: on GPUs each process has the one of its number on this machine, and gradients go by NCCL;
    else all compute on the CPU, and they go by gloo.

    Raises:
        ConfigError: there are more processes than GPUs.
    """
    if not distributed.is_available() or not distributed.is_torchelastic_launched():
        yield Team()
        return
    # Imported while a group exists, dynamo keeps it for ever (torch 2.13). Its threads may then let go of a tensor
    # while the interpreter ends, which aborts the process now and then, after the work is done.
    import_module("torch._dynamo")
    on_gpu = pick_device(device).type == "cuda"
    if on_gpu:
        torch.cuda.set_device(_own_gpu())
    distributed.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=PATIENCE)
    try:
        yield Team.of_process_group()
    finally:
        distributed.destroy_process_group()


@contextmanager
def leading(device: str) -> Iterator[bool]:
    """Yield whether this process is the one that does a command's work.

    Another one that torchrun started beside it trains whatever the first one names by `share_job`, and ends with it.
    """
    with joined(device) as team:
        if not team.is_first:
            _follow(team)
            yield False
            return
        try:
            yield True
        except UnfinishedError:
            team.hear_first("")
            raise
        team.hear_first("")


def share_job(job: Job, folder: Path) -> None:
    """Tell the other processes of this team to train `job` too; alone, do nothing.

    They read it from the folder: they run on this machine, or share its disks.
    """
    team = Team.of_process_group()
    if team.size > 1:
        save_job(folder, job)
        team.hear_first(str(folder.resolve()))


def train_beside(job: Job) -> None:
    """Train as the other processes of a team do: without files, callbacks and words.

    What ends a training for all is raised on the first one too, which reports it. So an end of this kind is not an
    error of this process: torchrun would end the first one before it has spoken.
    """
    with suppress(TrainingError, ConfigError):
        train(job, folder=Path())


def _follow(team: Team) -> None:
    """Train every job that the first member names, until it names none or is gone."""
    with suppress(LostProcessError):
        while folder := team.hear_first():
            train_beside(load_job(Path(folder)))


def _own_gpu() -> int:
    """Return the number of this process on its machine, which is its GPU's.

    Raises:
        ConfigError: there is no such GPU.
    """
    own, n_gpus = int(environ["LOCAL_RANK"]), torch.cuda.device_count()
    if own >= n_gpus:
        raise ConfigError(
            f"torchrun started {environ['LOCAL_WORLD_SIZE']} processes on a machine with {n_gpus} GPUs: one each is "
            f'needed. Start it with --nproc-per-node {n_gpus}, or set train.device = "cpu". Nothing was trained.'
        )
    return own
