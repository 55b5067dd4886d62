"""`personalgen status` of homes that are fine, that need a person, and that are not there."""

import fcntl
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(110, func_only=True)
ROOM = {"disk"}
"""A machine that runs tests may have a full disk."""


def status(home, *options):
    """Return the exit code, and what was told."""
    told = home.tell("status", "--json", *options)
    facts = json.loads(told.out)
    return told.code, facts, {need["what"] for need in facts["needs"]} - ROOM


def test_the_last_nights_and_what_is_live(restored):
    """The night of the home with its images, its decision and the verdict on its data; nothing is changed."""
    before = restored.state()
    _, facts, needed = status(restored)
    assert restored.state() == before
    nights = {night["night_id"]: night for night in facts["nights"]}
    assert (nights[1]["status"], nights[1]["outcome"]) == ("done", "promoted")
    assert [{"n": nights[1]["n_images"]}] == restored.ask("select count(*) as n from asset")
    assert nights[1]["health"] in {"ok", "warn"}
    assert nights[1]["sec"] > 0
    assert facts["live"].startswith("personalgen-gan v")
    assert (facts["is_running"], needed) == (False, set())


def test_it_is_read_without_the_heavy_packages(first_night):
    """A process of its own loads neither torch nor MLflow, Prefect, pandas or scipy."""
    code = (
        "import sys; from personalgen.cli import main; code = main(sys.argv[1:]); "
        "print([m for m in ('torch', 'mlflow', 'prefect', 'pandas', 'scipy') if m in sys.modules]); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, "status", *first_night.home.options()]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert ran.returncode in {0, 3}, ran.stderr
    assert ran.stdout.splitlines()[-1] == "[]"


def test_a_night_that_runs_is_seen(first_night):
    """By the lock that it holds; one that died holding nothing is cut off."""
    with (first_night.home.path / "data" / ".night.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert status(first_night.home)[1]["is_running"]
        assert "cut off" not in first_night.home.tell("status").out
    assert not status(first_night.home)[1]["is_running"]


def test_deep_asks_for_the_alias(restored):
    """It agrees with what is live; where somebody moved it, a person is needed."""
    assert status(restored, "--deep")[2] == set()


@pytest.fixture
def prepared(new_home):
    """A home whose only night was prepared and went no further."""
    home = new_home()
    assert home.tell("prepare").code == 0
    return home


def test_what_was_cut_off_needs_a_person(prepared):
    """Exit code 3, with the command that goes on; the page for people says the same."""
    code, facts, needed = status(prepared)
    assert (code, needed) == (3, {"night"})
    assert [night["status"] for night in facts["nights"]] == ["killed"]
    told = prepared.tell("status")
    assert told.code == 3
    (row,) = [line for line in told.out.splitlines() if line.startswith("2023-11")]
    assert " cut off " in row
    assert "running" not in row
    assert "was cut off: no process works on it. Do: personalgen nightly --as-of 2023-11" in told.out
    assert f"{shlex.join(prepared.options())} goes on with it" in told.out


def test_a_failed_night_and_a_lost_shard_need_a_person(restored):
    """Each is told beside the other."""
    restored.catalogue.change("update night set status = 'failed'")
    next((restored.path / "data" / "shards").rglob("*.tar")).unlink()
    code, _, needed = status(restored)
    assert (code, needed) == (3, {"night", "shards"})


def test_a_home_that_is_not_there_is_not_made(new_home):
    """It says so, and makes nothing."""
    home = new_home(bare=True)
    home.path.rmdir()
    told = home.tell("status")
    assert "no night yet: run personalgen nightly" in told.out
    assert not home.path.exists()
