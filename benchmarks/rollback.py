"""What moving users back to an earlier model costs, in a catalogue of many nights and users.

    python -m benchmarks.rollback --home build/rollback --assets 1e6 --json build/rollback.json

The first run builds the catalogue (`catalogue_rows`: two models, an image of each for every user), a later one with the
same home goes on with it. Printed are CPU milliseconds of this process: of the move, which is a decision and a pointer,
and of counting who has no image of the model that is back, which the command tells afterwards.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.catalogue_rows import Size, build
from personalgen.artifacts import write_json
from personalgen.catalogue import read, release
from personalgen.catalogue.engine import open_catalogue

_TIMES = 6


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the catalogue where it is missing, move back and forth, print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True, help="where the catalogue lies, or is to be built")
    parser.add_argument("--assets", default="1e6", help="images in all; a tenth of it are users")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--quick", action="store_true", help="a toy size")
    given = parser.parse_args(arguments)
    size = Size(20_000, shard_rows=1_000, dim=8) if given.quick else Size(int(float(given.assets)))
    given.home.mkdir(parents=True, exist_ok=True)
    engine = open_catalogue(f"sqlite:///{given.home}/catalogue.db")
    if not (given.home / "built").exists():
        build(engine, given.home, size, lambda line: print(line, flush=True))
        (given.home / "built").write_text(f"{size.n_assets}\n")
    models = [one.model_version_id for one in read.model_versions(engine)]

    def move() -> None:
        live = read.live_release(engine)
        to = next(model for model in models if live is None or model != live.model_version_id)
        release.rollback(engine, reason="measured", actor="bench", at=datetime.now(UTC), to=to)

    figures = {
        "users": float(size.n_users),
        "move_cpu_ms": _cpu_ms(move),
        "count_without_cpu_ms": _cpu_ms(lambda: read.users_without_live(engine)),
    }
    for name, value in figures.items():
        print(f"{name:<24} {value:>12,.1f}")
    engine.dispose()
    if given.json:
        write_json(given.json, figures)
    return 0


def _cpu_ms(act: Callable[[], object]) -> float:
    """Return the median CPU time of doing something, the first time left out."""
    spent = []
    for _ in range(_TIMES):
        began = time.process_time()
        act()
        spent.append((time.process_time() - began) * 1e3)
    return float(np.median(spent[1:]))


if __name__ == "__main__":
    raise SystemExit(main())
