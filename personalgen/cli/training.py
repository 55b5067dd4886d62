"""`train` and `sweep`: what trains for long, in slices and in several processes where torchrun started them."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personalgen.cli.night import stage_text
from personalgen.cli.terminal import (
    AsOfOption,
    ConfigOption,
    JsonOption,
    SetOption,
    options_text,
    parse_instant,
    show,
    workspace,
)

if TYPE_CHECKING:
    from personalgen.steps import Swept

MinutesOption = Annotated[
    float | None,
    typer.Option("--max-minutes", help="End this run after so many minutes (train.max_minutes).", show_default=False),
]
SliceOption = Annotated[
    float | None,
    typer.Option(
        "--max-kimg", help="End this run after so many thousands of images (train.slice_kimg).", show_default=False
    ),
]
JobOption = Annotated[
    bool, typer.Option("--job-only", help="Write the training's job and start, for python -m personalgen.training.")
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Train whatever the rule of `retrain` says, also where the night skipped it.")
]
OverOption = Annotated[
    list[str] | None, typer.Option("--over", help="key=value,value: what is combined.", show_default=False)
]
UpToOption = Annotated[
    float, typer.Option("--max-kimg", min=0, help="Train each so far (thousands of images); 0 is train.max_kimg.")
]

_COLUMNS = ("kid", "fit_gain", "npg", "diversity", "rollbacks", "img_per_sec")


def train(
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_of: AsOfOption = None,
    max_minutes: MinutesOption = None,
    max_kimg: SliceOption = None,
    job_only: JobOption = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train tonight's challenger. Runs one stage of the night, on the stored results of those before it.

    A run that --max-minutes or --max-kimg ended is gone on with by the same command. Under torchrun all its processes
    train together.
    """
    from personalgen import steps
    from personalgen.training import leading

    instant = parse_instant(as_of)
    limits = {"train.max_minutes": max_minutes, "train.slice_kimg": max_kimg}
    pairs = [*(overrides or ()), *(f"{key}={value}" for key, value in limits.items() if value is not None)]
    with workspace(config, pairs) as opened, leading(opened.settings.train.device) as leads:
        if not leads:
            return
        with opened.only_night():
            night = steps.prepare(opened, as_of=instant, needs=(steps.Embedded,))
            embedded = steps.stage_result(night, steps.Embedded)
            if job_only:
                facts = {"folder": str(steps.write_job(opened, night, embedded))}
            else:
                facts = asdict(steps.train(opened, night, embedded, asked=force))
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=2))
    else:
        typer.echo(_job_text(facts["folder"]) if job_only else stage_text(facts))


def sweep(
    config: ConfigOption = None,
    overrides: SetOption = None,
    over: OverOption = None,
    max_kimg: UpToOption = 0.0,
    as_of: AsOfOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train every combination of some train.* and model.* settings on tonight's data, and say which is best.

    Nothing is registered, and no user's images change. The same command again goes on where it stopped.
    """
    from personalgen import steps
    from personalgen.training import leading

    instant = parse_instant(as_of)
    with workspace(config, overrides) as opened, leading(opened.settings.train.device) as leads:
        if not leads:
            return
        asked = steps.combinations(opened.settings, over or ())
        with opened.only_night():
            night = steps.prepare(opened, as_of=instant)
            rows = steps.sweep(
                opened, night, steps.embed(opened, night, steps.recommend(opened, night)), asked, max_kimg=max_kimg
            )
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], ensure_ascii=False, indent=2))
    else:
        show([_table_row(row) for row in rows])
        typer.echo(sweep_text(rows, options_text(config, overrides)))


def sweep_text(rows: "Sequence[Swept]", options: str) -> str:
    """Return what the table does not say: how sure the best one is, how to use it, and why others have no figures."""
    best, notes = rows[0], dict.fromkeys(row.note for row in rows if row.note)
    lines = [f"{'; '.join(' '.join(row.pairs) for row in rows if row.note == note)}: {note}" for note in notes]
    if "kid" in best.figures:
        kid, floor, low, high = (best.figures[name] for name in ("kid", "kid_floor", "kid_low", "kid_high"))
        lines += [
            f"Best: {' '.join(best.pairs)}, KID {kid:.3g} [{low:.3g}, {high:.3g}]; real against real {floor:.3g}.",
            "A row whose KID lies in that interval is not told apart from it.",
            "Nothing was registered, and no user's images changed. To use it:",
            f"  personalgen nightly{options}{options_text(None, best.pairs)}",
        ]
    return "\n".join(["", *lines])


def _table_row(row: "Swept") -> dict[str, Any]:
    """Return one line of the table."""
    return {**row.values, "kimg": row.kimg} | {name: row.figures.get(name) for name in _COLUMNS}


def _job_text(folder: str) -> str:
    """Return how a job is trained elsewhere and comes back."""
    return (
        f"{folder} holds tonight's training. Copy it to a machine with torch and this package, and train it there:\n"
        "  torchrun --standalone --nproc-per-node gpu -m personalgen.training FOLDER\n"
        f"Then copy FOLDER/checkpoint.safetensors back into {folder} and run `personalgen train` with the same options."
    )
