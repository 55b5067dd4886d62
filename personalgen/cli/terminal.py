"""What commands share: options, the workspace, progress on a terminal or in a log, output as table, JSON or CSV."""

import csv
import io
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personalgen.bounds import MAX_INTEGER
from personalgen.errors import ConfigError, NotFoundError

if TYPE_CHECKING:
    from personalgen.steps import Workspace

_FORMS = "personalgen.forms"
"""Of a command's context: how many forms of output were asked for."""

ConfigOption = Annotated[Path | None, typer.Option("--config", help="TOML file with settings.", show_default=False)]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="key=value; wins over the file.", show_default=False)
]
AsOfOption = Annotated[str | None, typer.Option("--as-of", help="Read events before this instant (ISO 8601, UTC).")]


def _one_form(context: typer.Context, value: bool) -> bool:
    """Return whether a form of output is asked for.

    Raises:
        ConfigError: the other one is, too.
    """
    context.meta[_FORMS] = context.meta.get(_FORMS, 0) + value
    if context.meta[_FORMS] > 1:
        raise ConfigError("--json and --csv exclude each other: name one of them. Nothing was asked.")
    return value


JsonOption = Annotated[bool, typer.Option("--json", callback=_one_form, help="Print JSON.")]
CsvOption = Annotated[bool, typer.Option("--csv", callback=_one_form, help="Print CSV.")]
AcceptOption = Annotated[
    list[str] | None,
    typer.Option("--accept", help="A failing check of the data that you looked at.", show_default=False),
]
LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, max=MAX_INTEGER, help="Most rows.")]
NightsOption = Annotated[
    int, typer.Option("--limit", "-n", min=1, max=MAX_INTEGER, help="How many nights, the newest ones.")
]

_LINE_EVERY_SEC = 10.0
_BAR_COLUMNS = 28


@contextmanager
def workspace(
    config: Path | None, overrides: Sequence[str] | None, *, quiet: bool = False, existing: bool = False
) -> "Iterator[Workspace]":
    """Yield the workspace of a config with a progress display on stderr.

    Raises:
        NotFoundError: `existing`, and there is no catalogue: a command that only reads makes none.
    """
    from personalgen.config import load_settings
    from personalgen.steps import Workspace

    settings = load_settings(config, overrides or ())
    display = Progress(live=sys.stderr.isatty())
    opened = Workspace(settings, progress=(lambda *_: None) if quiet else display.update)
    if existing and not opened.has_catalogue:
        raise no_catalogue(settings.root)
    try:
        yield opened
    finally:
        display.close()
        opened.close()


def no_catalogue(root: Path) -> NotFoundError:
    """Return what a command that only reads says of a home without a catalogue."""
    return NotFoundError(
        f"there is no catalogue in {root} yet: run `personalgen nightly`, or name another home with --set home=…. "
        "Nothing was made."
    )


def accepting(overrides: Sequence[str] | None, names: Sequence[str] | None) -> list[str]:
    """Return the overrides with one that accepts failing checks of the data, where some are named."""
    return [*(overrides or ()), *([f"health.accept={json.dumps(list(names))}"] if names else [])]


def parse_instant(text: str | None) -> datetime | None:
    """Return an aware UTC datetime of ISO 8601 text; one without a zone is UTC.

    Raises:
        ConfigError: the text is no date or time.
    """
    if text is None:
        return None
    try:
        parsed = datetime.fromisoformat(text)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ConfigError(
            f"--as-of {text!r} is no ISO 8601 instant, such as 2026-09-21T00:00. Nothing was started."
        ) from None


class Progress:
    """Rate and time left of long work: one rewritten line on a terminal, a plain line every ten seconds in a log."""

    def __init__(self, *, live: bool) -> None:
        self.live = live
        self._stage, self._began, self._printed = "", 0.0, 0.0

    def update(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Show that `done` of `total` (0: unknown) is finished, and what the stage adds to that."""
        now = time.monotonic()
        if stage != self._stage:
            self.close()
            self._stage, self._began, self._printed = stage, now, now
        finished = bool(total) and done >= total
        if not finished and now - self._printed < (0.1 if self.live else _LINE_EVERY_SEC):
            return
        self._printed = now
        line = " ".join(filter(None, [progress_line(stage, done, total, now - self._began), note]))
        sys.stderr.write(f"\r\033[K{line}" if self.live else f"{line}\n")
        sys.stderr.flush()

    def close(self) -> None:
        """End the current line."""
        if self._stage and self.live:
            sys.stderr.write("\n")
        self._stage = ""


def counted(count: int, noun: str) -> str:
    """Return how many there are of something: "1 image", "2,000 images"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def progress_line(stage: str, done: int, total: int, elapsed_sec: float) -> str:
    """Return one line: stage, bar, counts, rate and time left."""
    rate = done / elapsed_sec if elapsed_sec > 0 else 0.0
    if not total:
        return f"{stage:<14} {done:>9,}  {rate:,.0f}/s"
    filled = int(_BAR_COLUMNS * min(done / total, 1))
    minutes, seconds = divmod(round(max(total - done, 0) / rate) if rate else 0, 60)
    bar = "█" * filled + "·" * (_BAR_COLUMNS - filled)
    return f"{stage:<14} {bar} {done:>9,}/{total:,}  {rate:,.0f}/s  {minutes}:{seconds:02} left"


def show(
    rows: Sequence[Mapping[str, Any]],
    *,
    as_json: bool = False,
    as_csv: bool = False,
    empty: str = "nothing",
    names: Sequence[str] = (),
) -> None:
    """Print rows as JSON, CSV or a table; `names` are the columns of a CSV without rows."""
    if as_json:
        typer.echo(json.dumps(list(rows), ensure_ascii=False, indent=2, default=str))
    elif as_csv:
        typer.echo(to_csv(rows, names), nl=False)
    elif not rows:
        typer.echo(empty)
    else:
        typer.echo(to_table(rows))


def to_csv(rows: Sequence[Mapping[str, Any]], names: Sequence[str] = ()) -> str:
    """Return rows as CSV with a header, `names` where there is no row; nested values as JSON."""
    stream = io.StringIO()
    if rows or names:
        writer = csv.DictWriter(stream, list(rows[0]) if rows else names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _cell(value, cut=False) for key, value in row.items()} for row in rows)
    return stream.getvalue()


def to_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as aligned columns; long cells are cut."""
    names = list(rows[0])
    cells = [[_cell(row[name], cut=True) for name in names] for row in rows]
    widths = [max(len(name), *(len(line[k]) for line in cells)) for k, name in enumerate(names)]
    numeric = [all(isinstance(row[name], (int, float)) for row in rows) for name in names]
    lines = [names, *cells]
    return "\n".join(
        "  ".join(
            text.rjust(w) if n else text.ljust(w) for text, w, n in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    )


def _cell(value: Any, *, cut: bool) -> str:
    """Return a value as text."""
    if value is None:
        return ""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else str(value)
    if cut and isinstance(value, float):
        text = f"{value:.4g}"
    return f"{text[:59]}…" if cut and len(text) > 60 else text


def quiet_environment() -> None:
    """Set the switches that keep prefect and mlflow local and quiet; before their import."""
    switches = {
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
        "DO_NOT_TRACK": "1",
    }
    for name, value in switches.items():
        os.environ.setdefault(name, value)


def options_text(config: Path | None, overrides: Sequence[str] | None) -> str:
    """Return the options that make another command look at the same settings, as a shell would read them."""
    words = [*(("--config", str(config)) if config else ()), *(w for pair in overrides or () for w in ("--set", pair))]
    return "".join(f" {shlex.quote(word)}" for word in words)
