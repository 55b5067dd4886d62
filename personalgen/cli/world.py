"""The simulated history of a demo: write it, and let time pass in it."""

from typing import Annotated

import typer

from personalgen.cli.terminal import ConfigOption, SetOption, counted, workspace
from personalgen.errors import ConfigError

world = typer.Typer(no_args_is_help=True)


@world.command()
def write(config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Write the history database and its pictures; one that is there is left alone."""
    from personalgen.steps.prepare import source_of

    with workspace(config, overrides) as opened:
        _require_world(opened.settings.world.name)
        typer.echo(f"{source_of(opened).url} (simulated)")


@world.command("add-day")
def add_day(
    config: ConfigOption = None,
    overrides: SetOption = None,
    days: Annotated[int, typer.Option(min=1, help="How many days to add.")] = 1,
) -> None:
    """Append days of new simulated events, so that the next night has something to do."""
    from personalgen.worlds import add_days, find_world

    with workspace(config, overrides) as opened:
        options = opened.settings.world
        _require_world(options.name)
        database = opened.settings.under_home(options.folder) / "history.db"
        count = add_days(find_world(options.name), database, options.history, days=days)
        typer.echo(f"{counted(count, 'simulated event')} added to {database}")


def _require_world(name: str) -> None:
    if not name:
        raise ConfigError(
            "world.name is empty: this config reads a real source. Use --config configs/demo.toml. Nothing was changed."
        )
