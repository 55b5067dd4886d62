"""What people may like next, and who and what is alike."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

import typer

from personalgen.cli.terminal import ConfigOption, CsvOption, JsonOption, LimitOption, SetOption, show, workspace

recommendations = typer.Typer(no_args_is_help=True)

_NOBODY = (
    "nobody has one before the first night that recommends, nor who likes nothing yet, opted out, is not listed by the "
    "source or was forgotten"
)


@recommendations.command("for")
def for_user(
    user: str,
    config: ConfigOption = None,
    overrides: SetOption = None,
    limit: LimitOption = 10,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """List what USER may like next, the best first."""
    from personalgen.catalogue import read, rows
    from personalgen.steps.own_identity import user_named

    with workspace(config, overrides, existing=True) as opened:
        found = read.recommendations(opened.engine, user_named(opened, user), limit=limit)
    empty = f"no recommendation for user {user!r}: {_NOBODY}"
    show_rows(found, rows.Recommendation, as_json=as_json, as_csv=as_csv, empty=empty)


@recommendations.command()
def like_user(
    user: str,
    config: ConfigOption = None,
    overrides: SetOption = None,
    limit: LimitOption = 10,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """List the users whose taste is like USER's, the nearest first."""
    from personalgen.catalogue import read, rows
    from personalgen.steps.own_identity import user_named

    with workspace(config, overrides, existing=True) as opened:
        found = read.users_like(opened.engine, user_named(opened, user), limit=limit)
    empty = f"no neighbour of user {user!r}: {_NOBODY}"
    show_rows(found, rows.UserNeighbour, as_json=as_json, as_csv=as_csv, empty=empty)


@recommendations.command()
def like_item(
    item: str,
    config: ConfigOption = None,
    overrides: SetOption = None,
    limit: LimitOption = 10,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """List the items that are liked like ITEM, the nearest first."""
    from personalgen.catalogue import read, rows

    with workspace(config, overrides, existing=True) as opened:
        found = read.items_like(opened.engine, item, limit=limit)
    empty = f"no neighbour of item {item!r}: none has one before the first night that recommends, nor what nobody liked"
    show_rows(found, rows.ItemNeighbour, as_json=as_json, as_csv=as_csv, empty=empty)


def show_rows(found: Sequence[Any], row_type: Any, *, as_json: bool, as_csv: bool, empty: str) -> None:
    """Print rows of one type; a CSV has its header also without any."""
    names = [field.name for field in fields(row_type)]
    show([asdict(row) for row in found], as_json=as_json, as_csv=as_csv, empty=empty, names=names)
