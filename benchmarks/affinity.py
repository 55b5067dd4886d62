"""What the affinity state costs: a build of all events, a night's addition, and the same sums by DuckDB, side by side.

    python -m benchmarks.affinity --events 1e6 --events 1e7 --events 5e7 --plot build/affinity.png

Events are synthetic: users and items after power laws, ninety days, a twentieth dislikes. Every engine runs in a
process of its own on one thread, reads the same Parquet file and writes its result as Parquet; CPU seconds and the
largest resident size are that process's, imports included. README.md tells what each of them makes.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from personalgen.affinity import AffinityOptions, AffinityState
from personalgen.artifacts import write_json
from personalgen.histories import DAY_SEC

T0, DAYS, CHUNK = 1_760_000_000, 90, 1 << 20
NEW_SHARE = 0.01
ENGINES = (
    "duckdb, pairs",
    "duckdb",
    "duckdb, newest",
    "ours",
    "ours, newest",
    "ours, newest, texts",
    "addition",
    "read",
)
HALF_LIFE_DAYS, N_RECENT = 30.0, 200
_END = datetime.fromtimestamp(T0 + DAYS * DAY_SEC, UTC)
_NEXT = datetime.fromtimestamp(T0 + (DAYS + 1) * DAY_SEC, UTC)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, or one engine of it in this process; return the exit code."""
    given = _parser().parse_args(arguments)
    if given.engine:
        _run(given.engine, given.home)
        return 0
    figures: dict[str, float] = {}
    sizes = [20_000] if given.quick else [int(float(size)) for size in given.events or ["1e7"]]
    for size in sizes:
        home = given.home / f"{size}"
        _write_events(home, size)
        print(f"{size:,} events\n{'engine':<22} {'CPU s':>8} {'MiB':>8}", flush=True)
        rows = {}
        for engine in given.only or ENGINES:
            try:
                # Each addition makes another state.
                rows[engine] = _measured(engine, home, 1 if engine == "addition" else given.rounds)
            except subprocess.CalledProcessError as error:
                print(f"{engine:<22} failed: {error.stderr.strip().splitlines()[-1][:200]}", flush=True)
                continue
            print(f"{engine:<22} {rows[engine]['cpu_s']:>8.2f} {rows[engine]['mib']:>8.0f}", flush=True)
        figures |= {f"{engine}_{size}_{key}": value for engine, row in rows.items() for key, value in row.items()}
        for name, value in _ratios(rows):
            print(f"{name}: {value:.3f}")
            figures[f"{name}_{size}"] = value
    for engine, slope in _slopes(sizes, figures):
        print(f"{engine}: CPU seconds grow as events to the power of {slope:.2f}")
        figures[f"{engine}_cpu_s_slope"] = slope
    if given.json:
        write_json(given.json, figures)
    if given.plot:
        _plot(given.plot, sizes, figures)
    return 0


def _ratios(rows: dict[str, dict[str, float]]) -> Iterator[tuple[str, float]]:
    """Yield the ratios that matter, of the engines that ran."""
    for own, other in (("ours", "duckdb"), ("ours, newest", "duckdb, newest"), ("addition", "ours, newest")):
        if own in rows and other in rows:
            for key in ("cpu_s", "mib"):
                yield f"{own}_{key}_over_{other}", rows[own][key] / rows[other][key]
    if "ours, newest, texts" in rows and "ours, newest" in rows:
        yield "texts_cpu_s_over_numbers", rows["ours, newest, texts"]["cpu_s"] / rows["ours, newest"]["cpu_s"]


def _slopes(sizes: Sequence[int], figures: dict[str, float]) -> Iterator[tuple[str, float]]:
    """Yield the slope of the line through log CPU seconds over log events, of engines with three sizes or more."""
    for engine in ENGINES:
        found = [(size, figures[f"{engine}_{size}_cpu_s"]) for size in sizes if f"{engine}_{size}_cpu_s" in figures]
        if len(found) > 2:
            events, seconds = np.log(np.array(found)).T
            yield engine, float(np.polyfit(events, seconds, 1)[0])


def _measured(engine: str, home: Path, rounds: int) -> dict[str, float]:
    """Return the least CPU seconds of some runs of an engine in a process of its own, and its resident size."""
    command = [sys.executable, "-m", "benchmarks.affinity", "--engine", engine, "--home", str(home)]
    runs = [
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603 - this very module
        for _ in range(rounds)
    ]
    best: dict[str, float] = min(runs, key=lambda run: run["cpu_s"])
    return best


def _run(engine: str, home: Path) -> None:
    """Run one engine and print what it cost."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    work: dict[str, Callable[[], object]] = {
        "duckdb, pairs": lambda: _duckdb(home, as_rows=False),
        "duckdb": lambda: _duckdb(home),
        "duckdb, newest": lambda: _duckdb(home, newest=True),
        "ours": lambda: _build(home / "sums", home / "numbers.parquet", 0),
        "ours, newest": lambda: _build(home / "state", home / "numbers.parquet", N_RECENT),
        "ours, newest, texts": lambda: _build(home / "texts", home / "texts.parquet", N_RECENT),
        "addition": lambda: _add(home),
        "read": lambda: sum(len(rows.liked.item) for rows in AffinityState.open(home / "state").rows()),
    }
    work[engine]()
    used = getrusage(RUSAGE_SELF)
    # The peak of this program: ru_maxrss is that of the process which started it, where that was larger.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(json.dumps({"cpu_s": used.ru_utime + used.ru_stime, "mib": int(status["VmHWM"].split()[0]) / 1024}))


def _build(folder: Path, source: Path, n_recent: int) -> None:
    options = AffinityOptions(half_life_days=HALF_LIFE_DAYS, n_recent=n_recent)
    AffinityState.build(folder, _batches(source), as_of=_END, options=options)


def _add(home: Path) -> None:
    """Add a night of a hundredth of the events; a second run adds a second such night."""
    state = AffinityState.open(home / "state")
    state.add(_batches(home / "new.parquet"), as_of=_NEXT, night=f"night {len(state.parts)}")


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield the batches of a file."""
    yield from pq.ParquetFile(path).iter_batches(batch_size=1 << 18, use_threads=False)


def _duckdb(home: Path, *, as_rows: bool = True, newest: bool = False) -> None:
    """Write the same sums, one row a user or a pair, and each user's newest events, as a DuckDB user would."""
    import duckdb

    source, now = home / "numbers.parquet", T0 + DAYS * DAY_SEC
    decayed = f"abs(weight) * pow(2, (timestamp - {now}) / {HALF_LIFE_DAYS * DAY_SEC})"
    settings: dict[str, Any] = {
        "threads": 1,
        "preserve_insertion_order": False,
        "memory_limit": "8GB",
        "temp_directory": str(home / "t"),
    }
    with duckdb.connect(config=settings) as connection:
        pairs = f"""select user_id, item_id, sum(case when weight > 0 then {decayed} else 0 end)::float as liked,
            sum(case when weight < 0 then {decayed} else 0 end)::float as disliked
            from '{source}' where timestamp < {now} group by all"""
        rows = f"select user_id, list((item_id, liked, disliked) order by item_id) from ({pairs}) group by user_id"
        connection.execute(f"copy ({rows if as_rows else pairs}) to '{home / 'sums.parquet'}'")
        if newest:
            connection.execute(
                f"""copy (select user_id, count(*) as n_events,
                max((timestamp, item_id, weight), {N_RECENT}) as newest
                from '{source}' where timestamp < {now} group by user_id) to '{home / "newest.parquet"}'"""
            )


def _write_events(home: Path, count: int) -> None:
    """Write all events with numbers and with texts as ids, and a hundredth as many of the day after."""
    if (home / "new.parquet").is_file():
        return
    home.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    users, items = (rng.permutation(n).astype(np.int64) * step for n, step in ((_users(count), 7), (_items(count), 3)))
    for name, n_events, start, days in (
        ("numbers", count, 0, DAYS),
        ("texts", count, 0, DAYS),
        ("new", int(count * NEW_SHARE), DAYS, 1),
    ):
        own = np.random.default_rng(start)  # the same events as numbers and as texts
        with pq.ParquetWriter(home / f"{name}.parquet", _schema(text=name == "texts"), compression="zstd") as out:
            for first in range(0, n_events, CHUNK):
                size = min(CHUNK, n_events - first)
                shares = np.sort(own.random(size)) * size / n_events + first / n_events
                columns = {
                    "user_id": users[(len(users) * own.random(size) ** 2).astype(np.int64)],
                    "item_id": items[(len(items) * own.random(size) ** 3).astype(np.int64)],
                    "timestamp": T0 + ((start + days * shares) * DAY_SEC).astype(np.int64),
                    "weight": own.choice(np.array([1, 3, 5, -1], np.float32), size, p=[0.6, 0.25, 0.1, 0.05]),
                }
                out.write_table(_table(columns, text=name == "texts"))


def _users(count: int) -> int:
    return max(count // 50, 1000)


def _items(count: int) -> int:
    return max(min(count // 100, 100_000), 1000)


def _schema(*, text: bool) -> pa.Schema:
    kind = pa.string() if text else pa.int64()
    return pa.schema({"user_id": kind, "item_id": kind, "timestamp": pa.int64(), "weight": pa.float32()}.items())


def _table(columns: dict[str, NDArray[Any]], *, text: bool) -> pa.Table:
    if text:
        named = {
            f"{kind}_id": pa.array(np.char.add(f"{kind}-", columns[f"{kind}_id"].astype(str)))
            for kind in ("user", "item")
        }
        return pa.table(columns | named, schema=_schema(text=text))
    return pa.table(columns, schema=_schema(text=text))


def _plot(path: Path, sizes: Sequence[int], figures: dict[str, float]) -> None:
    """Draw CPU seconds over events."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for engine in ENGINES:
        found = [
            (size / 1e6, figures[f"{engine}_{size}_cpu_s"]) for size in sizes if f"{engine}_{size}_cpu_s" in figures
        ]
        if found:
            slope = figures.get(f"{engine}_cpu_s_slope")
            told = engine if slope is None else f"{engine}: slope {slope:.2f}"
            axes.loglog(*zip(*found, strict=True), marker="o", label=told)
    axes.set(xlabel="million events", ylabel="CPU seconds, one thread, imports included")
    axes.set_xticks([size / 1e6 for size in sizes], [f"{size / 1e6:g}" for size in sizes])
    axes.xaxis.set_minor_formatter("")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.legend()
    axes.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=100)


def _parser() -> argparse.ArgumentParser:
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.affinity", description=summary)
    parser.add_argument("--events", action="append", help="how many events (1e7); may be given several times")
    parser.add_argument("--only", action="append", choices=ENGINES, help="only this engine; may be given several times")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each engine, of which the fastest counts")
    parser.add_argument("--home", type=Path, default=Path("build/affinity"), help="where events and results lie")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as one flat object")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw CPU seconds over events as PNG")
    parser.add_argument("--quick", action="store_true", help="a toy size, in seconds")
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
