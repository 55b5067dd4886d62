"""The training loop. It knows images, conditions and nets; nothing of tables, users or trackers."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from personalgen.errors import TrainingError
from personalgen.models import Generator
from personalgen.threads import torch_threads
from personalgen.training.gpus import alone_on, own_gpus
from personalgen.training.guards import FixedGrid, fault_of
from personalgen.training.job import Job
from personalgen.training.options import TrainingOptions
from personalgen.training.speed import Stopwatch
from personalgen.training.state import (
    TrainingState,
    broken_parts,
    follow_first,
    load_checkpoint,
    new_state,
    save_checkpoint,
)
from personalgen.training.team import Team
from personalgen.training.trainer import Trainer, pick_device

Metrics = dict[str, float]


@dataclass(frozen=True)
class TrainingResult:
    """What a training gave."""

    generator: Generator
    """The moving average, in evaluation mode on the CPU."""
    seen_img: int
    """Images seen by this training."""
    trained_kimg: float
    """Thousands of images seen by these weights, warm start included."""
    finished: bool
    """False where `max_minutes` or `slice_kimg` ended the run before `max_kimg`."""


def train(
    job: Job,
    *,
    folder: Path,
    warm_start: Callable[[TrainingState], None] | None = None,
    on_snapshot: Callable[[Generator, float], Metrics] | None = None,
    log: Callable[[Metrics, int], None] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> TrainingResult:
    """Train a job until its `max_kimg`, or until this run's slice is over, and return the average.

    Goes on from a checkpoint in `folder`. `log(metrics, images seen)` gets the losses at every snapshot beside what
    `on_snapshot(average, kimg)` returned.
    Within a process group every member calls this with the same job; the callbacks, the warm start and
    the folder are the first one's, whose state the others take over.

    Raises:
        TrainingError: the training diverged or collapsed more often than `max_rollbacks`; the last good checkpoint is
            left in place.
        LostProcessError: another process of the group ended; the last checkpoint is left in place.
        ConfigError: the processes do not divide the batch.
        UnfinishedError: another training holds the GPU, and `gpu_busy` is "refuse".
    """
    team, options = Team.of_process_group(), job.options
    device = team.place(pick_device(options.device))

    def say(text: str) -> None:
        if progress:
            progress(0, 0, text)

    with alone_on(own_gpus(device), options.gpu_busy, say=say):
        trainer = Trainer(job, device, team)
        return _train(
            job, trainer, folder=folder, warm_start=warm_start, on_snapshot=on_snapshot, log=log, progress=progress
        )


def _train(
    job: Job,
    trainer: Trainer,
    *,
    folder: Path,
    warm_start: Callable[[TrainingState], None] | None,
    on_snapshot: Callable[[Generator, float], Metrics] | None,
    log: Callable[[Metrics, int], None] | None,
    progress: Callable[[int, int, str], None] | None,
) -> TrainingResult:
    """Train on the trainer's device, which is this team's alone."""
    team, options = trainer.team, job.options
    state, total = trainer.state, max(int(options.max_kimg * 1000), 1)
    if team.is_first:
        _begin(folder, state, warm_start)
    follow_first(state, team)
    grid, watch, due = FixedGrid(trainer.pairs, job.model.z_dim), Stopwatch(trainer, total), _snapshots(options, total)
    is_over, over = _slice(options, state.seen_img, team), False
    with torch_threads(options.threads):
        while state.seen_img < total and not over:
            before = state.seen_img
            watch.start()
            trainer.step()
            watch.stop()
            if progress and team.is_first:
                progress(state.seen_img, total, watch.text())
            over = is_over(state.seen_img)
            if not due(before, state.seen_img) and not over:
                continue
            metrics = trainer.read_sums() | {"diversity": grid.diversity(state.average)}
            if fault := team.hear_first(_fault(metrics, trainer)):
                _roll_back(folder, trainer, fault)
                metrics = {}
            elif on_snapshot and team.is_first:
                metrics |= on_snapshot(state.average, state.start_kimg + state.seen_img / 1000)
            if log and team.is_first:
                log(metrics | watch.metrics() | {"rollbacks": float(state.rollbacks)}, state.seen_img)
            if team.is_first:
                save_checkpoint(folder, state)
    trained_kimg = state.start_kimg + state.seen_img / 1000
    return TrainingResult(state.average.cpu().eval(), state.seen_img, trained_kimg, finished=state.seen_img >= total)


def save_start(folder: Path, job: Job, warm_start: Callable[[TrainingState], None] | None = None) -> None:
    """Write the checkpoint that the training of a job begins with; one that is there already stays."""
    _begin(folder, new_state(job, device=torch.device("cpu")), warm_start)


def _begin(folder: Path, state: TrainingState, warm_start: Callable[[TrainingState], None] | None) -> None:
    """Fill the state from the checkpoint in the folder; where there is none, write the first one."""
    if load_checkpoint(folder, state):
        return
    if warm_start:
        warm_start(state)
    save_checkpoint(folder, state)


def _snapshots(options: TrainingOptions, total: int) -> Callable[[int, int], bool]:
    """Return whether a snapshot is due between two counts of images."""
    every = max(int(options.snapshot_kimg * 1000), options.batch_size)
    return lambda before, now: now // every > before // every or now >= total


def _slice(options: TrainingOptions, seen_img: int, team: Team) -> Callable[[int], bool]:
    """Return whether this run's share, in minutes or in images, is used up; it begins now, at `seen_img`.

    Members have clocks of their own, so the first one's counts.
    """
    start = time.monotonic()

    def is_over(now_img: int) -> bool:
        if options.slice_kimg and now_img - seen_img >= 1000 * options.slice_kimg:
            return True
        return bool(options.max_minutes) and team.agree((time.monotonic() - start) / 60 > options.max_minutes)

    return is_over


def _fault(metrics: Metrics, trainer: Trainer) -> str:
    """Return what is wrong, or nothing; losses are of before a step, so that what it left is looked at, too."""
    state, options = trainer.state, trainer.options
    seen_img = 1000 * state.start_kimg + state.seen_img
    if fault := fault_of(metrics, seen_img=seen_img, least_diversity=options.least_diversity):
        return fault
    broken = broken_parts(state)
    return f"what {', '.join(broken)} holds is not finite" if broken else ""


def _roll_back(folder: Path, trainer: Trainer, fault: str) -> None:
    """Take the last good checkpoint with other random numbers and half the learning rate.

    Raises:
        TrainingError: that was done `max_rollbacks` times already, or there is no whole checkpoint.
    """
    state, options = trainer.state, trainer.options
    where, rollbacks = state.seen_img, state.rollbacks + 1
    if rollbacks > options.max_rollbacks:
        raise TrainingError(
            f"{fault} before image {where:,}, after {options.max_rollbacks} returns to an earlier checkpoint, each at "
            "half the learning rate. The last good checkpoint stands. Look at the samples and at loss_d, logit_gap, "
            "r1_plus_r2 and diversity of the run (loss_reconstruction and loss_kl of a VAE); then lower "
            "train.learning_rate, or raise train.r1_gamma of a GAN, and start again in an empty folder."
        )
    if trainer.team.is_first and not load_checkpoint(folder, state):
        raise TrainingError(
            f"{fault} before image {where:,}, and {folder} holds no whole checkpoint to go back to. Run the same "
            "command again: it trains from the start."
        )
    follow_first(state, trainer.team)
    state.rollbacks = rollbacks
    state.rng.manual_seed(options.seed + 1_000_003 * rollbacks)
