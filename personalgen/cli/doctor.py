"""Says what is installed, reachable, on which device, and what is wrong."""

import typer

from personalgen.cli.terminal import ConfigOption, JsonOption, SetOption, show, workspace


def doctor(config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Say what is installed, reachable, on which device, and what is wrong. Changes nothing."""
    from personalgen.steps.doctor import examine

    with workspace(config, overrides, quiet=True) as opened:
        found = examine(opened)
    show(
        [{"what": each.what, "state": each.state, "found": each.found, "do": each.advice} for each in found],
        as_json=as_json,
    )
    if not as_json:
        for each in found:
            if each.state == "wrong":
                typer.echo(f"\n{each.what}: {each.found}{f'. Do: {each.advice}' if each.advice else ''}")
    if any(each.state == "wrong" for each in found):
        raise typer.Exit(1)
