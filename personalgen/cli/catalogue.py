"""The catalogue's database, for whoever runs it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from personalgen.cli.terminal import ConfigOption, SetOption, workspace

catalogue = typer.Typer(no_args_is_help=True)

_MAY = {
    "writer": "reads and changes rows, and no table; name it in store.catalogue_url of the nights",
    "reader": "reads every table and changes nothing",
    "analyst": "reads the views of the catalogue and nothing else; name it in store.catalogue_analyst_url",
}

PrintOption = Annotated[bool, typer.Option("--print", help="Print the SQL and run nothing.")]


@catalogue.command()
def upgrade(config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Make the catalogue, or bring it to this program's revision: for the role that owns its tables."""
    from personalgen.catalogue.migrations import current_revision

    with workspace(config, overrides) as opened:
        typer.echo(f"the catalogue is at revision {current_revision(opened.engine)}")


@catalogue.command("grant-writer")
def grant_writer(
    role: str, config: ConfigOption = None, overrides: SetOption = None, print_only: PrintOption = False
) -> None:
    """Make a PostgreSQL role for nights, which may change rows and no table, or mend its grants."""
    _grant("writer", role, config, overrides, print_only=print_only)


@catalogue.command("grant-reader")
def grant_reader(
    role: str, config: ConfigOption = None, overrides: SetOption = None, print_only: PrintOption = False
) -> None:
    """Make a PostgreSQL role that may read every table, for programs that show pictures, or mend its grants."""
    _grant("reader", role, config, overrides, print_only=print_only)


@catalogue.command("grant-analyst")
def grant_analyst(
    role: str, config: ConfigOption = None, overrides: SetOption = None, print_only: PrintOption = False
) -> None:
    """Make a PostgreSQL role that may read the views and nothing else, or mend its grants.

    No password is set or kept: give it one in psql, then name the role in store.catalogue_analyst_url.
    """
    _grant("analyst", role, config, overrides, print_only=print_only)


def _grant(kind: str, role: str, config: Path | None, overrides: Sequence[str] | None, *, print_only: bool) -> None:
    """Run the SQL of a role's rights, or print it alone."""
    from personalgen.catalogue.roles import grant_role

    with workspace(config, overrides, existing=True) as opened:
        statements = grant_role(opened.engine, kind, role, run=not print_only)
    typer.echo("".join(f"{statement};\n" for statement in statements), nl=False)
    if not print_only:
        typer.echo(f"the role {role} {_MAY[kind]}. Give it a password with \\password {role} in psql.", err=True)
