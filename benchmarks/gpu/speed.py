"""Images a second of our step: the fastest settings of each width, and beside the published code."""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import torch

from benchmarks.gpu.bench import GAMMA, N_CLASSES, N_NOISE, Bench, Step, clear
from benchmarks.published import batches, random_pairs
from personalgen.models.layers import compute_groups_together, conv
from personalgen.training.speed import flops

_TOGETHER = (1, 2, 4, 8)


def sweep(bench: Bench) -> None:
    """Find the fastest settings of each width within the minutes allowed."""
    given, widths = bench.given, [int(width) for width in bench.given.sweep_widths.split(",")]
    deadline, longest = time.monotonic() + 60 * given.sweep_minutes, 0.0
    pairs = random_pairs(N_NOISE, given.resolution, N_CLASSES, bench.device)
    together = {width: _best_together(bench, width) for width in widths}
    best: dict[int, tuple[float, str]] = {}
    for width, batch_size, mode, groups in _candidates(widths, together, bench.compile):
        start, settings = time.monotonic(), f"w{width}_b{batch_size}_{mode}_g{groups}"
        if start + longest > deadline:
            break
        clear()
        try:
            how = {"batch_size": batch_size, "compile": mode, "groups_together": groups}
            rate = bench.rates({"ours": bench.trainer(pairs, bench.model(width), **how).step}, batch_size)["ours"]
        except Exception as error:  # noqa: BLE001 - some settings need more memory than there is
            bench.fault(settings, error)
            continue
        longest = max(longest, time.monotonic() - start)
        print(f"{settings}: {rate:,.1f} img/s in {time.monotonic() - start:.0f} s", flush=True)
        bench.figures[f"{settings}_img_per_sec"] = rate
        if rate > best.get(width, (0.0, ""))[0]:
            best[width] = rate, settings
            bench.figures |= {f"best_w{width}_mode": mode, f"best_w{width}_groups_together": groups}
    for width, (rate, settings) in best.items():
        share = rate * bench.flops(bench.model(width)) / bench.peak
        bench.note(f"best, {settings}: img/s", rate, name=f"best_w{width}_img_per_sec")
        bench.note(f"best, {settings}: MFU", share, "14.1%", name=f"best_w{width}_mfu")


def compare(bench: Bench) -> None:
    """Measure our step beside the published code's at the same net, batch and data."""
    given, batch_size = bench.given, bench.given.batch_size
    model, what = bench.model(given.width), f"w{given.width}, batch {batch_size}"
    pairs = random_pairs(N_NOISE, given.resolution, N_CLASSES, bench.device)
    steps: dict[str, Step] = {}
    published_flops = 0.0
    for name, operators in (("reference", "own"), ("reference_operators", "reference")):
        theirs = bench.published(model, operators) if given.reference else None
        if theirs:
            steps[name] = partial(theirs.step, batches(pairs, batch_size), gamma=GAMMA)
            published_flops = flops(steps[name]) / batch_size
    steps["ours"] = bench.trainer(pairs, model, batch_size=batch_size, **bench.settings(given.width)).step
    found = bench.rates(steps, batch_size)
    for name, rate in found.items():
        bench.note(f"{name}, {what}: img/s", rate, name=f"{name}_img_per_sec")
    ours = found.pop("ours")
    bench.note(f"ours, {what}: MFU", ours * bench.flops(model) / bench.peak, "14.1%", name="ours_mfu")
    if found:
        bench.figures["published_gflop_per_img"] = published_flops / 1e9
        share = ours * published_flops / bench.peak
        bench.note("  had each image cost the published operations", share, "14.1%", name="ours_mfu_by_published_flop")
        bench.note("ours over the published code", ours / max(found.values()), "14.2f", name="ours_over_reference")


def _best_together(bench: Bench, width: int) -> int:
    """Return how many groups of a grouped convolution are best computed as one, by the passes of one layer."""
    wide, edge = 2 * width, bench.given.resolution
    layer = conv(wide, wide, 3, groups=max(wide // 16, 1)).to(bench.device, torch.bfloat16)
    layer = layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # missing in torch's stubs
    x = torch.randn(bench.given.batch_size, wide, edge, edge, device=bench.device, dtype=torch.bfloat16)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    signal = x.detach().clone()

    def passes(groups: int) -> None:
        compute_groups_together(layer, groups)
        layer(x).backward(signal)

    found = bench.rates({str(groups): partial(passes, groups) for groups in _TOGETHER}, len(x))
    text = ", ".join(f"{groups}: {1e6 / rate:.2f}" for groups, rate in found.items())
    print(f"grouped convolution of {wide} channels, us an image by groups computed together: {text}", flush=True)
    bench.figures |= {f"grouped_w{width}_g{groups}_us_per_img": 1e6 / rate for groups, rate in found.items()}
    return int(max(found, key=lambda groups: found[groups]))


def _candidates(
    widths: Sequence[int], together: Mapping[int, int], compile_mode: str
) -> Iterator[tuple[int, int, str, int]]:
    """Yield (width, batch size, compile mode, groups together), the most promising first."""
    if compile_mode == "off":
        yield from ((width, 8, "off", together[width]) for width in widths)
        return
    for batch_size, mode in ((512, "on"), (512, "graphs"), (1024, "on"), (256, "graphs"), (2048, "on")):
        yield from ((width, batch_size, mode, together[width]) for width in widths)
    yield from ((width, 512, "on", 1) for width in widths if together[width] > 1)
