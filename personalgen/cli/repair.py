"""Shard root and catalogue in step."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from personalgen.cli.terminal import ConfigOption, JsonOption, SetOption, counted, workspace

if TYPE_CHECKING:
    from personalgen.steps import Repaired


def repair(
    config: ConfigOption = None,
    overrides: SetOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read every shard whole and check its digest.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Finish what was cut, adopt whole shards that the catalogue does not know, report what is missing or changed.

    Exits with 1 where catalogued images are missing or changed. `generate` does the same at its start.
    """
    from personalgen import steps

    with workspace(config, overrides, existing=True) as opened, opened.only_night(is_night=False):
        erased = () if dry_run else steps.finish_erasures(opened)
        done = steps.repair(opened, dry_run=dry_run, verify=verify)
    if as_json:
        typer.echo(json.dumps(asdict(done), ensure_ascii=False, indent=2))
    else:
        typer.echo(repair_text(done, n_erased=len(erased)))
    if not done.is_sound:
        raise typer.Exit(1)


def repair_text(done: "Repaired", *, n_erased: int) -> str:
    """Return what was found and done, a line each."""
    would = "would be " if done.dry_run else ""
    lines = [
        f"{counted(len(done.swept), 'file')} of killed writers {would}swept" if done.swept else "",
        f"{counted(len(done.removed), 'shard')} {would}removed, as was asked for" if done.removed else "",
        *(f"night {night_id}: files of the deleted night {would}removed" for night_id in done.nights),
        *(f"{path}: {would}adopted, with {counted(n, 'image')}" for path, n in done.adopted.items()),
        *(f"{path}: waits for its night to be run again" for path in done.waiting),
        *(f"{path}: not adopted: {why}" for path, why in done.orphans.items()),
        *(f"{path}: DAMAGED: {how}" for path, how in done.damaged.items()),
        f"erasing {counted(len(done.erasing), 'person')} was cut and would be ended" if done.erasing else "",
        f"erasing {counted(n_erased, 'person')} was cut and is done now" if n_erased else "",
    ]
    return "\n".join(line for line in lines if line) or "shard root and catalogue are in step"
