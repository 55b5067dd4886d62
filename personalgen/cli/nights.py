"""The nights of a home."""

import getpass
import json
from dataclasses import asdict
from typing import Annotated

import typer

from personalgen.bounds import MAX_ID
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
    """List the nights, the newest first.

    One whose process died without a word is killed, not running: the same command as then goes on with it.
    """
    from personalgen.catalogue import read

    with workspace(config, overrides, existing=True) as opened:
        rows = [asdict(row) for row in read.nights(opened.engine, limit=limit)]
        if not opened.is_busy:
            rows = [row | {"status": "killed"} if row["status"] == "running" else row for row in rows]
    full = as_json or as_csv
    show(
        [row if full else {name: row[name] for name in _SHORT} for row in rows],
        as_json=as_json,
        as_csv=as_csv,
        empty="no night yet",
    )


@nights.command()
def delete(
    night: Annotated[int, typer.Argument(min=1, max=MAX_ID)],
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept in the ledger.")],
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete NIGHT (its id): images, rows and files. Refused while its images stand for users."""
    from personalgen import steps

    with workspace(config, overrides, existing=True) as opened, opened.only_night(is_night=False):
        done = steps.delete_night(opened, night, reason=reason, actor=getpass.getuser())
    if as_json:
        typer.echo(json.dumps(asdict(done), ensure_ascii=False, indent=2))
        return
    typer.echo(f"ledger line {done.ledger_id}: " + ", ".join(f"{n} {kind}" for kind, n in done.removed.items()))
    typer.echo(f"{counted(len(done.files), 'folder or shard')} removed; models and MLflow's runs of the night stay")


@nights.command()
def prune(
    config: ConfigOption = None,
    overrides: SetOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Let go what is older than the settings under `retention` keep it, as the end of every night does."""
    from personalgen import steps

    with workspace(config, overrides, existing=True) as opened, opened.only_night(is_night=False):
        pruned = steps.prune(opened, dry_run=dry_run)
        is_set = opened.settings.retention.is_set
    if as_json:
        typer.echo(json.dumps(asdict(pruned), ensure_ascii=False, indent=2))
        return
    if not is_set:
        typer.echo("everything is kept for ever: see `retention` in docs/nights.md")
        return
    verb = "would go" if dry_run else "went"
    told = {"night": pruned.nights, "result folder": pruned.results, "table folder": pruned.tables}
    for noun, gone in (told | {"quarantine": pruned.quarantines}).items():
        typer.echo(f"{counted(len(gone), noun)} {verb}: {', '.join(map(str, gone)) or '-'}")
    for night, why in pruned.kept.items():
        typer.echo(f"night {night} stays: {why}")
    if pruned.waits_for:
        typer.echo(f"nothing goes: {pruned.waits_for}")
