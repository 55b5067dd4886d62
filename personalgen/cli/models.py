"""Model versions, and what users see."""

import getpass
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from personalgen.bounds import MAX_INTEGER
from personalgen.cli.terminal import (
    AsOfOption,
    ConfigOption,
    CsvOption,
    JsonOption,
    SetOption,
    counted,
    options_text,
    parse_instant,
    show,
    workspace,
)

models = typer.Typer(no_args_is_help=True)
VersionArgument = Annotated[int, typer.Argument(min=1, max=MAX_INTEGER)]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is kept for ever.")]


@models.command("list")
def list_models(
    config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False, as_csv: CsvOption = False
) -> None:
    """List model versions with what is live."""
    from personalgen.steps.models import list_versions

    with workspace(config, overrides, existing=True) as opened:
        show(
            list_versions(opened), as_json=as_json, as_csv=as_csv, empty="no model version yet: run personalgen nightly"
        )


@models.command()
def promote(
    version: VersionArgument, reason: ReasonOption, config: ConfigOption = None, overrides: SetOption = None
) -> None:
    """Make VERSION live whatever the gate said; its missing images are generated first."""
    from personalgen.steps.models import promote_version

    with workspace(config, overrides, existing=True) as opened, opened.only_night(is_night=False):
        moved = promote_version(opened, version, reason=reason, actor=getpass.getuser())
    was = "as before" if moved.before == version else f"was {_version(moved.before)}"
    typer.echo(
        f"v{moved.live_version} is live ({was}); {counted(moved.n_assets, 'image')} made first "
        f"from the preferences of {moved.day}"
        f"{_without(moved.n_without, version)}"
    )


@models.command()
def rollback(
    reason: ReasonOption,
    config: ConfigOption = None,
    overrides: SetOption = None,
    to: Annotated[
        int | None, typer.Option("--to", min=1, max=MAX_INTEGER, help="Version to go back to; default: the one before.")
    ] = None,
) -> None:
    """Make an earlier release live again, at once and without generating."""
    from personalgen.steps.models import roll_back

    with workspace(config, overrides, existing=True) as opened:
        moved = roll_back(opened, to, reason=reason, actor=getpass.getuser())
    typer.echo(
        f"v{moved.live_version} is live again (was {_version(moved.before)})"
        f"{_without(moved.n_without, moved.live_version)}"
    )


@models.command()
def history(
    config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False, as_csv: CsvOption = False
) -> None:
    """List every promotion, hold and rollback, newest first, with its reason."""
    from personalgen.catalogue import read

    with workspace(config, overrides, existing=True) as opened:
        keep = ("at", "action", "from_version", "to_version", "actor", "reason")
        rows = [{name: asdict(row)[name] for name in keep} for row in read.promotions(opened.engine)]
        show(rows, as_json=as_json, as_csv=as_csv, empty="no decision yet")


@models.command()
def export(version: VersionArgument, out: Path, config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Write VERSION as the ONNX file OUT, compared with torch first (extra `onnx`)."""
    from personalgen.steps.models import export_onnx

    with workspace(config, overrides, existing=True) as opened:
        exported = export_onnx(opened, version, out)
    typer.echo(
        f"{out}: v{version}, inputs {', '.join(exported.inputs)}; pixels differ from torch's by at most "
        f"{exported.difference:.1g} in [-1, 1]"
    )


@models.command()
def snapshot(out: Path, config: ConfigOption = None, overrides: SetOption = None, as_of: AsOfOption = None) -> None:
    """Write tonight's trained generator below OUT, for `snapshot = "OUT"` in another config."""
    from personalgen.steps import Trained, find_night
    from personalgen.steps.models import write_snapshot

    instant = parse_instant(as_of)
    with workspace(config, overrides, existing=True) as opened, opened.only_night(is_night=False):
        options = options_text(config, overrides)
        verbs = ("prepare", "embed", "train", f"models snapshot {shlex.quote(str(out))}")
        commands = [f"personalgen {verb}{options}" for verb in verbs]
        night = find_night(opened, as_of=instant, needs=(Trained,))
        card = write_snapshot(opened, night, out, commands=commands)
    typer.echo(f"{out}: {card.trained_kimg:,.0f} kimg, sha256 {card.generator_sha256[:12]}")


def _without(n_users: int, version: int) -> str:
    """Return what to do about users who have no image of the live model."""
    if not n_users:
        return ""
    how = f"`personalgen models promote {version} --reason …` draws them"
    return f"; {counted(n_users, 'user')} without an image of it: {how}"


def _version(version: int) -> str:
    return f"v{version}" if version else "nothing"
