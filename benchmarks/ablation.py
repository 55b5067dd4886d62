"""What each way of conditioning is worth: the same training with one thing added or taken away, measured by the truth.

    python -m benchmarks.ablation --home build/ablation --kimg 16 --json build/ablation.json

Every row trains on the world of shapes from scratch for the same number of images and is measured as `benchmarks.world`
measures; rows that are done are not run again. README.md tells what the columns mean.
"""

import argparse
import contextlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import world
from personalgen.artifacts import read_json, write_json

_BARE: dict[str, object] = {"train.mismatch_weight": 0, "train.contrast_weight": 0, "train.condition_jitter": 0}
_JITTER: dict[str, object] = {"train.condition_jitter": 0.1}
_WRONG_CONDITIONS: dict[str, object] = {"train.mismatch_weight": 1}
_CONTRAST: dict[str, object] = {"train.contrast_weight": 0.5}
_THREE = {**_JITTER, **_WRONG_CONDITIONS, **_CONTRAST}
_OTHERS: dict[str, dict[str, object]] = {
    "wrong-user fakes": {"train.wrong_fake_weight": 1},
    "user mixup": {"train.user_mixup": 0.5},
    "history subsampling": {"condition.history_variants": 4},
    "unconditional first": {"train.condition_ramp_kimg": 5},
}
_CONCATENATION: dict[str, object] = {"model.conditioning": "concatenate"}
ROWS: dict[str, dict[str, object]] = {
    "concatenation": {**_BARE, **_CONCATENATION},
    "modulation + projection": _BARE,
    "… + jitter": {**_BARE, **_JITTER},
    "… + wrong conditions": {**_BARE, **_WRONG_CONDITIONS},
    "… + contrast": {**_BARE, **_CONTRAST},
    **{f"… + {name}": {**_BARE, **added} for name, added in _OTHERS.items()},
    "jitter, wrong conditions, contrast": _THREE,
    "three - jitter": {**_BARE, **_WRONG_CONDITIONS, **_CONTRAST},
    "three - wrong conditions": {**_BARE, **_JITTER, **_CONTRAST},
    "three - contrast": {**_BARE, **_JITTER, **_WRONG_CONDITIONS},
    **{f"three + {name}": {**_THREE, **added} for name, added in _OTHERS.items()},
    "three, by concatenation": {**_THREE, **_CONCATENATION},
}
"""What each row sets; rows that begin with "…" add one thing to the row of modulation and projection alone."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rows that are asked for; return the exit code."""
    given = _parser().parse_args(arguments)
    rows = {name: ROWS[name] for name in given.row or ROWS}
    print(f"{'row':<36} {'CPU min':>8}  {'NPG warm, 95 %':<25} {'NPG cold':>8} {'sure share':>11}", flush=True)
    figures: dict[str, float] = {}
    for number, (name, settings) in enumerate(rows.items()):
        row = measured(settings, given)
        print(line(name, row), flush=True)
        figures |= {f"row_{number}_{key}": value for key, value in row.items()}
    if given.json:
        write_json(given.json, figures)
    return 0


def measured(settings: dict[str, object], given: argparse.Namespace) -> dict[str, float]:
    """Return the figures of one row, from its file where it was run before."""
    overrides = [f"{key}={_toml(value)}" for key, value in settings.items()]
    size = "quick" if given.quick else f"{given.kimg:g}-kimg"
    name = "_".join([size, *(override.rpartition(".")[2] for override in overrides)])
    path = given.home / "rows" / f"{name}.json"
    if not path.is_file():
        limits = [] if given.quick else ["--set", f"train.max_kimg={given.kimg}"]
        chosen = [part for override in overrides for part in ("--set", override)]
        quick = ["--quick"] if given.quick else []
        arguments = ["--home", str(given.home), "--json", str(path), *limits, *chosen, *quick]
        with contextlib.redirect_stdout(io.StringIO()):
            code = world.main(arguments)
        if code:
            sys.exit(code)
    row: dict[str, float] = read_json(path)
    return row


def line(name: str, row: dict[str, float]) -> str:
    """Return one row of the table."""
    warm, low, high = (row.get(f"warm_gain_over_real_gain{end}") for end in ("", "_low", "_high"))
    interval = "–" if warm is None else f"{warm:6.3f} [{low:6.3f}, {high:6.3f}]"
    cold = row.get("cold_gain_over_real_gain")
    return (
        f"{name:<36} {row['train_cpu_minutes']:>8.2f}  {interval:<25} "
        f"{'–' if cold is None else f'{cold:.3f}':>8} {row['category_sure_share']:>11.3f}"
    )


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--home", type=Path, default=Path("build/ablation"), help="rows that are done lie here")
    parser.add_argument("--kimg", type=float, default=16.0, help="thousands of images per row")
    parser.add_argument("--row", action="append", choices=list(ROWS), help="one row only; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures as one flat object")
    parser.add_argument("--quick", action="store_true", help="a toy size, in seconds a row")
    return parser


if __name__ == "__main__":
    sys.exit(main())
