"""Forgetting a person, and the ledger of it."""

import getpass
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from personalgen.cli.recommendations import show_rows
from personalgen.cli.terminal import ConfigOption, CsvOption, JsonOption, SetOption, workspace
from personalgen.errors import ConfigError

if TYPE_CHECKING:
    from personalgen.steps import ForgottenPerson


def forget(
    reason: Annotated[str, typer.Option("--reason", help="Why, without a name; it is kept for ever.")],
    users: Annotated[list[str] | None, typer.Argument(help="Their ids.", show_default=False)] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="Text file with an id a line.", show_default=False)
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erase USERS everywhere: images, rows, what was learnt; never read them again; print a receipt for each."""
    from personalgen import steps

    people = [*(users or ()), *(_ids_of(file) if file else ())]
    if not people:
        raise ConfigError("Name users, or a --file with an id a line. Nothing was changed.")
    with workspace(config, overrides, existing=True) as opened, opened.only_night(is_night=False):
        done = steps.forget_people(opened, people, reason=reason, actor=getpass.getuser())
    if as_json:
        receipts = [asdict(one) for one in done]
        typer.echo(json.dumps(receipts if file or len(people) > 1 else receipts[0], ensure_ascii=False, indent=2))
        return
    typer.echo("\n\n".join(_told(one) for one in done))


def _ids_of(path: Path) -> list[str]:
    """Return the ids of a text file, without empty lines."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--file {path} cannot be read as text: {error}. Nothing was changed.") from None
    return [line for line in lines if line.strip()]


def _told(done: "ForgottenPerson") -> str:
    """Return a receipt as lines."""
    receipt = done.receipt
    lines = [
        f"ledger line {done.ledger_id}, user key {receipt.user_key}",
        "removed: " + ", ".join(f"{n} {kind}" for kind, n in done.removed.items() if n),
        f"recommender: {done.recommender or 'it had learnt nothing of this person'}",
        *(f"zeroed in: {path}" for path in receipt.shards),
        *(f"remains {what}" for what in receipt.remains),
    ]
    return "\n".join(lines)


def forgotten(
    config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False, as_csv: CsvOption = False
) -> None:
    """List who asked to be forgotten and what was deleted, newest first; nobody is named."""
    from personalgen.catalogue import read, rows

    with workspace(config, overrides, existing=True) as opened:
        found = read.forgotten(opened.engine)
    show_rows(found, rows.Forgotten, as_json=as_json, as_csv=as_csv, empty="nobody was forgotten yet")
