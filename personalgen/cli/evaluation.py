"""`evaluate`: tonight's model beside the champion, or beside honest baselines."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personalgen.cli.night import stage_text
from personalgen.cli.terminal import (
    AsOfOption,
    ConfigOption,
    CsvOption,
    JsonOption,
    SetOption,
    parse_instant,
    show,
    workspace,
)
from personalgen.cli.vote import ChoicesOption, PairsOption, VoteOption, VoterOption, ask_people
from personalgen.errors import ConfigError

if TYPE_CHECKING:
    from personalgen.steps import Standing

TableOption = Annotated[
    bool,
    typer.Option("--table", help="Train the baselines, and show all in one table. Takes as long as four trainings."),
]


def evaluate(
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_of: AsOfOption = None,
    table: TableOption = False,
    vote: VoteOption = False,
    choices: ChoicesOption = None,
    voter: VoterOption = "",
    pairs: PairsOption = 24,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Measure challenger and champion on held-out people and items, on the stored results of the stages before.

    With --table, tonight's model stands beside honest baselines: an unconditional and a class-conditional net, plain
    concatenation, a CVAE, real pictures, and a search in the latent. A training that was cut goes on. With --vote,
    people are asked which of two pictures they prefer, not knowing whose.
    """
    from personalgen import steps

    if table and (vote or choices):
        raise ConfigError("--table and --vote are two commands: give one of them. Nothing was started.")
    if vote or choices:
        ask_people(config, overrides, as_of, choices=choices, voter=voter, pairs=pairs, as_json=as_json)
        return
    instant = parse_instant(as_of)
    with workspace(config, overrides) as opened, opened.only_night():
        night = steps.prepare(opened, as_of=instant, needs=(steps.Embedded, steps.Trained))
        embedded = steps.stage_result(night, steps.Embedded)
        if not table:
            facts = asdict(steps.evaluate(opened, night, embedded, steps.stage_result(night, steps.Trained)))
            typer.echo(json.dumps(facts, ensure_ascii=False, indent=2) if as_json else stage_text(facts))
            return
        rows = steps.standings(opened, night, embedded, steps.trained_tonight(night))
        sheet = night.path / "table" / "sheet.png"
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], ensure_ascii=False, indent=2))
        return
    show(table_rows(rows), as_csv=as_csv)
    if not as_csv:
        if len({row.kimg for row in rows if row.kimg}) > 1:
            typer.echo("\nThe nets have not seen equally many images (kimg): compare those that have.")
        typer.echo(f"\nAll figures with their intervals: --json. Pictures side by side: {sheet}")


def table_rows(rows: "Sequence[Standing]") -> list[dict[str, Any]]:
    """Return the headline figures of each row: those of the planted truth where there is one come first."""
    known = any("true_npg" in row.figures for row in rows)
    names = {"NPG true": "true_npg"} if known else {}
    names |= {"NPG A": "npg", "NPG B": "b_npg"}
    names |= {"named 16": "true_identified_16_of_real" if known else "identified_16_of_real"}
    names |= {"wins": "wins_by_truth" if known else "wins_by_judge", "KID": "kid", "precision": "precision"}
    names |= {"coverage": "coverage", "div. in": "diversity_within", "div. all": "diversity_between"}
    names |= {"copied": "memorised"}
    return [
        {"people": row.group, "way": row.name}
        | {shown: _rounded(row.figures.get(name)) for shown, name in names.items()}
        | {"CPU ms": _rounded(row.cpu_ms_per_image), "kimg": _rounded(row.kimg)}
        for row in rows
    ]


def _rounded(value: float | None) -> float | str:
    """Return three digits, or a dash for what is missing."""
    return "–" if value is None else float(f"{value:.3g}")
