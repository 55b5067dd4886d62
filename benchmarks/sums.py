"""What it costs to have a database sum the events of a source, beside reading them one by one.

    python -m benchmarks.sums --events 5e6 --depth 50 --depth 1000 --depth 10000
    python -m benchmarks.sums --events 5e6 --url postgresql+psycopg://me@localhost/empty

Synthetic events: users after a power law, items after Zipf's law, ninety days, a twentieth dislikes. The depth is how
many events a user has on average. Each way runs in a process of its own and makes the same affinity state. CPU seconds
are those of that process, in which SQLite works, and of a PostgreSQL server on this machine.
"""

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from personalgen.affinity import AffinityOptions, AffinityState
from personalgen.artifacts import write_json
from personalgen.histories import DAY_SEC
from personalgen.tables import LimitsOptions, SourceOptions
from personalgen.tables.all_events import AllEvents, open_all_events

T0, DAYS, CHUNK = 1_760_000_000, 90, 1 << 18
WAYS = ("events", "events, checked", "sums")
OPTIONS = AffinityOptions(half_life_days=30.0, n_recent=200)
_END = datetime.fromtimestamp(T0 + DAYS * DAY_SEC, UTC)
_DRIVER = "+psycopg"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, or one way of it in this process; return the exit code."""
    given = _parser().parse_args(arguments)
    source = _source(given.home, given.url)
    if given.way:
        print(json.dumps(_run(given.way, given.home, source, given.depth[0])))
        return 0
    figures: dict[str, float] = {}
    n_events = 20_000 if given.quick else int(float(given.events))
    for depth in given.depth or ([50] if given.quick else [50, 1000, 10_000]):
        n_written = _write(source, n_events, depth)
        print(
            f"{n_written:,} events, {depth:,} a user\n{'way':<18} {'CPU s':>8} {'server':>8} {'rows':>12}", flush=True
        )
        rows = {way: _measured(way, given, depth) for way in WAYS}
        for way, row in rows.items():
            print(f"{way:<18} {row['cpu_s']:>8.2f} {row['server_s']:>8.2f} {row['rows']:>12,.0f}", flush=True)
        figures |= {f"{way}_{depth}_{key}": value for way, row in rows.items() for key, value in row.items()}
        for name, value in _ratios(rows):
            print(f"{name}: {value:.3f}", flush=True)
            figures[f"{name}_{depth}"] = value
    if given.json:
        write_json(given.json, figures)
    return 0


def _ratios(rows: dict[str, dict[str, float]]) -> Iterator[tuple[str, float]]:
    """Yield what sums cost, over what reading events costs: this process, the server added, and rows carried."""
    sums = rows["sums"]
    for way in WAYS[:2]:
        whole = [row["cpu_s"] + row["server_s"] for row in (sums, rows[way])]
        yield f"sums_cpu_s_over_{way}", sums["cpu_s"] / rows[way]["cpu_s"]
        yield f"sums_all_cpu_s_over_{way}", whole[0] / whole[1]
    yield "sums_rows_over_events", sums["rows"] / rows["events"]["rows"]


def _measured(way: str, given: argparse.Namespace, depth: int) -> dict[str, float]:
    """Return the cost of one way in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.sums", "--way", way, "--home", str(given.home), "--depth", str(depth)]
    command += ["--url", given.url] if given.url else []
    before = _server_seconds(given.url)
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - this very module
    found: dict[str, float] = json.loads(told)
    return found | {"server_s": _server_seconds(given.url) - before}


def _run(way: str, home: Path, source: SourceOptions, depth: int) -> dict[str, float]:
    """Build a state one way; return what it cost."""
    pa.set_cpu_count(1)
    folder, counted = home / f"{way}-{depth}", _Counted()
    own = SourceOptions(url=source.url, image_root=source.image_root, interactions=f"e{depth}", items=f"i{depth}")
    with open_all_events(
        own, limits=LimitsOptions(), as_of=_END, now=_END, folder=folder, progress=lambda *_: None
    ) as found:
        if way == "sums":
            made = found.aggregated(half_life_days=OPTIONS.half_life_days, n_recent=OPTIONS.n_recent)
            sums, newest = counted.through(made.sums), counted.through(made.newest)
            AffinityState.build_from_sums(folder, sums, newest, as_of=_END, options=OPTIONS, items=found.item_ids)
        else:
            batches = counted.through(found.one_by_one() if way == "events, checked" else _unchecked(found))
            AffinityState.build(folder, batches, as_of=_END, options=OPTIONS, items=found.item_ids)
    used = getrusage(RUSAGE_SELF)
    return {"cpu_s": used.ru_utime + used.ru_stime, "rows": float(counted.n_rows)}


class _Counted:
    """Counts rows on their way."""

    n_rows = 0

    def through(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            self.n_rows += len(batch)
            yield batch


def _unchecked(found: AllEvents) -> Iterator[pa.RecordBatch]:
    """Yield the events as the database holds them, as canonical texts."""
    layout = found.layout.interactions
    for batch in found.reading.batches("interactions", layout):
        user, item, time, weight = (batch.columns[name] for name in layout.names())
        columns = {"user_id": pa.array(user).cast(pa.string()), "item_id": pa.array(item).cast(pa.string())}
        yield pa.RecordBatch.from_pydict(columns | {"timestamp": time, "weight": weight})


def _source(home: Path, url: str | None) -> SourceOptions:
    home.mkdir(parents=True, exist_ok=True)
    return SourceOptions(url=url or f"sqlite:///{home}/events.db", image_root=str(home))


def _write(source: SourceOptions, n_events: int, depth: int) -> int:
    """Write the events, no two of one second alike, and their items, unless they are there; return how many."""
    events = _events(n_events, max(n_events // depth, 1))
    tables = {f"e{depth}": events, f"i{depth}": [np.unique(events[1])]}
    write = _write_sqlite if str(source.url).startswith("sqlite") else _write_postgresql
    for name, columns in tables.items():
        kinds = (
            "(user_id bigint, item_id bigint, timestamp bigint, weight real)"
            if name[0] == "e"
            else "(item_id bigint, image text)"
        )
        write(str(source.url), name, kinds, columns)
    return len(events[0])


def _events(n_events: int, n_users: int) -> list[NDArray[Any]]:
    rng = np.random.default_rng(0)
    n_items = max(min(n_events // 500, 10_000), 50)
    user = (n_users * rng.random(n_events) ** 2).astype(np.int64)
    item = (n_items ** rng.random(n_events)).astype(np.int64)
    time = T0 + np.sort(rng.integers(0, DAYS * DAY_SEC, n_events))
    weight = rng.choice(np.array([1.0, 3.0, 5.0, -1.0]), n_events, p=[0.6, 0.25, 0.1, 0.05])
    _, first = np.unique((user * n_items + item) * (DAYS * DAY_SEC) + time - T0, return_index=True)
    first.sort()
    return [column[first] for column in (user, item, time, weight)]


def _write_sqlite(url: str, name: str, kinds: str, columns: list[NDArray[Any]]) -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute(f"create table if not exists {name} {kinds}")
        if not connection.execute(f"select 1 from {name} limit 1").fetchall():
            marks = ", ".join(["?"] * len(columns) + ["null"] * (kinds.count(",") + 1 - len(columns)))
            for rows in _chunks(columns):
                connection.executemany(f"insert into {name} values ({marks})", rows)


def _write_postgresql(url: str, name: str, kinds: str, columns: list[NDArray[Any]]) -> None:
    import psycopg

    with psycopg.connect(url.replace(_DRIVER, "")) as connection, connection.cursor() as cursor:
        cursor.execute(f"create table if not exists {name} {kinds}".encode())
        if not cursor.execute(f"select 1 from {name} limit 1".encode()).fetchall():
            names = ", ".join(part.split()[0] for part in kinds.strip("()").split(", ")[: len(columns)])
            with cursor.copy(f"copy {name} ({names}) from stdin".encode()) as copy:
                for rows in _chunks(columns):
                    for row in rows:
                        copy.write_row(row)


def _chunks(columns: list[NDArray[Any]]) -> Iterator[Iterator[tuple[Any, ...]]]:
    for start in range(0, len(columns[0]), CHUNK):
        yield zip(*(column[start : start + CHUNK].tolist() for column in columns), strict=True)


def _server_seconds(url: str | None) -> float:
    """Return the CPU seconds of a PostgreSQL server's processes that have ended, where it runs on this machine."""
    if not url:
        return 0.0
    import psycopg

    with psycopg.connect(url.replace(_DRIVER, "")) as connection:
        parent = int(_stat(connection.info.backend_pid)[1])
    time.sleep(0.5)  # until the server has seen the end of this connection, and of those before
    ended = _stat(parent)[13:15]
    return sum(map(int, ended)) / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """Return what the kernel says of a process, from its state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _parser() -> argparse.ArgumentParser:
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sums", description=summary)
    parser.add_argument("--events", default="5e6", help="how many events (5e6)")
    parser.add_argument("--depth", type=int, action="append", help="events a user; may be given several times")
    parser.add_argument("--url", help="an empty PostgreSQL database to fill, postgresql+psycopg://…; by default SQLite")
    parser.add_argument("--home", type=Path, default=Path("build/sums"), help="where the database and states lie")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as one flat object")
    parser.add_argument("--quick", action="store_true", help="a toy size, in seconds")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
