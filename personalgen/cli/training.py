"""`train`: in slices, and in several processes where torchrun started them."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from personalgen.cli.night import stage_text
from personalgen.cli.terminal import (
    AsOfOption,
    ConfigOption,
    JsonOption,
    SetOption,
    parse_instant,
    workspace,
)

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


def train(
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_of: AsOfOption = None,
    max_minutes: MinutesOption = None,
    max_kimg: SliceOption = None,
    job_only: JobOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train tonight's challenger. Runs one stage of the night, on the stored results of those before it.

    A run that --max-minutes or --max-kimg ended is gone on with by the same command. Under torchrun all its processes
    train together.
    """
    from personalgen import steps
    from personalgen.training import leading

    limits = {"train.max_minutes": max_minutes, "train.slice_kimg": max_kimg}
    pairs = [*(overrides or ()), *(f"{key}={value}" for key, value in limits.items() if value is not None)]
    with workspace(config, pairs) as opened, leading(opened.settings.train.device) as leads:
        if not leads:
            return
        with opened.only_night():
            night = steps.prepare(opened, as_of=parse_instant(as_of))
            embedded = steps.stage_result(night, steps.Embedded)
            if job_only:
                facts = {"folder": str(steps.write_job(opened, night, embedded))}
            else:
                facts = asdict(steps.train(opened, night, embedded))
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=2))
    else:
        typer.echo(_job_text(facts["folder"]) if job_only else stage_text(facts))


def _job_text(folder: str) -> str:
    """Return how a job is trained elsewhere and comes back."""
    return (
        f"{folder} holds tonight's training. Copy it to a machine with torch and this package, and train it there:\n"
        "  torchrun --standalone --nproc-per-node gpu -m personalgen.training FOLDER\n"
        f"Then copy FOLDER/checkpoint.safetensors back into {folder} and run `personalgen train` with the same options."
    )
