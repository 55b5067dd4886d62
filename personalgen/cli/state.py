"""What is known of users, built apart from any night."""

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from personalgen.cli.terminal import AsOfOption, ConfigOption, JsonOption, SetOption, counted, parse_instant, workspace

state = typer.Typer(no_args_is_help=True)


class By(StrEnum):
    """Who makes the sums."""

    AUTO = "auto"
    DATABASE = "database"
    EVENTS = "events"


@state.callback()
def _group() -> None:
    """What is known of users: decayed sums by user and item, and everybody's newest events."""


@state.command()
def build(
    folder: Path,
    by: Annotated[
        By,
        typer.Option(
            "--by", help="Who sums: the database where it can and less is read, it or nobody, or this process."
        ),
    ] = By.AUTO,
    as_of: AsOfOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build an affinity state of all events of the source in FOLDER, apart from any night."""
    from personalgen import steps

    instant = parse_instant(as_of)
    with workspace(config, overrides) as opened:
        built = steps.rebuild(opened, folder, as_of=instant, by=by)
    if as_json:
        typer.echo(json.dumps(asdict(built), ensure_ascii=False, indent=2))
        return
    typer.echo(f"{built.folder}: {counted(built.n_events, 'event')} before {built.as_of}, {built.how}")
    typer.echo(f"{counted(built.n_rows_read, 'row')} taken, {counted(built.n_quarantined, 'event')} quarantined")
