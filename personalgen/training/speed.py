"""How fast a training is: images per second, share of the device's arithmetic that it uses, time to go."""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from personalgen.models.layers import compute_groups_together
from personalgen.training.trainer import Trainer

_WARM_STEPS = 20
"""Steps before the first figure: compilation and warm-up are not speed."""
_PEAK_TFLOPS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L40S": 362.0, "L40": 181.0, "L4": 121.0, "4090": 165.0}
"""Dense bfloat16 with float32 accumulation, from the vendors' data sheets; the first name that fits is taken."""
_MATMUL = 1024


class Speed(NamedTuple):
    """What a training does in a second."""

    img_per_sec: float
    mfu: float
    """Model FLOP/s over the device's peak (arXiv:2204.02311, appendix B); what compilation or caching saves counts."""
    eta_sec: float

    def text(self) -> str:
        """Return what a progress line, which has rate and time left already, does not say."""
        return f"MFU {self.mfu:.0%}"


class Stopwatch:
    """Counts images and seconds of training alone, from step 20 on."""

    def __init__(self, trainer: Trainer, total_img: int) -> None:
        """Start counting; FLOPs are counted when the first figure is due."""
        self._trainer, self._total = trainer, total_img
        self._steps, self._busy, self._since = 0, 0.0, 0.0
        self._flop_share = 0.0

    def start(self) -> None:
        """A step begins."""
        self._since = time.monotonic()

    def stop(self) -> None:
        """A step has ended."""
        self._steps += 1
        if self._steps > _WARM_STEPS:
            self._busy += time.monotonic() - self._since

    def text(self) -> str:
        """Return the speed for a progress line; empty before step 20."""
        speed = self.read()
        return speed.text() if speed else ""

    def metrics(self) -> dict[str, float]:
        """Return the speed by its names; empty before step 20."""
        speed = self.read()
        return {"img_per_sec": speed.img_per_sec, "mfu": speed.mfu, "eta_min": speed.eta_sec / 60} if speed else {}

    def read(self) -> Speed | None:
        """Return the mean speed since step 20 of this process; None before."""
        counted = self._steps - _WARM_STEPS
        if counted <= 0:
            return None
        if not self._flop_share:
            self._flop_share = flops_per_image(self._trainer) / peak_flops(self._trainer.device, self._trainer.dtype)
        rate = counted * self._trainer.options.batch_size / max(self._busy, 1e-9)
        to_go = max(self._total - self._trainer.state.seen_img, 0)
        return Speed(rate, rate * self._flop_share / self._trainer.team.size, to_go / rate)


def flops_per_image(trainer: Trainer) -> float:
    """Return the floating-point operations of one step, forward and backward, per image; the state is left alone.

    Products with the zeros between groups that are computed together do not count.
    """
    objective = copy.deepcopy(trainer.objectives[trainer.schedule().phase])
    for part in vars(objective).values():
        if isinstance(part, torch.nn.Module):
            compute_groups_together(part, 1)
    with trainer.unnoticed() as inputs:

        def step() -> None:
            loss, _ = objective(inputs)
            loss.backward()

        return flops(step) / len(inputs.images)


def flops(run: Callable[[], None]) -> float:
    """Return the floating-point operations of torch's convolutions and matrix products while `run` runs."""
    counter = _FlopCounter()
    with counter:
        run()
    return counter.total


class _FlopCounter(TorchDispatchMode):
    """Adds up torch's own formulas; its FlopCounterMode also hooks modules, which torch.func.vjp does not allow."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # torch's
        self.total = 0.0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operator and count it."""
        out = func(*args, **(kwargs or {}))
        formula: Callable[..., int] | None = flop_registry.get(func._overloadpacket)  # noqa: SLF001 - torch's own key
        if formula:
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Return the device's peak in FLOP/s: of the data sheet for known GPUs, else that of a matrix product on it."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        known = next((peak for key, peak in _PEAK_TFLOPS.items() if key in name), None)
        if known:
            return 1e12 * known
    a = torch.ones(_MATMUL, _MATMUL, device=device, dtype=dtype)
    best = 0.0
    for _ in range(5):
        start = time.monotonic()
        float((a @ a)[0, 0])
        best = max(best, 2 * _MATMUL**3 / (time.monotonic() - start))
    return best
