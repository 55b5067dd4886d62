"""Nights on which too little is new to train: what they do, what they leave out, and how training is asked for."""

import json
from dataclasses import dataclass

import pytest

from personalgen.errors import NotFoundError
from personalgen.steps import Trained, stage_result, train, trained_tonight
from personalgen.steps.models import newest_night
from personalgen.steps.night import from_json
from personalgen.worlds import ShapesWorld, add_days

pytestmark = pytest.mark.timeout(110, func_only=True)  # the nights run once, while the first test is set up

RULE = "retrain.min_new_likes=100000"


@dataclass(frozen=True)
class Scene:
    """A home after a skipped night: what that told and made, and what was registered and decided before and after."""

    home: object
    told: dict
    before: dict
    after: dict
    made: list


def registered(home):
    """Return versions, decisions and aliases."""
    versions = home.workspace().registry.list_versions()
    return {
        "versions": [each.version for each in versions],
        "aliases": home.workspace().registry.aliases(),
        "decisions": home.ask("select action, to_model_version_id from model_promotion order by promotion_id"),
    }


def let_days_pass(home, days=1):
    """Add simulated events of about a third of the users."""
    history = home.workspace().settings.world.history
    add_days(ShapesWorld(128), home.world / "history.db", history, active_share=0.3, days=days)


@pytest.fixture(scope="module")
def skipped(after_first_night, plain_nightly):
    """A night after the first one, with a day's events, under a rule that they do not reach."""
    home = after_first_night()
    let_days_pass(home)
    before = registered(home)
    told = plain_nightly(home.workspace(RULE, "generation.min_shift=0.05"))
    return Scene(home, told, before, registered(home), home.ask("select * from v_assets where night_id = 2"))


@pytest.fixture(scope="module")
def forced(skipped):
    """The same night after `train --force` and the stages behind it, by hand."""
    home, overrides = skipped.home, (RULE, "generation.min_shift=0.05")
    told = [home.tell(*verb, "--json", overrides=overrides) for verb in (("train", "--force"), ("evaluate",))]
    told += [home.tell(verb, "--json", overrides=overrides) for verb in ("promote", "generate")]
    return told


@pytest.fixture(scope="module")
def still_skipped(after_first_night, plain_nightly):
    """Another home after a skipped night, which nobody forces."""
    home = after_first_night()
    let_days_pass(home)
    plain_nightly(home.workspace(RULE))
    return home


def test_a_skipped_night_tells_why(skipped):
    """The reason, with the figure and the value it did not reach, is in the summary and among the stage's results."""
    assert skipped.told["trained"] is False
    assert "new likes of training people, retrain.min_new_likes is 100,000" in skipped.told["training"]
    assert skipped.told["gate"] == f"no challenger: nothing was trained tonight: {skipped.told['training']}"


def test_a_skipped_night_registers_and_decides_nothing(skipped):
    """Versions, aliases and decisions are those of before; the live model stays."""
    assert skipped.after == skipped.before
    assert skipped.before["versions"] == [1]
    assert (skipped.told["live_version"], skipped.told["promoted"], skipped.told["version"]) == (1, False, 0)
    assert skipped.told["kid"] is None


def test_a_skipped_night_draws_with_the_live_model(skipped):
    """Whoever changed has a new image of it; nobody is new to it."""
    assert {row["model_version"] for row in skipped.made} == {1}
    assert skipped.told["images_made"] == skipped.told["users_changed"] > 0


def test_training_that_is_asked_for_is_done(skipped, forced):
    """`train --force` trains the night that skipped it, and the stages behind it run again, with a challenger."""
    assert [one.code for one in forced] == [0, 0, 0, 0], forced
    trained, evaluated, decided, _ = (json.loads(one.out) for one in forced)
    assert (trained["skipped"], trained["because"]) == (False, "it was asked for")
    assert evaluated["before_is"] == "champion"
    assert not decided["reasons"][0].startswith("no challenger")
    (model,) = skipped.home.ask("select version from model_version where night_id = 2")
    (row,) = skipped.home.ask("select action from model_promotion where night_id = 2")
    assert model["version"] == 2
    assert row["action"] in {"promote", "hold"}


def test_a_night_that_trained_trains_once(skipped, forced):
    """Asking again finds the stored result: only a skipped training is put aside."""
    workspace = skipped.home.workspace(RULE, "generation.min_shift=0.05")
    night, embedded = newest_night(workspace)
    stored = (night.path / "train.json").read_bytes()
    assert train(workspace, night, embedded, asked=True) == from_json(Trained, json.loads(stored))
    assert (night.path / "train.json").read_bytes() == stored


def test_enough_news_trains_again(skipped, forced, plain_nightly):
    """A later night whose rule is reached trains by itself, and says by what."""
    let_days_pass(skipped.home)
    told = plain_nightly(skipped.home.workspace("retrain.min_new_likes=5", "train.seed=0"))
    assert told["trained"] is True
    assert "new likes of training people, retrain.min_new_likes is 5" in told["training"]


def test_other_settings_train_at_once(skipped, forced, plain_nightly):
    """A champion that was trained with other settings is not stayed with, however little is new."""
    told = plain_nightly(skipped.home.workspace(RULE, "train.seed=5"))
    assert told["trained"] is True
    assert told["training"].endswith("was trained with other settings")


def test_what_needs_tonights_generator_says_that_there_is_none(still_skipped):
    """A snapshot of a skipped night is refused in one line that names the way out; nothing is written."""
    night, _ = newest_night(still_skipped.workspace(RULE))
    assert stage_result(night, Trained).skipped
    with pytest.raises(NotFoundError, match="train --force"):
        trained_tonight(night)
    out = still_skipped.path / "snapshot"
    told = still_skipped.tell("models", "snapshot", str(out), overrides=(RULE,))
    assert (told.code, out.exists()) == (2, False)
    assert "trained nothing" in told.err
