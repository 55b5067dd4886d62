"""What was made for whom and why."""

import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from personalgen.bounds import MAX_ID
from personalgen.cli.terminal import (
    ConfigOption,
    CsvOption,
    JsonOption,
    LimitOption,
    SetOption,
    counted,
    no_catalogue,
    show,
    workspace,
)
from personalgen.errors import ConfigError, NotFoundError

assets = typer.Typer(no_args_is_help=True)


@assets.command("show")
def show_asset(
    asset_id: Annotated[int, typer.Argument(min=1, max=MAX_ID)],
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
    save: Annotated[Path | None, typer.Option("--save", help="Also write the picture to this file.")] = None,
) -> None:
    """Show one asset: user, model, run, seed, operating point, and the events that weighed most."""
    from personalgen.steps.assets import image_bytes, lineage

    with workspace(config, overrides, existing=True) as opened:
        facts = lineage(opened, asset_id)
        if save:
            save.write_bytes(image_bytes(opened, asset_id)[0])
    if as_json:
        show([facts], as_json=True)
    else:
        typer.echo(lineage_text(facts) + (f"\nsaved to {save}" if save else ""))


@assets.command()
def verify(
    file: Path,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say where a picture file comes from: what it says of itself, and whether an asset has these very bytes."""
    from personalgen.steps.verify import verify as verify_file

    with workspace(config, overrides, existing=True) as opened:
        facts = verify_file(opened, file).facts()
    width = max(map(len, facts))
    if as_json:
        show([facts], as_json=True)
    else:
        typer.echo("\n".join(f"{name:<{width}}  {value}" for name, value in facts.items()))


@assets.command()
def rate(
    asset_id: Annotated[int | None, typer.Argument(min=1, max=MAX_ID, help="The asset; left out with --file.")] = None,
    rating: Annotated[float | None, typer.Option("--rating", help="-1 (dislike) to 1 (like).")] = None,
    rater: Annotated[
        str, typer.Option("--rater", help="Who says so; default: the login name. Hashed as --user where ids are.")
    ] = "",
    file: Annotated[
        Path | None, typer.Option("--file", help="A CSV file: asset_id, rating, rater, at (ISO 8601, empty: now).")
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Store opinions of assets. A person's own, whose --rater is the user's id, are told to the next nights' models.

    Who was forgotten is not heard. Of a file, opinions by them and of pictures that are gone are left out and counted.
    """
    from personalgen.steps.rate import RatingsRead, rate_asset, rate_from_file

    if (file is None) == (asset_id is None) or (asset_id is None) != (rating is None):
        raise ConfigError("Name an asset and --rating, or a --file with both. Nothing was stored.")
    with workspace(config, overrides, existing=True) as opened:
        if file is not None:
            told = rate_from_file(opened, file)
        else:
            assert asset_id is not None and rating is not None  # noqa: S101, PT018 - checked above
            told = RatingsRead(1, rate_asset(opened, asset_id, rating, rater=rater.strip() or getpass.getuser()))
    typer.echo(f"{counted(told.n_read, 'rating')} read, {told.n_new:,} new or changed")
    if told.n_of_forgotten:
        typer.echo(f"{told.n_of_forgotten:,} left out: who rated was forgotten", err=True)
    if told.n_of_no_picture:
        typer.echo(f"{told.n_of_no_picture:,} left out: the picture is not in the catalogue (any more)", err=True)


@assets.command()
def sql(
    statement: str,
    config: ConfigOption = None,
    overrides: SetOption = None,
    limit: LimitOption = 1000,
    as_owner: Annotated[
        bool, typer.Option("--as-owner", help="On PostgreSQL: also as a role that may write the tables.")
    ] = False,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Ask one SELECT of the catalogue. Nothing can be changed.

    Views: v_assets, v_users, v_runs, v_recommendations, v_item_neighbours, v_user_neighbours, v_forgotten,
    v_comparisons, v_changed, v_daily, v_ratings, v_model_quality, v_refused, v_health; and the tables, where the role
    of the URL may read them. docs/catalogue.md tells every column.
    """
    from personalgen.catalogue.query import run_sql

    with workspace(config, overrides) as opened:
        settings = opened.settings
        try:
            result = run_sql(
                settings.analyst_url,
                statement,
                max_rows=limit,
                timeout_sec=settings.store.sql_timeout_sec,
                as_owner=as_owner,
            )
        except NotFoundError:
            raise no_catalogue(settings.root) from None
    names = [name if name not in result.columns[:k] else f"{name}_{k + 1}" for k, name in enumerate(result.columns)]
    rows = [dict(zip(names, row, strict=True)) for row in result.rows]
    show(rows, as_json=as_json, as_csv=as_csv, empty="no row", names=names)
    for note in _notes(result.truncated, result.hidden, limit):
        typer.echo(note, err=True)


@assets.command()
def export(
    out: Path,
    config: ConfigOption = None,
    overrides: SetOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Also assets that users no longer see.")] = False,
) -> None:
    """Write the pictures that users see as files below OUT, with OUT/assets.parquet."""
    from personalgen.steps.assets import export_assets

    with workspace(config, overrides, existing=True) as opened:
        count = export_assets(opened, out, live_only=not everything)
    typer.echo(f"{counted(count, 'image')} and assets.parquet written to {out}")


def lineage_text(facts: dict[str, Any]) -> str:
    """Return an asset's lineage as aligned lines."""
    events = [
        f"  {event['weight']:+.1%}  {event['title'] or '?'}  ({_about(event)}{_day(event['timestamp'])})"
        for event in facts["top_events"]
    ]
    names = [name for name in facts if name != "top_events"]
    width = max(map(len, names))
    return "\n".join(
        [
            *(f"{name:<{width}}  {facts[name]}" for name in names),
            f"events that weighed most, of {facts['n_events']} (minus: a dislike):",
            *events,
        ]
    )


def _about(event: dict[str, Any]) -> str:
    """Return the item of an event; a rating's title names the asset already."""
    return f"item {event['item_id']}, " if "item_id" in event else ""


def _day(timestamp: int) -> str:
    """Return the UTC day of an event."""
    return datetime.fromtimestamp(timestamp, UTC).date().isoformat()


def _notes(truncated: bool, hidden: tuple[str, ...], limit: int) -> list[str]:
    """Return what a person must know about the rows above."""
    notes = [f"cut at {limit:,} rows or 8 MB: narrow the query or raise --limit"] if truncated else []
    return notes + ([f"not open to queries, shown as NULL: {', '.join(hidden)}"] if hidden else [])
