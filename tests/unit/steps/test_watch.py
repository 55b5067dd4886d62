"""Whom a night tells how it ended."""

import json
from importlib import import_module

import pytest
from prefect.exceptions import TerminationSignal

from personalgen.config import build_settings
from personalgen.errors import BusyError, DataError
from personalgen.steps import Workspace, watched


@pytest.fixture
def workspace(tmp_path):
    return Workspace(build_settings({"home": str(tmp_path)}))


@pytest.fixture
def sent(monkeypatch):
    """The notices that were sent."""
    notices = []
    monkeypatch.setattr(import_module("personalgen.steps.watch"), "send", lambda notice, _: notices.append(notice))
    return notices


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (DataError("too many"), ["DataError"]),
        (ValueError(), ["ValueError"]),
        (KeyboardInterrupt(), []),
        (TerminationSignal(15), []),
        (SystemExit(1), []),
    ],
)
def test_a_night_that_failed_is_told_and_one_that_was_stopped_is_not(workspace, sent, error, told):
    """By Ctrl-C, by SIGTERM as `serve` is stopped, or by an exit; the journal has each of them."""
    with pytest.raises(type(error)), watched(workspace):
        raise error
    assert [notice.error for notice in sent] == told
    (file,) = (workspace.data / "logs").glob("*.jsonl")
    last = json.loads(file.read_text().splitlines()[-1])
    assert (last["level"], last["error"]) == ("error", type(error).__name__)


@pytest.mark.parametrize("on_success", [False, True])
def test_a_night_that_was_refused_never_began(tmp_path, sent, on_success):
    """The journal holds the refusal alone, and nobody is sent a word, whoever else holds the home."""
    workspace = Workspace(build_settings({"home": str(tmp_path), "notify": {"on_success": on_success}}))
    with workspace.only_night(is_night=False), pytest.raises(BusyError), watched(workspace):
        pytest.fail("the night began")
    (file,) = (workspace.data / "logs").glob("*.jsonl")
    (line,) = map(json.loads, file.read_text().splitlines())
    assert line["message"].startswith("night refused: another night is running")
    assert (line["level"], line["error"], sent) == ("warning", "BusyError", [])


def test_a_night_holds_the_home_while_it_is_watched(workspace, sent):
    """From before it began until it ended, and no longer."""
    with watched(workspace):
        assert workspace.is_busy
    assert not workspace.is_busy
    (file,) = (workspace.data / "logs").glob("*.jsonl")
    assert [json.loads(line)["message"] for line in file.read_text().splitlines()] == ["night began", "night ended"]
