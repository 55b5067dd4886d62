"""Images per second of several trainings in turn, so that a busy machine is equally busy for all of them."""

import time
from collections.abc import Callable, Mapping
from statistics import median

import torch


def rates(
    steps: Mapping[str, Callable[[], None]],
    *,
    images_per_step: int,
    rounds: int,
    device: torch.device,
    repeats: int = 1,
) -> dict[str, float]:
    """Return the median images a second of each step over `rounds`, each `repeats` steps long, after one to warm up.

    On a CPU a second is one of this process's processor time, on a GPU of wall time, with all work done.
    """
    for step in steps.values():
        step()
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            start = clock(device)
            for _ in range(repeats):
                step()
            seconds[name].append(clock(device) - start)
    return {name: repeats * images_per_step / median(found) for name, found in seconds.items()}


def clock(device: torch.device) -> float:
    """Return seconds of the device's clock."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()
