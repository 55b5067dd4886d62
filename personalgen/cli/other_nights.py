"""Nights that are not the nightly one: `retrain`, `generate-only` and `backfill`."""

import json
from datetime import date, time
from typing import Annotated, Any

import typer

from personalgen.bounds import MAX_INTEGER
from personalgen.cli.night import show_night, workspace_of_flows
from personalgen.cli.terminal import (
    AcceptOption,
    AsOfOption,
    ConfigOption,
    JsonOption,
    SetOption,
    accepting,
    counted,
    options_text,
    parse_instant,
)
from personalgen.errors import ConfigError


def retrain(
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_of: AsOfOption = None,
    warm: Annotated[bool, typer.Option("--warm", help="Start from what is live; default: from scratch.")] = False,
    accept: AcceptOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train in full on the newest data, whatever is new, and release the model if it earns it."""
    instant = parse_instant(as_of)
    with workspace_of_flows(config, accepting(overrides, accept)) as opened:
        from flows.retrain import retrain_night

        summary = retrain_night(opened, as_of=instant, warm=warm)
    show_night(summary, options_text(config, overrides), as_json=as_json)


def generate_only(
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_of: AsOfOption = None,
    accept: AcceptOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw for new and changed users with what is live: no training, no evaluation, no promotion."""
    instant = parse_instant(as_of)
    with workspace_of_flows(config, accepting(overrides, accept), existing=True) as opened:
        from flows.generate_only import generate_night

        summary = generate_night(opened, as_of=instant)
    show_night(summary, options_text(config, overrides), as_json=as_json)


def backfill(
    first: Annotated[str, typer.Option("--from", help="First day, such as 2026-09-14.")],
    last: Annotated[str, typer.Option("--to", help="Last day, included.")],
    config: ConfigOption = None,
    overrides: SetOption = None,
    at: Annotated[
        str, typer.Option("--at", help="Time of day up to which events count, in store.time_zone.")
    ] = "00:00",
    model: Annotated[
        int | None,
        typer.Option("--model", min=1, max=MAX_INTEGER, help="Version to draw with; default: what was live."),
    ] = None,
    everybody: Annotated[
        bool, typer.Option("--all", help="Draw also for people who did nothing on a day, of all that they did before.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Draw past days, each as of its day; what users see now, and what is known of them, stays as it is."""
    days, time_of_day = (_day("--from", first), _day("--to", last)), _time(at)
    with workspace_of_flows(config, overrides, existing=True) as opened:
        from flows.backfill import run_backfill

        told = run_backfill(opened, *days, version=model, everybody=everybody, at=time_of_day)
    typer.echo(json.dumps(told, ensure_ascii=False, indent=2) if as_json else "\n".join(map(day_text, told)))


def day_text(summary: dict[str, Any]) -> str:
    """Return a backfilled day as one line."""
    made = counted(summary["images_made"], "image")
    made = f"done before, with {made}" if summary["already_done"] else f"{made} made"
    there = f"{counted(summary['users_with_an_image'], 'user')} had theirs"
    return f"{summary['day']}  {summary['model_name']} v{summary['version']}: {made}; {there}"


def _day(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{option} {text!r} is no day, such as 2026-09-14. Nothing was started.") from None


def _time(text: str) -> time:
    """Return a time of day without a zone.

    Raises:
        ConfigError: the text is none.
    """
    try:
        found = time.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is not None:
        raise ConfigError(f"--at {text!r} is no time of day, such as 02:30. Nothing was started.")
    return found
