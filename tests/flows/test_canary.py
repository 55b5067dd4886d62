"""A canary between gate and release: drawn for some, seen by nobody, compared in pairs, and held or gone on from."""

import importlib
import json
from dataclasses import dataclass

import pytest

from personalgen.registry.promotion import Verdict
from personalgen.steps.models import roll_back
from personalgen.worlds import ShapesWorld, add_days

pytestmark = pytest.mark.timeout(110, func_only=True)  # the nights run once, while the first test is set up

SHARE = "gate.canary_share=0.7"
FILTER = f"{__name__}:refuses_bright"
PROMOTED = Verdict(promote=True, reasons=("a test said so",))
CURRENT = """select user_id, version from user_current join "user" using (user_key)
             join model_version using (generator_digest)"""


@dataclass(frozen=True)
class Scene:
    """What a night told and left."""

    told: dict
    home: object
    versions: dict
    aliases: dict
    current: list
    assets: list
    decision: dict


@pytest.fixture(scope="module")
def run_night(plain_nightly):
    """Return a function that runs a night whose gate promotes, and whose canary's verdict may be given."""

    def run(home, *overrides, verdict=None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(importlib.import_module("personalgen.steps.promote"), "gate", lambda *_: PROMOTED)
            if verdict is not None:
                module = importlib.import_module("personalgen.steps.canary")
                patch.setattr(module, "decide_canary", lambda figures: verdict)
            told = plain_nightly(home.workspace(*overrides))
        registry = home.workspace().registry
        return Scene(
            told,
            home,
            {each.version: dict(each.tags) for each in registry.list_versions()},
            registry.aliases(),
            home.ask(CURRENT),
            home.ask("select * from v_assets"),
            home.ask("select * from model_promotion order by promotion_id")[-1],
        )

    return run


@pytest.fixture(scope="module")
def first(new_home, run_night):
    """The first night, with a canary asked for: nothing is live to compare with."""
    return run_night(new_home(own_world=True), SHARE)


@pytest.fixture(scope="module")
def held(first, run_night):
    """A night whose challenger passed the gate and is held by its canary."""
    home = first.home
    add_days(ShapesWorld(128), home.world / "history.db", home.workspace().settings.world.history, active_share=0.3)
    return run_night(home, SHARE, verdict=Verdict(promote=False, reasons=("canary of some: worse",)))


@pytest.fixture(scope="module")
def passed(held, run_night):
    """The same night with another seed, whose challenger passes."""
    verdict = Verdict(promote=True, reasons=("canary of some: fine",))
    return run_night(held.home, SHARE, "train.seed=8", verdict=verdict)


@pytest.fixture(scope="module")
def rolled_back(passed):
    """The way back from the version that passed, and the aliases after it."""
    workspace = passed.home.workspace()
    moved = roll_back(workspace, None, reason="worse all the same", actor="tester")
    return moved, workspace.registry.aliases()


@pytest.fixture(scope="module")
def filtered(passed, rolled_back, run_night):
    """A night under a safety filter, whose canary decides by itself."""
    return run_night(passed.home, SHARE, "train.seed=9", f"safety.filter={FILTER}", "safety.threshold=0.99")


def test_the_first_night_has_no_canary(first):
    """Nothing is live to compare with: the reason says so, and everybody is drawn for."""
    assert first.told["promoted"] is True
    assert first.told["gate"].endswith("no canary: nothing is live to compare with")
    assert {row["model_version"] for row in first.assets} == {1}


def test_a_held_canary_is_seen_by_nobody(first, held):
    """Its images are catalogued for some users, no user's current image is one of them, and the champion stays."""
    new = [row for row in held.assets if row["model_version"] == 2]
    users = {row["user_id"] for row in first.assets}
    assert 0.5 < len({row["user_id"] for row in new}) / len(users) < 0.9
    assert {row["is_live"] for row in new} == {0}
    assert {row["version"] for row in held.current} == {1}
    assert (held.told["promoted"], held.told["live_version"]) == (False, 1)
    assert held.aliases == {"champion": 1, "challenger": 2}


def test_a_held_canary_leaves_its_reason_everywhere(held):
    """Summary, history and the version's tags tell the verdict; the figures stand in history and tags."""
    assert held.told["gate"] == "a test said so; canary of some: worse"
    assert (held.decision["action"], held.decision["reason"]) == ("hold", held.told["gate"])
    tags = held.versions[2]
    assert (tags["gate"], tags["canary"]) == ("held", "held")
    assert json.loads(tags["gate_reasons"]) == ["a test said so", "canary of some: worse"]
    figures = json.loads(tags["canary_figures"])
    assert figures == json.loads(held.decision["verdict"])["canary"]
    assert {"n_users", "n_judged", "fit_diff", "fit_low", "fit_high", "between_diff"} <= figures.keys()
    assert 8 <= figures["n_judged"] < figures["n_users"]


def test_users_of_a_held_night_get_images_of_the_champion(held):
    """The rest of the night is the champion's: whoever changed has a new image of it."""
    made = [row for row in held.assets if row["night_id"] == 2 and row["model_version"] == 1]
    assert len(made) == held.told["users_changed"] > 0


def test_a_canary_that_passed_is_not_drawn_again(passed):
    """Every user has one image of the new model, the canary's among them, and all see theirs."""
    new = [row for row in passed.assets if row["model_version"] == 3]
    assert (passed.told["promoted"], passed.told["live_version"]) == (True, 3)
    assert len({row["user_id"] for row in new}) == len(new)
    assert {row["is_live"] for row in new} == {1}
    assert passed.told["users_new"] == len(new)
    assert passed.told["images_made"] == len(new)
    assert "canary of some: fine" in passed.decision["reason"]
    assert passed.versions[3]["canary"] == "passed"
    assert passed.aliases == {"champion": 3}


def test_a_bad_promotion_is_rolled_back_by_one_command(passed, rolled_back):
    """The way back after a canary that was wrong: the champion of before is live for all, and nobody is challenger."""
    moved, aliases = rolled_back
    assert (moved.live_version, moved.n_without) == (1, 0)
    assert aliases == {"champion": 1}


def test_what_a_filter_refuses_is_compared(filtered):
    """Without a steered verdict: the share of refused pictures has an interval, and the reasons tell of the canary."""
    figures = json.loads(filtered.decision["verdict"])["canary"]
    assert figures["refused_low"] <= figures["refused_diff"] <= figures["refused_high"]
    assert "the share of refused pictures" in filtered.told["gate"]


class Bright:
    """Refuses pictures whose mean is high."""

    name, version = "bright", "1"

    def __call__(self, images):
        return images.reshape(len(images), -1).mean(axis=1) / 255


def refuses_bright():
    """Return the filter."""
    return Bright()
