"""How busy a GPU is while images are drawn, converted and encoded as a night does it."""

import time
from collections.abc import Iterator, Sequence

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.bench import N_CLASSES, Bench
from benchmarks.published import class_spec
from personalgen.generation.encoders import choose_encoder
from personalgen.generation.overlap import encode_behind
from personalgen.generation.sampler import Drawing, Sampler
from personalgen.models import build_generator

_BATCHES = 40


def sample(bench: Bench) -> None:
    """Note images a second and, on a GPU, the share of the wall time in which a kernel or a copy runs."""
    given, spec = bench.given, class_spec(N_CLASSES)
    generator, encoder = build_generator(bench.model(given.width), spec), choose_encoder()
    sampler = Sampler(generator, device=bench.device, batch_size=given.batch_size)
    n_batches = 2 if given.quick else _BATCHES

    def drawings() -> Iterator[Drawing]:
        condition = spec.null_condition(given.batch_size)
        for k in range(n_batches):
            yield sampler.start(condition, range(k * given.batch_size, (k + 1) * given.batch_size))

    encode_behind(drawings(), encoder)  # algorithms are chosen and memory is taken at the first use
    start = time.perf_counter()
    encode_behind(drawings(), encoder)
    wall = time.perf_counter() - start
    bench.note(f"sampler with {encoder.name}: img/s", n_batches * given.batch_size / wall, name="sampled_img_per_sec")
    if bench.device.type != "cuda":
        return
    with profile(activities=[ProfilerActivity.CUDA]) as trace:
        start = time.perf_counter()
        encode_behind(drawings(), encoder)
        torch.cuda.synchronize(bench.device)
        wall = time.perf_counter() - start
    spans = [(event.time_range.start, event.time_range.end) for event in trace.events() if event.device_time_total]
    bench.note("sampler: share of time in kernels", busy(spans) / 1e6 / wall, "14.1%", name="sampler_busy_share")


def busy(spans: Sequence[tuple[float, float]]) -> float:
    """Return the length of the union of spans: kernels of two streams at once count once."""
    total, end = 0.0, float("-inf")
    for first, last in sorted(spans):
        total += max(last - max(first, end), 0.0)
        end = max(end, last)
    return total
