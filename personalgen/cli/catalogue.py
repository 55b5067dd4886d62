"""The catalogue's database, for whoever runs it."""

from typing import Annotated

import typer

from personalgen.cli.terminal import ConfigOption, SetOption, workspace

catalogue = typer.Typer(no_args_is_help=True)


@catalogue.callback()
def _group() -> None:
    """Keep the name of the only command."""


@catalogue.command("grant-analyst")
def grant(
    role: str,
    config: ConfigOption = None,
    overrides: SetOption = None,
    print_only: Annotated[bool, typer.Option("--print", help="Print the SQL and run nothing.")] = False,
) -> None:
    """Make a PostgreSQL role that may read the views and nothing else, or mend its grants.

    No password is set or kept: give it one in psql, then name the role in store.catalogue_analyst_url.
    """
    from personalgen.catalogue.analysts import grant_analyst, statements_for

    with workspace(config, overrides, existing=True) as opened:
        statements = (statements_for if print_only else grant_analyst)(opened.engine, role)
    typer.echo("".join(f"{statement};\n" for statement in statements), nl=False)
    if not print_only:
        typer.echo(
            f"the role {role} reads the views of the catalogue and nothing else. Give it a password with "
            f"\\password {role} in psql, and name it in store.catalogue_analyst_url.",
            err=True,
        )
