"""Forgetting a person, and the ledger of it."""

import getpass
import json
from dataclasses import asdict
from typing import Annotated

import typer

from personalgen.cli.recommendations import show_rows
from personalgen.cli.terminal import ConfigOption, CsvOption, JsonOption, SetOption, counted, workspace


def forget(
    user: str,
    reason: Annotated[str, typer.Option("--reason", help="Why, without a name; it is kept for ever.")],
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Forget USER: subtract them from what was learnt, delete what is known of them, and never read them again."""
    from personalgen import steps

    with workspace(config, overrides, existing=True) as opened, opened.only_night():
        done = steps.forget(opened, user, reason=reason, actor=getpass.getuser())
    if as_json:
        typer.echo(json.dumps(asdict(done), ensure_ascii=False, indent=2))
        return
    typer.echo(f"ledger line {done.ledger_id}: " + ", ".join(f"{n} {kind}" for kind, n in done.removed.items()))
    typer.echo(f"recommender: {done.recommender or 'it had learnt nothing of this person'}")
    typer.echo(
        f"left: {counted(done.n_assets, 'image')} in shards and the catalogue, shown to nobody; reports, and MLflow's "
        "copies of them; what generators learnt; and the id in the catalogue, by which the source's rows of this "
        "person are not read any more"
    )


def forgotten(
    config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False, as_csv: CsvOption = False
) -> None:
    """List who asked to be forgotten and what was deleted, newest first; nobody is named."""
    from personalgen.catalogue import read, rows

    with workspace(config, overrides, existing=True) as opened:
        found = read.forgotten(opened.engine)
    show_rows(found, rows.Forgotten, as_json=as_json, as_csv=as_csv, empty="nobody was forgotten yet")
