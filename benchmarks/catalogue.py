"""How long the standing questions take in a catalogue of many nights, on SQLite or PostgreSQL.

    python -m benchmarks.catalogue --home build/catalogue --assets 1e6 --json build/catalogue.json
    python -m benchmarks.catalogue --home build/catalogue --assets 1e7 --url postgresql://me@localhost/empty

The first run builds the catalogue (`catalogue_rows`), a later one with the same home and URL asks again. Each question
is asked `--repeat` times with random users, nights, segments and pages; printed are wall milliseconds as a caller of
the Python functions sees them, beside mean CPU milliseconds of this process (in which SQLite works; a server's are its
own). An image by its id is printed in CPU microseconds of this process, read from a sealed shard.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pac
import pyarrow.dataset as ds

from benchmarks.catalogue_rows import N_SEGMENTS, Size, build
from personalgen.artifacts import write_json
from personalgen.catalogue import daily, planning, questions, read
from personalgen.catalogue.engine import Engine, open_catalogue
from personalgen.catalogue.places import places
from personalgen.catalogue.scopes import AssetFilter
from personalgen.catalogue.similar import similar
from personalgen.generation.roots import LocalRoot
from personalgen.generation.shards import read_member

Ask = Callable[[], object]


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the catalogue where it is missing, ask, print; return the exit code."""
    given = _parser().parse_args(arguments)
    size = Size(20_000, shard_rows=1_000, dim=8) if given.quick else Size(int(float(given.assets)))
    url = given.url or f"sqlite:///{given.home}/catalogue.db"
    engine = open_catalogue(url)
    figures: dict[str, float] = {}
    if not (given.home / "built").exists():
        began = time.perf_counter()
        build(engine, given.home, size, lambda line: print(line, flush=True))
        figures["build_s"] = time.perf_counter() - began
        (given.home / "built").write_text(f"{size.n_assets}\n")
    if engine.dialect.name == "sqlite":  # on a server, read-only transactions are two round trips a question
        engine.dispose()
        engine = open_catalogue(url, read_only=True)
    n_asked = 20 if given.quick else given.repeat
    figures |= _ask_all(engine, size, n_asked)
    figures |= _images(engine, given.home, size, n_asked) | _scan(given.home) | _similar(engine, size)
    engine.dispose()
    if given.json:
        write_json(given.json, figures)
    return 0


def _ask_all(engine: Engine, size: Size, n_asked: int) -> dict[str, float]:
    """Return the 50th and 99th percentile of each question, in milliseconds."""
    figures: dict[str, float] = {}
    print(f"{'question':<26} {'p50 ms':>8} {'p99 ms':>8} {'CPU ms':>8}", flush=True)
    for name, ask in standing_questions(engine, size, np.random.default_rng(9)):
        for _ in range(10):
            ask()
        spent, cpu = [], time.process_time()
        for _ in range(n_asked):
            began = time.perf_counter()
            ask()
            spent.append((time.perf_counter() - began) * 1e3)
        middle, high = np.percentile(spent, [50, 99])
        cpu_ms = (time.process_time() - cpu) / n_asked * 1e3
        figures |= {f"{name}_p50_ms": float(middle), f"{name}_p99_ms": float(high), f"{name}_mean_cpu_ms": cpu_ms}
        print(f"{name:<26} {middle:>8.2f} {high:>8.2f} {cpu_ms:>8.2f}", flush=True)
    return figures


def standing_questions(engine: Engine, size: Size, random: np.random.Generator) -> Iterator[tuple[str, Ask]]:
    """Yield every standing question with random parameters, by name."""
    nights = [night.night_id for night in read.nights(engine)]
    days = [night.day for night in read.nights(engine)]

    def some(**more: Callable[[], Any]) -> AssetFilter:
        return AssetFilter(**{name: value() for name, value in more.items()})

    def user() -> str:
        return f"u{random.integers(1, size.n_users + 1):08d}"

    def night() -> int:
        return int(random.choice(nights))

    def segment() -> str:
        return f"s{random.integers(N_SEGMENTS):02d}"

    def asset() -> int:
        return int(random.integers(1, size.n_assets + 1))

    def model() -> int:
        return int(random.integers(1, size.model_of(size.n_nights - 1) + 2))

    def live() -> bool:
        return True

    def day() -> Any:
        return days[random.integers(len(days))]

    asks: dict[str, Ask] = {
        "latest": lambda: questions.latest(engine, limit=10),
        "latest_page": lambda: questions.latest(engine, limit=10, before_asset_id=asset()),
        "latest_user": lambda: questions.latest(engine, some(user_id=user), limit=10),
        "latest_night": lambda: questions.latest(engine, some(night_id=night), limit=10),
        "latest_model": lambda: questions.latest(engine, some(model_version=model), limit=10),
        "latest_segment": lambda: questions.latest(engine, some(segment=segment), limit=10),
        "latest_live": lambda: questions.latest(engine, some(live_only=live), limit=10),
        "latest_live_segment": lambda: questions.latest(engine, some(live_only=live, segment=segment), limit=10),
        "top": lambda: questions.top(engine, limit=10),
        "top_night": lambda: questions.top(engine, some(night_id=night), limit=10),
        "top_day": lambda: questions.top(engine, some(day=day), limit=10),
        "top_user": lambda: questions.top(engine, some(user_id=user), limit=10),
        "top_night_segment": lambda: questions.top(engine, some(night_id=night, segment=segment), limit=10),
        "top_live": lambda: questions.top(engine, some(live_only=live), limit=10),
        "top_segment": lambda: questions.top(engine, some(segment=segment), limit=10),
        "top_live_segment": lambda: questions.top(engine, some(live_only=live, segment=segment), limit=10),
        "top_page": lambda: questions.top(engine, some(night_id=lambda: nights[0]), limit=10, after_asset_id=asset()),
        "top_rated": lambda: questions.top_rated(engine, some(night_id=night), limit=10),
        "top_rated_segment": lambda: questions.top_rated(engine, some(night_id=night, segment=segment), limit=10),
        "top_rated_newest": lambda: questions.top_rated(engine, limit=10),
        "top_rated_newest_segment": lambda: questions.top_rated(engine, some(segment=segment), limit=10),
        "changed": lambda: questions.changed(engine, limit=10),
        "changed_night": lambda: questions.changed(engine, some(night_id=night), limit=10),
        "changed_night_segment": lambda: questions.changed(engine, some(night_id=night, segment=segment), limit=10),
        "changed_segment": lambda: questions.changed(engine, some(segment=segment), limit=10),
        "changed_user": lambda: questions.changed(engine, some(user_id=user), limit=10),
        "stats_day": lambda: daily.stats(engine),
        "stats_day_model_segment": lambda: daily.stats(engine, by=("day", "model", "segment"), limit=20),
        "show": lambda: read.asset(engine, asset()),
        "nights": lambda: read.nights(engine, limit=10),
        "model_versions": lambda: read.model_versions(engine),
        "users_of_plan": lambda: planning.current_conditions(engine, size.digest(0), np.array([1, 100])),
    }
    yield from asks.items()


def _images(engine: Engine, home: Path, size: Size, n_asked: int) -> dict[str, float]:
    """Return CPU microseconds of an image by id: the lookup, the read, and both."""
    random, last_night = np.random.default_rng(3), (size.n_nights - 1) * size.n_users
    ids = random.integers(last_night + 1, last_night + min(size.shard_rows, size.n_users) + 1, 10 * n_asked).tolist()
    root = LocalRoot(home)
    with places(engine) as found:
        began = time.process_time()
        where = [found.find(asset_id) for asset_id in ids]
        looked_up = time.process_time()
        for place in where:
            read_member(
                root, place.shard_path, offset=place.shard_offset, byte_length=place.byte_length, crc32=place.crc32
            )
        read_all = time.process_time()
    scale = 1e6 / len(ids)
    figures = {"lookup_cpu_us": (looked_up - began) * scale, "pread_cpu_us": (read_all - looked_up) * scale}
    figures["image_by_id_cpu_us"] = (read_all - began) * scale
    print("  ".join(f"{name} {value:.1f}" for name, value in figures.items()), flush=True)
    return figures


def _scan(home: Path) -> dict[str, float]:
    """Return the seconds of an ad-hoc question of all sidecars: images, mean score and bytes by generator."""
    pa.set_cpu_count(2)
    began = time.perf_counter()
    dataset = ds.dataset(sorted(map(str, (home / "shards").rglob("*.parquet"))), format="parquet")
    table = dataset.to_table(columns=["generator_digest", "score", "byte_length"], filter=pac.field("score") > 1.0)
    answer = table.group_by("generator_digest").aggregate(
        [("score", "mean"), ("byte_length", "sum"), ("score", "count")]
    )
    figures = {"sidecar_scan_s": time.perf_counter() - began, "sidecar_rows_found": float(len(table))}
    print(
        f"scan of the sidecars: {figures['sidecar_scan_s']:.2f} s, {len(table):,} rows in {len(answer)} groups",
        flush=True,
    )
    return figures


def _similar(engine: Engine, size: Size) -> dict[str, float]:
    """Return the seconds of finding whose condition is nearest, among all users."""
    began, cpu = time.perf_counter(), time.process_time()
    wanted = np.random.default_rng(4).standard_normal(size.dim).astype(np.float32)
    found = similar(engine, wanted, generator_digest=size.digest(size.n_nights - 1))
    figures = {"similar_s": time.perf_counter() - began, "similar_cpu_s": time.process_time() - cpu}
    print(f"similar: {figures['similar_s']:.2f} s, the nearest at {found[0].cosine:.3f}", flush=True)
    return figures


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="The standing questions of a large catalogue.")
    parser.add_argument("--home", type=Path, required=True, help="folder of the shards, and of the SQLite file")
    parser.add_argument("--url", help="an empty PostgreSQL database; else SQLite in the home")
    parser.add_argument("--assets", default="1e6", help="images, a tenth of them a night")
    parser.add_argument("--repeat", type=int, default=300, help="times each question is asked")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--quick", action="store_true", help="a toy size, to see that it works")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
