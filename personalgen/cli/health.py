"""What the source looked like, night by night."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import typer

from personalgen.cli.terminal import ConfigOption, CsvOption, JsonOption, NightsOption, SetOption, show, workspace

_COUNTS = frozenset({"volume", "new_events"})
_FIGURES = ("value", "expected", "low", "high")


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
    for_people = not (as_json or as_csv)
    shown = [as_told(row) for row in rows] if for_people else rows
    show(shown, as_json=as_json, as_csv=as_csv, empty="no night was checked yet")
    if for_people:
        for row in rows:
            if row["status"] == "fail":
                typer.echo(f"{row['check']} stopped the night: mend the source, or run with --accept {row['check']}")


def as_told(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a check as a person reads it: counts of rows are whole numbers."""
    if row["check"].partition(".")[2] not in _COUNTS:
        return dict(row)
    return {**row, **{name: f"{row[name]:,.0f}" for name in _FIGURES if row[name] is not None}}
