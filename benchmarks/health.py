"""What the checks of a source find, what they cry wolf over, and what they cost beside preparing the tables.

    python -m benchmarks.health --json build/health.json

A shop lives through clean nights whose events a day rise and fall with the week and drift slowly; then, in its last
night, one thing goes wrong at a time. Every two weeks another item is the favourite: that is odd, and no fault.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.random import Generator
from PIL import Image

from personalgen.artifacts import write_json
from personalgen.tables import LimitsOptions, PreparedTables, SourceOptions, prepare_tables
from personalgen.tables.health import Check, HealthOptions, Past, check_tables
from personalgen.tables.profile import Newcomers, profile_of

START = datetime(2026, 1, 5, tzinfo=UTC)
WEEK = (1.0, 1.1, 1.0, 1.1, 1.3, 0.7, 0.6)
N_ITEMS, N_USERS = 300, 2_000
Tables = dict[str, pd.DataFrame]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--nights", type=int, default=28)
    parser.add_argument("--events", type=int, default=3_000, help="a day, on average")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    n_nights, n_events = (6, 1_500) if given.quick else (given.nights, given.events)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), n_nights, n_events)
    for name, value in figures.items():
        print(f"{name:<36} {value:.4g}")
    if given.json:
        write_json(given.json, figures)
    return 0


def measure(folder: Path, n_nights: int, n_events: int) -> dict[str, float]:
    """Return counts of warnings and failures on clean nights, what each fault did, and CPU seconds."""
    shop = _Shop(folder)
    figures = {"clean_nights": 0.0, "clean_checks": 0.0, "clean_warn": 0.0, "clean_fail": 0.0}
    for day in range(n_nights):
        shop.grow(day, n_events)
        checks = shop.judge(day)
        shop.remember(checks)
        figures["clean_nights"] += 1
        figures["clean_checks"] += len(checks)
        for status in ("warn", "fail"):
            figures[f"clean_{status}"] += sum(check.status == status for check in checks)
    shop.grow(n_nights, n_events)
    for name, fault in FAULTS.items():
        found = {check.full_name: check.status for check in shop.judge(n_nights, fault)}
        for status in ("warn", "fail"):
            figures[f"{name}_{status}"] = float(sum(one == status for one in found.values()))
    seconds = {"prepare_cpu_s": shop.prepare_sec, "health_cpu_s": shop.health_sec}
    return figures | seconds | {"health_over_prepare": shop.health_sec / shop.prepare_sec}


class _Shop:
    """Tables that grow by a day, and what was stored of the nights before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.random = np.random.default_rng(7)
        self.past: dict[str, Past] = {}
        self.known: tuple[set[str], set[str]] = (set(), set())
        self.prepare_sec = self.health_sec = 0.0
        _write_images(folder)
        items = {"item_id": [f"i{k}" for k in range(N_ITEMS)], "image": [f"{k % 20}.png" for k in range(N_ITEMS)]}
        self.tables = {
            "items": pd.DataFrame({**items, "title": [f"Thing {k}" for k in range(N_ITEMS)]}),
            "interactions": pd.DataFrame(),
        }

    def grow(self, day: int, n_events: int) -> None:
        """Add the events of a day."""
        random, n = self.random, int(self.random.poisson(n_events * WEEK[day % 7]))
        drifted = random.zipf(1.4, n) + day // 14  # another favourite every two weeks
        second = START.timestamp() + 86_400 * (day + random.random(n))
        new = pd.DataFrame(
            {
                "user_id": [f"u{k}" for k in random.integers(0, N_USERS + 10 * day, n)],
                "item_id": [f"i{k % N_ITEMS}" for k in drifted],
                "timestamp": second.astype(np.int64),
                "rating": random.choice([1.0, 2, 3, 4, 5], n, p=[0.1, 0.1, 0.2, 0.3, 0.3]),
            }
        )
        self.tables["interactions"] = pd.concat([self.tables["interactions"], new], ignore_index=True)

    def judge(self, day: int, fault: "Callable[[Tables, float, Generator], Tables] | None" = None) -> tuple[Check, ...]:
        """Return the verdicts on the night after a day, with something gone wrong where asked."""
        since = START + timedelta(days=day)
        shown = fault(self.tables, since.timestamp(), self.random) if fault else self.tables
        began = time.process_time()
        tables = self._prepare(shown, since + timedelta(days=1))
        prepared = time.process_time()
        users = set(shown["interactions"]["user_id"])
        new = Newcomers(len(users - self.known[0]), len(set(shown["items"]["item_id"]) - self.known[1]))
        profile = profile_of(tables, since=since if day else None, newcomers=new if day else None)
        checks = check_tables(profile, self.past, HealthOptions())
        self.prepare_sec += prepared - began
        self.health_sec += time.process_time() - prepared
        return checks

    def remember(self, checks: Sequence[Check]) -> None:
        """Store a night's figures as the catalogue does, the newest first."""
        for check in checks:
            before = self.past.get(check.full_name, Past())
            values = before.values if check.value is None else (check.value, *before.values)
            counts = (check.counts, *before.counts) if check.counts else before.counts
            self.past[check.full_name] = Past(values, counts)
        self.known = set(self.tables["interactions"]["user_id"]), set(self.tables["items"]["item_id"])

    def _prepare(self, tables: Tables, as_of: datetime) -> PreparedTables:
        for name, frame in tables.items():
            frame.to_parquet(self.folder / f"{name}.parquet")
        return prepare_tables(
            SourceOptions(path=str(self.folder)),
            limits=LimitsOptions(max_quarantine_share=1.0),
            image_px=8,
            out_root=self.folder / "prepared",
            as_of=as_of,
            now=as_of,
        )


def _write_images(folder: Path) -> None:
    for k in range(20):
        Image.new("RGB", (8, 8), (k * 12, 90, 200)).save(folder / f"{k}.png")


def _events_lost(tables: Tables, _since: float, random: Generator) -> Tables:
    rows = tables["interactions"]
    return tables | {"interactions": rows[random.random(len(rows)) < 0.2]}


def _feed_stopped(tables: Tables, since: float, _: Generator) -> Tables:
    rows = tables["interactions"]
    return tables | {"interactions": rows[rows["timestamp"] < since]}


def _ids_anew(tables: Tables, _since: float, _: Generator) -> Tables:
    rows = tables["interactions"]
    return tables | {"interactions": rows.assign(user_id="x-" + rows["user_id"])}


def _titles_gone(tables: Tables, _since: float, _: Generator) -> Tables:
    return tables | {"items": tables["items"].assign(title=None)}


def _ratings_turned(tables: Tables, since: float, _: Generator) -> Tables:
    rows = tables["interactions"]
    return tables | {"interactions": rows.assign(rating=rows["rating"].where(rows["timestamp"] < since, 1.0))}


def _one_item(tables: Tables, since: float, random: Generator) -> Tables:
    """Bots: of the new events four in five are on three items."""
    rows = tables["interactions"]
    bots = (rows["timestamp"] >= since) & (random.random(len(rows)) < 0.8)
    some = random.choice(["i250", "i251", "i252"], len(rows))
    return tables | {"interactions": rows.assign(item_id=rows["item_id"].where(~bots, some))}


def _items_lost(tables: Tables, _since: float, _: Generator) -> Tables:
    return tables | {"items": tables["items"][: N_ITEMS // 5]}


FAULTS: dict[str, Callable[[Tables, float, Generator], Tables]] = {
    "events_lost": _events_lost,
    "feed_stopped": _feed_stopped,
    "ids_anew": _ids_anew,
    "titles_gone": _titles_gone,
    "ratings_turned": _ratings_turned,
    "bots": _one_item,
    "items_lost": _items_lost,
}

if __name__ == "__main__":
    raise SystemExit(main())
