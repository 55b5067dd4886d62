"""Nights that only generate, and nights that only train in full: what each does, and what it leaves alone.

The scenes build on each other in one home: a first night, one that generates, a retrain from scratch, a warm one.
"""

import json
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.generate_only import generate_only
from flows.nightly import nightly
from flows.retrain import retrain
from personalgen.errors import ConfigError
from personalgen.models import load_card
from personalgen.steps import Embedded, Trained, prepare, stage_result
from personalgen.steps.models import newest_night
from personalgen.worlds import ShapesWorld, add_days

pytestmark = pytest.mark.timeout(110, func_only=True)  # the nights themselves run once, while a test is set up

HELD = "gate.min_users=1000000"


def look(home):
    """Return what the scenes are judged by."""
    return {
        "versions": [row["version"] for row in home.ask("select version from model_version order by 1")],
        "decisions": [row["action"] for row in home.ask("select action from model_promotion order by promotion_id")],
        "live": home.ask("select * from live_release"),
        "current": {row["user_key"]: row["asset_id"] for row in home.ask("select * from user_current")},
        "aliases": home.workspace().registry.aliases(),
        "kinds": [row["kind"] for row in home.ask("select kind from v_runs order by night_id")],
    }


@pytest.fixture(scope="module")
def home(after_first_night):
    """A home after a first night, and a day in which half of its people did something."""
    home = after_first_night()
    add_days(ShapesWorld(128), home.world / "history.db", home.workspace().settings.world.history, active_share=0.5)
    return home


@pytest.fixture(scope="module")
def generated(home, plainly):
    """The night that only generates, twice, and what the command shows of it."""
    before = look(home)
    told = plainly(generate_only, home.workspace())
    after, state = look(home), home.state()
    again = plainly(generate_only, home.workspace())
    return SimpleNamespace(before=before, told=told, after=after, again=again, untouched=home.state() == state)


@pytest.fixture(scope="module")
def scratch(home, generated, plainly):
    """A retrain from scratch, of the same instant; the gate holds it."""
    before = look(home)
    told = plainly(retrain, home.workspace(HELD))
    return SimpleNamespace(before=before, told=told, after=look(home), night=newest_night(home.workspace())[0])


@pytest.fixture(scope="module")
def warm(home, scratch, plainly):
    """A retrain from what is live, of the same instant again."""
    told = plainly(retrain, home.workspace(HELD), warm=True)
    return SimpleNamespace(told=told, night=newest_night(home.workspace())[0], after=look(home))


def test_a_night_that_generates_draws_for_who_changed(generated):
    """Images of the live model for people who moved; everybody else keeps theirs."""
    moved = {key for key, asset in generated.after["current"].items() if generated.before["current"].get(key) != asset}
    assert generated.told["images_made"] == len(moved) == generated.told["users_changed"] > 0
    assert generated.told["users_unchanged"] == len(generated.before["current"]) - len(moved) > 0
    assert (generated.told["live_version"], generated.told["version"], generated.told["promoted"]) == (1, 1, False)


def test_a_night_that_generates_trains_and_decides_nothing(home, generated):
    """No version, no decision, no move of what is live; the stages of training have no result."""
    same = ("versions", "decisions", "live", "aliases")
    assert {name: generated.after[name] for name in same} == {name: generated.before[name] for name in same}
    assert generated.told["gate"] == "this night only generates: nothing was trained"
    (row,) = home.ask("select night_key from night where kind = 'generate'")
    folder = home.path / "data" / "nights" / row["night_key"][:16]
    there = {path.stem for path in folder.glob("*.json")}
    assert {"recommend", "embed", "promote", "generate", "report"} < there
    assert there.isdisjoint({"train", "evaluate", "register", "release"})
    assert Path(generated.told["report"]).is_file()


def test_the_same_generating_night_again_adds_nothing(generated):
    """As with any night."""
    assert generated.again["already_done"]
    assert generated.untouched


def test_each_kind_is_a_night_of_its_own(home, warm):
    """Nights of one instant differ by their kind, and the list tells which is which."""
    assert warm.after["kinds"] == ["nightly", "generate", "retrain", "retrain"]
    told = json.loads(home.tell("nights", "list", "--json").out)[-4:]  # another test's night may be newer
    assert [row["kind"] for row in told] == warm.after["kinds"][::-1]
    assert len({row["as_of"] for row in told[:3]}) == 1


def test_a_retrain_starts_from_nothing(scratch):
    """A basis and a net of its own, measured beside the champion, and held by the gate like any challenger."""
    embedded, trained = stage_result(scratch.night, Embedded), stage_result(scratch.night, Trained)
    assert (embedded.start, embedded.is_new_basis) == ("", True)
    assert embedded.live_basis not in {"", embedded.train_basis}
    facts = load_card(Path(trained.folder)).facts
    assert (facts["started_from"], trained.trained_kimg) == ("scratch", trained.kimg)
    assert scratch.after["versions"] == [1, 2]
    assert scratch.after["decisions"] == [*scratch.before["decisions"], "hold"]
    assert scratch.told["before_is"] == "champion"


def test_a_warm_retrain_starts_from_the_champion(home, warm):
    """In its basis, with the images that it has seen."""
    trained = stage_result(warm.night, Trained)
    (live,) = home.ask("select generator_sha256 from model_version where version = 1")
    facts = load_card(Path(trained.folder)).facts
    assert facts["started_from_sha256"] == live["generator_sha256"]
    assert trained.trained_kimg == 2 * trained.kimg


def test_a_night_after_other_kinds_goes_on_from_them(home, warm, plainly):
    """Their state is the newest; an instant before theirs is refused."""
    workspace = home.workspace(HELD)
    (row,) = home.ask("select max(as_of) as at from v_runs")
    add_days(ShapesWorld(128), home.world / "history.db", workspace.settings.world.history, active_share=0.2)
    assert plainly(nightly, workspace)["state"] == "updated"
    newest = newest_night(workspace)[0]
    with pytest.raises(ConfigError, match="give people back"):
        prepare(workspace, as_of=workspace.now().fromisoformat(newest.as_of) - timedelta(hours=30))
    assert row["at"] < newest.as_of.replace("T", " ")


def test_where_nothing_is_live_nothing_is_generated(new_home):
    """Before the first release there is no model to draw with: nothing is read."""
    with pytest.raises(ConfigError, match=r"(?s)nothing is live.*Nothing was read"):
        prepare(new_home().workspace(), kind="generate")
