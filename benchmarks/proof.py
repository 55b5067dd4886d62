"""Whether pictures are good, new and made for their users, on worlds whose tastes are known, beside honest baselines.

    python -m benchmarks.proof --world faces --home build/proof-faces --json build/proof-faces.json

Trains tonight's model and the baselines of `personalgen evaluate --table` from scratch at 16 px, and prints the table
and what is asked of a proof, each figure with its control. A run that was cut goes on. README.md tells more.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.world import QUICK_CONFIG
from personalgen.artifacts import write_json
from personalgen.cli.evaluation import table_rows
from personalgen.cli.terminal import quiet_environment, to_table
from personalgen.config import Settings, load_settings
from personalgen.errors import PersonalgenError, UserError
from personalgen.steps import Standing, Workspace, embed, prepare, recommend, standings, train
from personalgen.steps.contestants import TRAINED, UNCONDITIONAL
from personalgen.steps.table import FOUR_LIKES, HELD_OUT, OURS, PARTS, SEEN

ROOT = Path(__file__).resolve().parent.parent
WORLDS = ("shapes", "faces", "landscapes")
PROOF = [
    "model.resolution=16",
    "train.feature_weight=0",
    "train.contrast_weight=0.1",
    "train.max_kimg=160",
    "train.snapshot_kimg=20",
    "evaluation.images_per_user=8",
]
"""Pixels alone at 16 px: fifteen minutes of one core for each net, at 200 pictures a second."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    given = _parser().parse_args(arguments)
    quiet_environment()
    try:
        rows = run(given)
    except PersonalgenError as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, UserError) else 1
    print(to_table(table_rows(rows)))
    print()
    print("\n".join(verdicts(rows)))
    if given.json:
        write_json(given.json, flat(rows))
    return 0


def run(given: argparse.Namespace) -> list[Standing]:
    """Train, or go on, and measure; return the table."""
    settings = _settings(given)
    end = datetime.fromtimestamp(settings.world.history.end_timestamp, UTC)
    workspace = Workspace(settings, now=lambda: end)  # the clock decides nothing: a night is the same on every day
    with workspace.only_night():
        night = prepare(workspace)
        embedded = embed(workspace, night, recommend(workspace, night))
        trained = train(workspace, night, embedded)
        return standings(workspace, night, embedded, trained, baselines=given.baseline or TRAINED)


def verdicts(rows: Sequence[Standing]) -> list[str]:
    """Return what is asked of a proof, line by line, for each way in which our model draws."""
    found = {(row.group, row.name): row.figures for row in rows}
    lines = []
    for way in (OURS, *PARTS):
        held_out, bare = found[HELD_OUT, way], found[HELD_OUT, UNCONDITIONAL]
        fit = {group: found[group, way] for group in (SEEN, HELD_OUT, FOUR_LIKES) if (group, way) in found}
        times = f"{kid_ratio(held_out, bare):.3g} times that of the unconditional net"
        told = {f"NPG, {group}": _interval(figures, "true_npg") for group, figures in fit.items()} | {
            "named among 16, of real": _interval(held_out, "true_identified_16_of_real"),
            "the same by judge A": _interval(held_out, "identified_16_of_real"),
            "diversity within users": _interval(held_out, "diversity_within"),
            "diversity between users": _interval(held_out, "diversity_between"),
            "KID": f"{_interval(held_out, 'kid')}, real pictures {bare['kid_floor']:.3f}",
            "KID less floor": f"{times}, whose KID is {_interval(bare, 'kid')}",
            "memorised": f"{_interval(held_out, 'memorised')}, real {_interval(held_out, 'memorised_real')}",
            "wins against unconditional": _interval(held_out, "wins_by_truth"),
        }
        lines += [f"{way}:", *(f"  {name:<27} {text}" for name, text in told.items())]
    return lines


def kid_ratio(ours: Mapping[str, float], bare: Mapping[str, float]) -> float:
    """Return how many times the KID above its floor is that of the same net trained unconditionally."""
    return (ours["kid"] - ours["kid_floor"]) / max(bare["kid"] - bare["kid_floor"], 1e-12)


def flat(rows: Sequence[Standing]) -> dict[str, float]:
    """Return all figures as one flat object."""
    return {
        f"{row.group}_{row.name}_{name}".replace(" ", "_").replace(",", ""): value
        for row in rows
        for name, value in {**row.figures, "cpu_ms_per_image": row.cpu_ms_per_image}.items()
    }


def _interval(figures: Mapping[str, float], name: str) -> str:
    if name not in figures:
        return "missing"
    return f"{figures[name]:.3f} [{figures[f'{name}_low']:.3f}, {figures[f'{name}_high']:.3f}]"


def _settings(given: argparse.Namespace) -> Settings:
    config = QUICK_CONFIG if given.quick else ROOT / "configs" / f"{given.world}.toml"
    proof = [f"world.name={given.world}", f"world.folder=data/{given.world}"] if given.quick else PROOF
    return load_settings(config, [f"home={given.home}", *proof, *given.set])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.proof", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--world", choices=WORLDS, default="shapes", help="whose people and pictures")
    parser.add_argument("--home", type=Path, default=ROOT / "build" / "proof", help="folder to go on from, or to make")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="wins over the file")
    parser.add_argument("--baseline", action="append", choices=list(TRAINED), help="trained baselines; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures as one flat object")
    parser.add_argument("--quick", action="store_true", help="a toy size, in a minute")
    return parser


if __name__ == "__main__":
    sys.exit(main())
