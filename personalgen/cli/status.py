"""How a home stands."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from personalgen.cli.terminal import ConfigOption, JsonOption, NightsOption, SetOption, options_text, to_table

if TYPE_CHECKING:
    from personalgen.status.look import Status

NEEDS_A_PERSON = 3
"""What `personalgen status` returns where something needs a person (docs/operations.md)."""


def status(
    config: ConfigOption = None,
    overrides: SetOption = None,
    nights: NightsOption = 7,
    deep: Annotated[bool, typer.Option("--deep", help="Ask MLflow for its alias, too (seconds).")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say how the last nights went, what is live, what comes next, and what needs a person (then exit code 3)."""
    from personalgen.option_values import read_values
    from personalgen.status.look import status_of
    from personalgen.status.places import places_of

    places = places_of(read_values(config, overrides or ()))
    alias = _alias(config, overrides) if deep else ""
    options = options_text(config, overrides)
    found = status_of(places, nights=nights, now=datetime.now(UTC), alias=alias, options=options)
    if as_json:
        typer.echo(json.dumps(asdict(found), ensure_ascii=False, indent=2, default=str))
    else:
        typer.echo(status_text(found, options))
    if found.needs:
        raise typer.Exit(NEEDS_A_PERSON)


def status_text(found: "Status", options: str) -> str:
    """Return what a person reads; `options` go with the command of a first night."""
    rows = [asdict(night) for night in found.nights]
    shown = [
        {
            "day": row["day"],
            "kind": row["kind"],
            "night": row["night_id"],
            "status": "cut off" if row["status"] == "killed" else row["status"],
            "minutes": None if row["sec"] is None else round(row["sec"] / 60, 1),
            "images": row["n_images"],
            "model": row["outcome"],
            "data": row["health"],
        }
        for row in rows
    ]
    lines = [
        f"home     {found.home}",
        f"live     {found.live or 'nothing yet'}",
        f"now      {'a night is running' if found.is_running else 'no night is running'}",
        f"next     {_next(found)}",
        "",
        to_table(shown) if shown else f"no night yet: run personalgen nightly{options}",
    ]
    if found.needs:
        lines += ["", "Needs a person:"]
        lines += [f"  {need.what}: {need.found}. Do: {need.command}" for need in found.needs]
    return "\n".join(lines)


def _next(found: "Status") -> str:
    if not found.next_night:
        return "no night is scheduled here"
    return found.next_night if found.is_served else f"{found.next_night}, but `personalgen serve` does not run here"


def _alias(config: Path | None, overrides: list[str] | None) -> str:
    """Return how the registry's alias differs from what is live; empty where it does not."""
    from personalgen.cli.terminal import workspace

    with workspace(config, overrides, quiet=True, existing=True) as opened:
        live, champion = opened.live(), opened.registry.aliases().get("champion")
        version = live.version if live else None
    return "" if champion == version else f"MLflow's champion is {champion}, and {version} is live"
