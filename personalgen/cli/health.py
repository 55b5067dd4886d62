"""What the source looked like, night by night."""

from dataclasses import asdict

import typer

from personalgen.cli.terminal import ConfigOption, CsvOption, JsonOption, NightsOption, SetOption, show, workspace


def health(
    config: ConfigOption = None,
    overrides: SetOption = None,
    nights: NightsOption = 1,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """List the checks of the source: those that stopped a night, then those of the last nights."""
    from personalgen.steps.health import listed

    with workspace(config, overrides, existing=True) as opened:
        rows = [asdict(row) for row in listed(opened, nights=nights)]
    show(rows, as_json=as_json, as_csv=as_csv, empty="no night was checked yet")
    if not (as_json or as_csv):
        for row in rows:
            if row["status"] == "fail":
                typer.echo(f"{row['check']} stopped the night: mend the source, or run with --accept {row['check']}")
