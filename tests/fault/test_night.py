"""A night that is killed anywhere and run again ends as if nothing had happened; two at once do not mix."""

import importlib
import os
import signal
import sys

import pytest

from benchmarks.agreement import LASTING, lasting_rows, registered
from personalgen.catalogue import release, scores, shards, write
from personalgen.errors import CatalogueError
from personalgen.registry.models import ModelRegistry
from personalgen.steps.night import STAGES
from tests import apart

pytestmark = pytest.mark.timeout(110, func_only=True)  # the nights themselves run once, while a test is set up

MIDDLES = (
    (write, "begin_night"),
    (ModelRegistry, "register"),
    (write, "register_model"),
    (shards, "commit_shard"),
    (release, "release"),
    (scores, "record_scores"),
    (ModelRegistry, "set_champion"),
)
"""Calls that leave something behind inside a stage: the night dies before the first and after the second of each."""


def killed_at(where, config, *overrides):
    """Run a night and kill its own process, with the signal that nobody can catch, at the call that is named."""
    commit, calls = shards.commit_shard, []

    def progress(stage, done, total, _note=""):
        sys.stdout.write(f"{stage} {done}\n")
        sys.stdout.flush()
        if where == stage and done >= 0.75 * total:
            os.kill(os.getpid(), signal.SIGKILL)

    def commit_once(*arguments, **options):
        calls.append(1)
        if where == "second shard" and len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return commit(*arguments, **options)

    shards.commit_shard = commit_once
    apart.plain_night(config, *overrides, progress=progress)


class Killed(BaseException):
    """Ends a night where an exception handler for errors would not stop it."""


@pytest.fixture(scope="module")
def kills():
    """The kills that happened, in order, as (what, when)."""
    return []


@pytest.fixture(scope="module")
def killed_everywhere(new_home, plain_nightly, kills):
    """A home whose night died inside every stage, before and after each result was stored, and was always run again."""
    home = new_home()
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in MIDDLES:
            patch.setattr(owner, name, deadly(getattr(owner, name), name, kills))
        for module in map(importlib.import_module, ("personalgen.steps.night", "personalgen.steps.prepare")):
            patch.setattr(module, "write_json", deadly_at_results(module.write_json, kills))
        while True:
            try:
                plain_nightly(home.workspace())
            except Killed:
                assert len(kills) < 100
            else:
                return home


def deadly(call, name, kills):
    """Return `call`, killing the night before it runs the first time and after it ran the second time."""

    def deadly_call(*arguments, **options):
        if (name, "before") not in kills:
            kills.append((name, "before"))
            raise Killed(name)
        result = call(*arguments, **options)
        if (name, "after") not in kills:
            kills.append((name, "after"))
            raise Killed(name)
        return result

    return deadly_call


def deadly_at_results(write_json, kills):
    """Return `write_json`, killing the night around each stage's result as `deadly` does."""

    def deadly_write(path, value):
        return (deadly(write_json, path.stem, kills) if path.stem in STAGES else write_json)(path, value)

    return deadly_write


@pytest.fixture(scope="module")
def killed_for_real(new_home, plain_nightly):
    """A home whose night was killed with SIGKILL in training and between sealing and cataloguing a shard; its lines."""
    home = new_home()
    told = [kill_night(home, where) for where in ("train", "second shard")]
    plain_nightly(home.workspace())
    return home, told


def kill_night(home, where):
    """Run a night in a process of its own that dies at `where`; return the progress it told."""
    options = home.options()
    done = apart.run(killed_at, where, options[1], *options[3::2], timeout=100)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    return done.stdout.splitlines()


def lasting(state):
    """Return what must not depend on how often a night was interrupted."""
    return lasting_rows(state.catalogue), {name: sha for name, sha in state.files.items() if name.startswith(LASTING)}


# --- killed -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", [*STAGES, *(name for _, name in MIDDLES)])
def test_the_night_died_before_and_after(killed_everywhere, kills, what):
    """Each stage's result, and each lasting call inside a stage, was hit from both sides."""
    assert {when for name, when in kills if name == what} == {"before", "after"}


@pytest.mark.parametrize("part", [0, 1], ids=["catalogue", "files"])
def test_a_night_killed_everywhere_ends_like_one_that_was_not(first_night, killed_everywhere, part):
    """The same rows under the same keys, the same images, weights and tables to the byte."""
    expected = lasting(first_night.state)[part]
    assert expected
    assert lasting(killed_everywhere.state())[part] == expected


def test_a_night_killed_everywhere_is_registered_once(first_night, killed_everywhere):
    """One model version, one logged model and one finished run per stage, however often they were begun."""
    assert registered(killed_everywhere.state().tracking) == registered(first_night.state.tracking)


def test_a_night_killed_everywhere_promotes_once(killed_everywhere, kills):
    """There is one promotion, and the night counts one attempt per kill and the last."""
    assert [row["action"] for row in killed_everywhere.ask("select action from model_promotion")] == ["promote"]
    (night,) = killed_everywhere.ask("select status, attempts from night")
    assert (night["status"], night["attempts"]) == ("done", len(kills))


def test_a_night_killed_everywhere_leaves_nothing_half_written(killed_everywhere):
    """No temporary file and no hidden folder outlives the night."""
    left = [p for p in killed_everywhere.path.rglob("*") if p.name.endswith(".tmp") or p.name.startswith(".prepare-")]
    assert left == []


@pytest.mark.parametrize("part", [0, 1], ids=["catalogue", "files"])
def test_a_night_killed_with_sigkill_ends_like_one_that_was_not(first_night, killed_for_real, part):
    """Killed by the kernel in training and in generation, the night ends with the same rows and bytes."""
    assert lasting(killed_for_real[0].state())[part] == lasting(first_night.state)[part]


def test_a_night_killed_with_sigkill_is_registered_once(first_night, killed_for_real):
    """Runs that the dead process left open are taken up and finished, none is made twice."""
    assert registered(killed_for_real[0].state().tracking) == registered(first_night.state.tracking)


def test_training_goes_on_from_its_checkpoint(killed_for_real):
    """After a kill at image 48, training goes on behind the checkpoint at 32 instead of at the start."""
    first, second = ([line for line in lines if line.startswith("train ")] for lines in killed_for_real[1])
    assert (first[0], first[-1]) == ("train 16", "train 48")
    assert (second[0], second[-1]) == ("train 48", "train 64")


def test_a_sealed_shard_is_not_drawn_again(killed_for_real):
    """Of the shards that the dead process had sealed, none got a second name."""
    home, told = killed_for_real
    assert [line for line in told[1] if line.startswith("generate ")] == ["generate 0", "generate 25"]
    assert [row["path"].rpartition("/")[2] for row in home.ask("select path from shard order by path")] == [
        "000000.tar", "000001.tar", "000002.tar", "000003.tar", "000004.tar",
    ]  # fmt: skip


# --- two at once ------------------------------------------------------------------------------------------------------


NIGHTS = ("nightly", "prepare", "train", "sweep --over train.seed=1", "evaluate", "generate")
NO_NIGHTS = (
    *("evaluate --vote", "models promote 1 --reason x", "models snapshot {out}", "nights delete 1 --reason x"),
    *("nights prune", "repair", "forget sim0-00001 --reason x"),
)


@pytest.mark.parametrize(
    ("command", "found"),
    [*((name, "another night") for name in NIGHTS), *((name, ": a night") for name in NO_NIGHTS)],
)
def test_a_second_night_in_the_same_home_refuses(first_night, command, found, tmp_path):
    """While a night holds the home, commands that would write wait for nobody: one clear line, nothing changed."""
    home, out = first_night.home, tmp_path / "snapshot"
    before = home.state()
    with home.workspace().only_night():
        told = home.tell(*command.format(out=out).split())
    assert told.code == CatalogueError.exit_code == 1
    message = told.err.splitlines()[-1]
    assert f"{found} is running in {home.path}" in message
    assert "Nothing was started" in message
    assert home.state() == before
    assert not out.exists()


def test_the_home_is_free_when_a_night_ends(first_night, plain_nightly):
    """The lock goes with its holder, also when that one fails."""
    workspace = first_night.home.workspace()
    with pytest.raises(Killed), workspace.only_night():
        raise Killed
    with workspace.only_night():
        pass


def test_questions_are_answered_during_a_night(first_night):
    """Reading needs no lock."""
    with first_night.home.workspace().only_night():
        assert first_night.home.tell("assets", "latest", "--json").code == 0
