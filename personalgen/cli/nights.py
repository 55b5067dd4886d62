"""The nights of a home."""

import getpass
import json
from dataclasses import asdict
from typing import Annotated

import typer

from personalgen.cli.terminal import (
    ConfigOption,
    CsvOption,
    JsonOption,
    LimitOption,
    SetOption,
    counted,
    show,
    workspace,
)

nights = typer.Typer(no_args_is_help=True)

_SHORT = ("night_id", "kind", "day", "as_of", "source", "status", "attempts", "created_at")


@nights.command("list")
def list_nights(
    config: ConfigOption = None,
    overrides: SetOption = None,
    limit: LimitOption = 30,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """List the nights, the newest first."""
    from personalgen.catalogue import read

    with workspace(config, overrides, existing=True) as opened:
        rows = [asdict(row) for row in read.nights(opened.engine, limit=limit)]
    full = as_json or as_csv
    show(
        [row if full else {name: row[name] for name in _SHORT} for row in rows],
        as_json=as_json,
        as_csv=as_csv,
        empty="no night yet",
    )


@nights.command()
def delete(
    night: int,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept in the ledger.")],
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete NIGHT (its id): images, rows and files. Refused while its images stand for users."""
    from personalgen import steps

    with workspace(config, overrides, existing=True) as opened, opened.only_night():
        done = steps.delete_night(opened, night, reason=reason, actor=getpass.getuser())
    if as_json:
        typer.echo(json.dumps(asdict(done), ensure_ascii=False, indent=2))
        return
    typer.echo(f"ledger line {done.ledger_id}: " + ", ".join(f"{n} {kind}" for kind, n in done.removed.items()))
    typer.echo(f"{counted(len(done.files), 'folder or shard')} removed; models and MLflow's runs of the night stay")
