"""Lists of assets and users: the newest, the best, who changed, who is alike, and sums."""

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from personalgen.bounds import MAX_ID, MAX_INTEGER
from personalgen.cli.terminal import (
    ConfigOption,
    CsvOption,
    JsonOption,
    LimitOption,
    SetOption,
    counted,
    show,
    workspace,
)
from personalgen.errors import ConfigError

if TYPE_CHECKING:
    from personalgen.catalogue.scopes import AssetFilter
    from personalgen.steps import Workspace

_SHORT = ("asset_id", "user_id", "day", "model_version", "variant", "is_live", "n_events", "score", "seed", "path")

UserOption = Annotated[str | None, typer.Option("--user", help="Only this user's.")]
NightOption = Annotated[
    int | None, typer.Option("--night", min=1, max=MAX_ID, help="Only of this night, by its number.")
]
DayOption = Annotated[str | None, typer.Option("--day", help="Only of this day's nights, as 2026-03-01.")]
ModelOption = Annotated[int | None, typer.Option("--model", min=1, max=MAX_INTEGER, help="Only of this model version.")]
SegmentOption = Annotated[str | None, typer.Option("--segment", help="Only of users who are in this segment now.")]
LiveOption = Annotated[bool, typer.Option("--live", help="Only what users see now.")]
AfterOption = Annotated[
    int | None, typer.Option("--after", min=1, max=MAX_ID, help="The last asset of the page before: the next page.")
]
ParquetOption = Annotated[Path | None, typer.Option("--parquet", help="Write the rows to this Parquet file.")]


def add_lists(app: typer.Typer) -> None:
    """Add the lists to `personalgen assets`."""
    for command in (latest, top, changed, similar, stats):
        app.command()(command)


def latest(
    config: ConfigOption = None,
    overrides: SetOption = None,
    limit: LimitOption = 10,
    user: UserOption = None,
    night: NightOption = None,
    day: DayOption = None,
    model: ModelOption = None,
    segment: SegmentOption = None,
    live: LiveOption = False,
    before: Annotated[
        int | None, typer.Option("--before", min=1, max=MAX_ID, help="Only assets older than this id: the next page.")
    ] = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    parquet: ParquetOption = None,
) -> None:
    """List the newest assets."""
    from personalgen.catalogue import questions, rows
    from personalgen.catalogue.scopes import AssetFilter

    asked = _filter(user, night, day, model, segment, live=live)
    with workspace(config, overrides, existing=True) as opened:
        found = questions.latest(opened.engine, _of_whom(opened, asked), limit=limit, before_asset_id=before)
    everything = before is None and asked == AssetFilter()
    empty = "no asset yet" if everything else "no asset fits what was asked"
    _answer(found, rows.AssetSummary, as_json, as_csv, parquet, empty=empty, short=_SHORT)


def top(
    config: ConfigOption = None,
    overrides: SetOption = None,
    limit: LimitOption = 10,
    by: Annotated[
        Literal["score", "rating"], typer.Option("--by", help="The judge's score, or what people said.")
    ] = "score",
    user: UserOption = None,
    night: NightOption = None,
    day: DayOption = None,
    model: ModelOption = None,
    segment: SegmentOption = None,
    live: LiveOption = False,
    after: AfterOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    parquet: ParquetOption = None,
) -> None:
    """List the best assets by score or by rating: of the newest night that has any, unless one or a user is named."""
    from personalgen.catalogue import questions, rows

    asked = _filter(user, night, day, model, segment, live=live)
    with workspace(config, overrides, existing=True) as opened:
        if by == "rating":
            rated = questions.top_rated(opened.engine, _of_whom(opened, asked), limit=limit, after_asset_id=after)
            _answer(rated, rows.RatedAsset, as_json, as_csv, parquet, empty="no asset that anybody rated")
            return
        scored = questions.top(opened.engine, _of_whom(opened, asked), limit=limit, after_asset_id=after)
    empty = "no asset with a judge's score: a judge scores none yet, or none fits"
    _answer(scored, rows.AssetSummary, as_json, as_csv, parquet, empty=empty, short=_SHORT)


def changed(
    config: ConfigOption = None,
    overrides: SetOption = None,
    limit: LimitOption = 10,
    user: UserOption = None,
    night: NightOption = None,
    day: DayOption = None,
    model: ModelOption = None,
    segment: SegmentOption = None,
    live: LiveOption = False,
    after: Annotated[
        str | None,
        typer.Option("--after", help="Night and new asset of the last row before, as 7:1234, for the next page."),
    ] = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    parquet: ParquetOption = None,
) -> None:
    """List the users whose picture became another one in a night, the largest shift of preference first."""
    from personalgen.catalogue import questions, rows

    asked = _filter(user, night, day, model, segment, live=live)
    last = None if after is None else _night_and_asset(after)
    with workspace(config, overrides, existing=True) as opened:
        found = questions.changed(opened.engine, _of_whom(opened, asked), limit=limit, after=last)
    _answer(found, rows.ChangedUser, as_json, as_csv, parquet, empty="nobody whose picture changed")


def similar(
    config: ConfigOption = None,
    overrides: SetOption = None,
    limit: LimitOption = 10,
    user: Annotated[str | None, typer.Option("--user", help="Whose preference is like this user's.")] = None,
    asset: Annotated[
        int | None, typer.Option("--asset", min=1, max=MAX_ID, help="Or like the one this asset was made from.")
    ] = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    parquet: ParquetOption = None,
) -> None:
    """List the users whose present preference is nearest to a user's or an asset's, with their assets."""
    from personalgen.catalogue import rows
    from personalgen.steps import user_named
    from personalgen.steps.alike import similar_users

    with workspace(config, overrides, existing=True) as opened:
        named = None if user is None else user_named(opened, user)
        found = similar_users(opened, user_id=named, asset_id=asset, limit=limit)
    _answer(found, rows.SimilarUser, as_json, as_csv, parquet, empty="nobody else has an asset of this model")


def stats(
    config: ConfigOption = None,
    overrides: SetOption = None,
    limit: LimitOption = 100,
    by: Annotated[
        list[str] | None, typer.Option("--by", help="day, model or segment; may be repeated. Without: by day.")
    ] = None,
    night: NightOption = None,
    day: DayOption = None,
    model: ModelOption = None,
    segment: SegmentOption = None,
    since: Annotated[str | None, typer.Option("--since", help="First day, as 2026-03-01.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Last day.")] = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    parquet: ParquetOption = None,
) -> None:
    """Sum up what was made: images, users, changed users, bytes and the mean score, by day, model or segment."""
    from personalgen.catalogue import daily, rows

    groups = daily.groups(by or ["day"])
    asked = _filter(None, night, day, model, segment, live=False)
    with workspace(config, overrides, existing=True) as opened:
        found = daily.stats(
            opened.engine, asked, by=groups, since=_day("--since", since), until=_day("--until", until), limit=limit
        )
    _answer(found, rows.DailyFigures, as_json, as_csv, parquet, empty="nothing was made in these days")


def _filter(
    user: str | None, night: int | None, day: str | None, model: int | None, segment: str | None, *, live: bool
) -> "AssetFilter":
    """Return what options limit a question to."""
    from personalgen.catalogue.scopes import AssetFilter

    return AssetFilter(
        user_id=user, night_id=night, day=_day("--day", day), model_version=model, segment=segment, live_only=live
    )


def _of_whom(opened: "Workspace", asked: "AssetFilter") -> "AssetFilter":
    """Return the question with the canonical id of the user whom it names.

    Raises:
        NotFoundError: the catalogue knows no such user.
    """
    from personalgen.catalogue.read import user_key
    from personalgen.steps import user_named

    if asked.user_id is None:
        return asked
    named = user_named(opened, asked.user_id)
    user_key(opened.engine, named)
    return replace(asked, user_id=named)


def _night_and_asset(text: str) -> tuple[int, int]:
    night, _, asset = text.partition(":")
    if not (_is_id(night) and _is_id(asset)):
        raise ConfigError(f"--after takes a night and an asset, as 7:1234, not {text!r}. Nothing was asked.")
    return int(night), int(asset)


def _is_id(text: str) -> bool:
    return text.isdecimal() and len(text) <= len(str(MAX_ID)) and int(text) <= MAX_ID


def _day(option: str, text: str | None) -> date | None:
    """Return the day that a text names.

    Raises:
        ConfigError: the text is no day.
    """
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{option} {text!r} is no day, such as 2026-03-01. Nothing was asked.") from None


def _answer(
    found: Sequence[Any],
    row_type: Any,
    as_json: bool,
    as_csv: bool,
    parquet: Path | None,
    *,
    empty: str,
    short: Sequence[str] = (),
) -> None:
    """Print rows of one type, all columns but on a terminal; or write them to a Parquet file and say so."""
    from personalgen.steps.assets import write_rows

    names = [field.name for field in fields(row_type)]
    if parquet is not None:
        write_rows(parquet, found, row_type)
        typer.echo(f"{counted(len(found), 'row')} written to {parquet}")
        return
    told = names if as_json or as_csv or not short else short
    lines = [{name: row[name] for name in told} for row in map(asdict, found)]
    show(lines, as_json=as_json, as_csv=as_csv, empty=empty, names=names)
