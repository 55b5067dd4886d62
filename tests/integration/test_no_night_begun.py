"""Commands that ask for results of a night that nobody began: they say so, and begin none."""

import pytest

pytestmark = pytest.mark.timeout(110, func_only=True)


def there(home):
    """Return the nights, and the folders of their results and tables."""
    folders = {str(path) for name in ("nights", "prepared") for path in (home.path / "data" / name).glob("*")}
    return home.ask("select night_id, status, attempts from night"), folders


@pytest.mark.parametrize(
    ("command", "lacking"),
    [
        ("evaluate --vote --pairs 2", "evaluate"),
        ("evaluate --vote --pairs 2 --as-of 2024-01-01", "evaluate"),
        ("evaluate --as-of 2024-01-01", "embed"),
        ("train", "embed"),
        ("promote", "evaluate"),
        ("canary", "embed"),
        ("generate", "embed"),
        ("score", "generate"),
        ("models snapshot {out}", "train"),
    ],
)
def test_who_asks_for_a_result_that_is_not_there_begins_no_night(restored, tmp_path, command, lacking):
    """Under other settings, or of another instant: neither a row nor a folder, and status needs nobody."""
    before, out = there(restored), tmp_path / "snapshot"
    told = restored.tell(*command.format(out=out).split(), overrides=("train.seed=5",))
    assert told.code == 2
    assert f"{lacking} has not run yet for the night of 202" in told.err
    assert there(restored) == before
    assert not out.exists()
    assert "was cut off" not in restored.tell("status").out


@pytest.mark.parametrize("command", ["evaluate --vote", "train"])
def test_a_night_without_the_result_is_not_gone_on_with(restored, command):
    """It stands as it was left: no attempt more, nor running again."""
    restored.catalogue.change("update night set status = 'failed'")
    for name in ("embed", "evaluate"):
        next((restored.path / "data" / "nights").glob(f"*/{name}.json")).unlink()
    before = there(restored)
    assert restored.tell(*command.split()).code == 2
    assert there(restored) == before


def test_a_home_without_a_night_is_not_made(new_home):
    """Who would vote in it is told that there is nothing, and finds nothing made."""
    home = new_home(bare=True)
    home.path.rmdir()
    if home.catalogue.is_sqlite:
        assert home.tell("evaluate", "--vote").code == 2
        assert not home.path.exists()
