"""What the commands for other nights refuse before anything starts, and how a day is told."""

import pytest

from personalgen.cli import main
from personalgen.cli.other_nights import day_text


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--from", "tomorrow", "--to", "2026-09-01"], "--from 'tomorrow' is no day"),
        (["--from", "2026-09-01", "--to", "2026-13-01"], "--to '2026-13-01' is no day"),
        (["--from", "2026-09-01", "--to", "2026-09-01"], "there is no catalogue"),
        (["--from", "2026-09-01", "--to", "2026-09-01", "--at", "noon"], "--at 'noon' is no time of day"),
    ],
)
def test_a_backfill_without_days_or_home_is_refused(tmp_path, capsys, options, told):
    """One line that names the option, and exit code 2; no catalogue is made."""
    assert main(["backfill", *options, "--set", f"home={tmp_path}"]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "data" / "catalogue.db").exists()


def test_only_generating_needs_a_home(tmp_path, capsys):
    """It draws by what is live, so that there is something."""
    assert main(["generate-only", "--set", f"home={tmp_path}"]) == 2
    assert "there is no catalogue" in capsys.readouterr().err


def test_nights_of_other_kinds_go_on_with_what_somebody_looked_at(tmp_path, capsys):
    """A refusal of the data tells everybody to run again with --accept; the settings refuse a wrong name."""
    for command in ("retrain", "generate-only"):
        assert main([command, "--accept", "items.colour", "--set", f"home={tmp_path}"]) == 2
        assert "accept holds 'items.colour'" in capsys.readouterr().err


def test_a_day_is_told_in_a_line():
    """What was made, and who had an image already."""
    facts = {"day": "2026-09-01", "model_name": "gan", "version": 3, "images_made": 1, "users_with_an_image": 2}
    assert day_text(facts | {"already_done": False}) == "2026-09-01  gan v3: 1 image made; 2 users had theirs"
    assert "done before, with 1 image;" in day_text(facts | {"already_done": True})
