"""An instant that is none is refused before anything is opened, whatever the command."""

import pytest

from personalgen.cli import main

AS_OF = ["--as-of", "yesterday"]


@pytest.mark.parametrize(
    "command",
    [
        *(["nightly"], ["retrain"], ["generate-only"], ["prepare"], ["recommend"], ["embed"], ["train"], ["sweep"]),
        *(["evaluate"], ["evaluate", "--vote"], ["promote"], ["canary"], ["generate"], ["score"]),
        *(["models", "snapshot", "out"], ["state", "build", "out"]),
    ],
    ids=" ".join,
)
def test_an_instant_that_is_none_leaves_nothing_behind(tmp_path, monkeypatch, capsys, command):
    """The message says that nothing was started, and nothing was made: neither a home nor Prefect's folder in it."""
    monkeypatch.chdir(tmp_path)
    assert main([*command, *AS_OF, "--set", f"home={tmp_path / 'empty'}"]) == 2
    assert "--as-of 'yesterday' is no ISO 8601 instant" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
