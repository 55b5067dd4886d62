import csv
import io
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from personalgen.cli import terminal
from personalgen.cli.terminal import (
    Progress,
    counted,
    options_text,
    parse_instant,
    progress_line,
    show,
    to_csv,
    to_table,
)
from personalgen.errors import ConfigError


@pytest.mark.parametrize(
    ("done", "elapsed_sec", "left"),
    [(50, 119.0, "1:59"), (50, 120.0, "2:00"), (50, 59.7, "1:00"), (50, 3600.0, "60:00"), (99, 99.0, "0:01")],
)
def test_time_left_is_minutes_and_seconds(done, elapsed_sec, left):
    """At half of the work as much time is left as has passed; 119 seconds are 1:59, and never 2:59 or 0:60."""
    assert progress_line("train", done, 100, elapsed_sec).endswith(f" {left} left")


def test_a_last_batch_beyond_the_total_leaves_no_negative_time():
    """4,032 of 4,000 images leave 0:00."""
    assert progress_line("train", 4032, 4000, 100.0).endswith(" 0:00 left")


def test_a_progress_line_says_stage_counts_and_rate():
    """Counts have thousands separators; a quarter of the work fills a quarter of the bar."""
    line = progress_line("generate", 25_000, 100_000, 10.0)
    assert line.startswith("generate")
    assert "25,000/100,000  2,500/s" in line
    assert (line.count("█"), line.count("·")) == (7, 21)


def test_work_without_a_known_end_has_no_bar():
    """Total 0 means unknown: count and rate only."""
    assert progress_line("read", 1500, 0, 3.0).split() == ["read", "1,500", "500/s"]


@pytest.mark.parametrize("done", [0, 10, 12])
def test_the_bar_survives_the_ends(done):
    """No time passed, nothing done, or more than expected: still one bar of the same length."""
    line = progress_line("x", done, 10, 0.0)
    assert line.count("█") + line.count("·") == 28
    assert line.endswith("0/s  0:00 left")


@pytest.fixture
def clock(monkeypatch):
    """Return a one-element list that holds the monotonic time."""
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_every_ten_seconds_and_one_at_the_end(clock, capsys):
    """Without a terminal nothing is rewritten: 26 seconds of work are two lines and the last."""
    progress = Progress(live=False)
    for second in range(26):
        clock[0] = float(second)
        progress.update("train", second, 25)
    progress.close()
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[2].split("/")[0] for line in lines] == ["10", "20", "25"]
    assert not any("\r" in line for line in lines)


def test_a_terminal_has_one_line_that_is_rewritten(clock, capsys):
    """Every update returns to the start of the line; a new stage begins a new one."""
    progress = Progress(live=True)
    for stage in ("train", "generate"):
        for step in range(3):
            clock[0] += 1
            progress.update(stage, step, 10)
    progress.close()
    lines = capsys.readouterr().err.split("\n")
    assert [line.count("\r") for line in lines] == [2, 2, 0]
    assert "train" in lines[0]
    assert "generate" in lines[1]


@pytest.mark.parametrize("live", [True, False])
def test_what_a_stage_adds_stands_at_the_end_of_its_line(clock, capsys, live):
    """A note follows the time left, and a line without one ends there."""
    progress = Progress(live=live)
    for done, note in ((0, ""), (50, "MFU 12%"), (100, "")):
        progress.update("train", done, 100, note)
        clock[0] += 11.0
    progress.close()
    lines = [line for line in capsys.readouterr().err.replace("\r\033[K", "\n").splitlines() if line]
    assert [line.rsplit("  ", 1)[1] for line in lines] == ["0:11 left MFU 12%", "0:00 left"]


def test_rates_are_those_of_the_stage(clock, capsys):
    """A stage that starts late is not slowed down by the time before it."""
    progress = Progress(live=False)
    progress.update("slow", 1, 2)
    clock[0] = 100.0
    progress.update("quick", 0, 20)
    clock[0] = 110.0
    progress.update("quick", 20, 20)
    assert "20/20  2/s" in capsys.readouterr().err


ROWS = [
    {"name": "Zoë", "count": 12, "share": 0.123456789, "note": None, "tags": ["a", "b"]},
    {"name": "a,b", "count": 1234567, "share": 1.0, "note": "x" * 61, "tags": []},
]


def test_tables_align_numbers_right_and_text_left():
    """Header and rows share columns; nothing stands for None, and long text is cut with a sign."""
    header, first, second = to_table(ROWS).splitlines()
    assert header.split() == ["name", "count", "share", "note", "tags"]
    assert first.startswith("Zoë        12  0.1235 ")
    assert second.startswith("a,b   1234567       1  " + "x" * 59 + "…")
    assert header.index("tags") == second.index("[]") == first.index('["a", "b"]')


def test_csv_reads_back_as_the_full_values():
    """Commas, None, nested values and every digit of a number survive; nothing is cut."""
    first, second = csv.DictReader(io.StringIO(to_csv(ROWS)))
    assert first == {"name": "Zoë", "count": "12", "share": "0.123456789", "note": "", "tags": '["a", "b"]'}
    assert (second["name"], second["note"]) == ("a,b", "x" * 61)


def test_csv_of_nothing_is_empty():
    """No rows give no header either, as their columns are unknown."""
    assert to_csv([]) == ""
    assert to_csv([], ["a", "b"]) == "a,b\n"


def test_show_prints_the_form_that_was_asked_for(capsys):
    """JSON parses back, CSV has its header, a table is for people, and nothing has a word of its own."""
    show(ROWS, as_json=True)
    assert json.loads(capsys.readouterr().out) == ROWS
    show(ROWS, as_csv=True)
    assert capsys.readouterr().out == to_csv(ROWS)
    show(ROWS)
    assert capsys.readouterr().out == to_table(ROWS) + "\n"
    show([], empty="no night yet")
    assert capsys.readouterr().out == "no night yet\n"
    show([], as_json=True)
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-09-21T01:02:03", datetime(2026, 9, 21, 1, 2, 3, tzinfo=UTC)),
        ("2026-09-21", datetime(2026, 9, 21, tzinfo=UTC)),
        ("2026-09-21T01:02:03+02:00", datetime(2026, 9, 20, 23, 2, 3, tzinfo=UTC)),
        ("2026-09-21T01:02:03Z", datetime(2026, 9, 21, 1, 2, 3, tzinfo=UTC)),
    ],
)
def test_instants_become_utc(text, instant):
    """Text without a zone is UTC already; another zone is converted, not relabelled."""
    parsed = parse_instant(text)
    assert parsed == instant
    assert parsed.utcoffset() == timedelta(0)
    assert instant.astimezone(timezone(timedelta(hours=5))) == parsed


def test_no_instant_is_none():
    """An option that was not given stays unknown."""
    assert parse_instant(None) is None


@pytest.mark.parametrize("text", ["yesterday", "21.09.2026", "", "2026-13-01"])
def test_what_is_no_instant_is_refused(text):
    """The message shows the text and an example."""
    with pytest.raises(ConfigError, match=r"--as-of '.*' is no ISO 8601 instant, such as 2026-09-21T00:00"):
        parse_instant(text)


@pytest.mark.parametrize(
    ("config", "overrides", "expected"),
    [
        (None, None, ""),
        (Path("shop.toml"), None, " --config shop.toml"),
        (
            Path("my shop.toml"),
            ["home=a b", "train.seed=3"],
            " --config 'my shop.toml' --set 'home=a b' --set train.seed=3",
        ),
    ],
)
def test_commands_to_try_carry_the_options_of_the_night(config, overrides, expected):
    """What is shown can be pasted into a shell and looks at the same home."""
    assert options_text(config, overrides) == expected


def test_counts_agree_with_their_noun():
    """One is singular; none and many are not, and have separators."""
    assert [counted(n, "image") for n in (0, 1, 2000)] == ["0 images", "1 image", "2,000 images"]
