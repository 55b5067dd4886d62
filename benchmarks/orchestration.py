"""What orchestration costs a night: its wall time less the stages' own work, with a Prefect server and without.

    python -m benchmarks.orchestration --home build/orchestration

Each night is a process of its own, `personalgen nightly`, from its start to its exit; within it every stage is timed
where the flow calls it. What is left are imports, the ephemeral server where none runs, Prefect's and MLflow's own
work, and the summary. CPU is of the process and of all that it started and waited for.
"""

import argparse
import functools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from flows.server import kept_server
from personalgen import steps
from personalgen.artifacts import write_json
from personalgen.steps.night import STAGES

CONFIG = Path(__file__).with_suffix(".toml")
PORT = 4299


def main(arguments: Sequence[str] | None = None) -> int:
    """Run nights with and without a server, print what each took; return the exit code."""
    given = _parser().parse_args(arguments)
    if given.night:
        return _one_night(given.night, given.began, given.settings)
    figures: dict[str, float] = {}
    for name in ("without",) if given.quick else ("with", "without"):
        home = given.home / name
        shutil.rmtree(home, ignore_errors=True)
        with ExitStack() as stack:
            address = _server(stack, home) if name == "with" else None
            for number in range(given.nights):
                figures |= {f"{key}_{name}_{number}": value for key, value in _night(home, address, number).items()}
    _show(figures)
    if given.json:
        write_json(given.json, figures)
    return 0


def _server(stack: ExitStack, home: Path) -> str:
    """Return the address of a server that lives as long as the stack."""
    return stack.enter_context(kept_server(home.resolve() / "data" / ".prefect", PORT, say=print))


def _night(home: Path, address: str | None, number: int) -> dict[str, float]:
    """Return the seconds of one night in a process of its own."""
    told = home.parent / "night.json"
    settings = [f"home={home}", f"train.seed={number}"]  # another seed is another night
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    began, cpu_before = time.monotonic(), _cpu_of_children()
    command = [sys.executable, "-m", "benchmarks.orchestration", "--night", str(told), "--began", str(began), *settings]
    subprocess.run(  # noqa: S603 - our own words
        command,
        check=True,
        stdout=subprocess.DEVNULL,
        env=environment | ({"PREFECT_API_URL": address} if address else {}),
    )
    wall, cpu = time.monotonic() - began, _cpu_of_children() - cpu_before
    inside = json.loads(told.read_text())
    return {
        "wall_sec": wall,
        "stages_sec": inside["stages_sec"],
        "overhead_sec": wall - inside["stages_sec"],
        "imports_sec": inside["imports_sec"],
        "before_first_stage_sec": inside["before_first_stage_sec"],
        "between_stages_sec": inside["between_stages_sec"],
        "after_last_stage_sec": wall - inside["last_stage_ended_sec"],
        "cpu_sec": cpu,
        "overhead_cpu_sec": cpu - inside["stages_cpu_sec"],
    }


def _one_night(told: Path, began: float, settings: Sequence[str]) -> int:
    """Run a night in this process, started at `began`, with its stages timed; write what they took."""
    spans: list[tuple[float, float, float]] = []
    for name in STAGES:
        setattr(steps, name, _timed(getattr(steps, name), spans))
    from personalgen.cli import main as command_line

    imports = time.monotonic() - began
    code = command_line(
        ["nightly", "--json", "--config", str(CONFIG), *(part for pair in settings for part in ("--set", pair))]
    )
    stages = sum(end - start for start, end, _ in spans)
    inside = {
        "stages_sec": stages,
        "stages_cpu_sec": sum(cpu for _, _, cpu in spans),
        "imports_sec": imports,
        "before_first_stage_sec": spans[0][0] - began,
        "between_stages_sec": spans[-1][1] - spans[0][0] - stages,
        "last_stage_ended_sec": spans[-1][1] - began,
    }
    write_json(told, inside)
    return code


def _timed(step: Callable[..., Any], spans: list[tuple[float, float, float]]) -> Callable[..., Any]:
    """Return a stage that adds (start, end, CPU seconds) of each call."""

    @functools.wraps(step)
    def run(*arguments: Any, **named: Any) -> Any:
        start, cpu = time.monotonic(), time.process_time()
        try:
            return step(*arguments, **named)
        finally:
            spans.append((start, time.monotonic(), time.process_time() - cpu))

    return run


def _cpu_of_children() -> float:
    return os.times().children_user + os.times().children_system


def _show(figures: dict[str, float]) -> None:
    """Print a row for each figure, a column for each night."""
    nights = sorted({name.split("_sec_")[1] for name in figures})
    print(f"{'seconds':<24}" + "".join(f"{night.replace('_', ' server, night '):>28}" for night in nights))
    for name in dict.fromkeys(name.split("_sec_")[0] for name in figures):
        print(f"{name:<24}" + "".join(f"{figures[f'{name}_sec_{night}']:>28.1f}" for night in nights))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.orchestration", description=__doc__)
    parser.add_argument("--home", type=Path, default=Path("build/orchestration"))
    parser.add_argument("--nights", type=int, default=2, help="in a row, the first of which makes all databases")
    parser.add_argument("--quick", action="store_true", help="one night, without a server")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--night", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--began", type=float, help=argparse.SUPPRESS)
    parser.add_argument("settings", nargs="*", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
