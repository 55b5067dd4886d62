"""A training that diverges, and checkpoints that are damaged: users get their images, and a person is told."""

import json
import logging

import pytest

from personalgen.errors import TrainingError
from personalgen.training.checkpoints import BEFORE, CHECKPOINT, DAMAGED, newest_whole, seen_images

pytestmark = pytest.mark.timeout(600, func_only=True)

DIVERGES = ("train.learning_rate=1e25", "train.max_rollbacks=1")


def test_a_first_night_whose_training_diverges_fails(new_home, plain_nightly):
    """Nothing is live that could draw: the night fails, says what to do, and nothing is registered or live."""
    home = new_home()
    with pytest.raises(TrainingError, match="not finite before image"):
        plain_nightly(home.workspace(*DIVERGES))
    assert home.ask("select status from night") == [{"status": "failed"}]
    assert home.ask("select * from model_version") == home.ask("select * from live_release") == []
    assert {run["status"] for run in home.state().tracking["runs"]} == {"FINISHED", "FAILED"}


@pytest.fixture(scope="module")
def diverged(after_first_night, plain_nightly):
    """A home whose second night diverges: the release before, what the night told, and the aliases after it."""
    home = after_first_night()
    before = home.ask("select * from live_release")
    from personalgen.worlds import ShapesWorld, add_days

    options = home.workspace().settings.world.history
    add_days(ShapesWorld(128), home.world / "history.db", options, active_share=0.5)
    told = plain_nightly(home.workspace(*DIVERGES, "generation.min_shift=0.05"))
    return home, before, told, home.workspace().registry.aliases()


def test_a_training_that_diverges_costs_no_user_an_image(diverged):
    """The night ends well: what was live draws for those who changed, nothing is registered, the alias stays."""
    home, before, told, aliases = diverged
    assert home.ask("select status from night where night_id < 3") == [{"status": "done"}, {"status": "done"}]
    assert told["users_changed"] > 0
    assert told["images_made"] == told["users_changed"] + told["users_new"]
    assert home.ask("select * from live_release") == before
    assert len(home.ask("select * from model_version where night_id < 3")) == 1
    assert aliases == {"champion": 1}
    assert (told["promoted"], told["live_version"]) == (False, 1)


def test_a_training_that_diverges_is_told(diverged):
    """The gate's word in the summary, and the tags of the training's run, say what happened and what to do."""
    home, _, told, _ = diverged
    assert "no challenger: nothing was trained tonight: " in told["gate"]
    assert "not finite before image" in told["gate"]
    assert "lower train.learning_rate" in told["gate"]
    tags = home.state().tracking["tags"]
    assert [row["value"] for row in tags if row["key"] == "training"].count("diverged") == 1


def test_the_night_after_a_divergence_trains_again(diverged, plain_nightly):
    """With the settings of before, training starts from the champion as if nothing had been."""
    home, *_ = diverged
    told = plain_nightly(home.workspace())
    assert told["before_is"] == "champion"
    assert [row["version"] for row in home.ask("select version from model_version order by version")] == [1, 2]


# --- damaged checkpoints ----------------------------------------------------------------------------------------------


def flip(path):
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path):
    """Leave the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    """Leave nothing of a file but its name."""
    path.write_bytes(b"")


@pytest.fixture
def told(caplog):
    """What the checkpoints' logger says, also where Prefect keeps its lines from the root's handlers."""
    logger = logging.getLogger("personalgen.training.checkpoints")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


class Killed(BaseException):
    """Ends a training where an exception handler for errors would not stop it."""


@pytest.fixture(scope="module")
def cut_short(new_home, plain_nightly):
    """A function that makes a home whose night died in training, behind two checkpoints."""
    died = new_home(own_world=True)

    def progress(stage, done, _total, _note=""):
        if stage == "train" and done >= 48:
            raise Killed

    workspace = died.workspace(progress=progress)
    with pytest.raises(Killed):
        plain_nightly(workspace)
    workspace.close()

    def make():
        home = died.copied()
        (folder,) = (home.path / "data" / "nights").glob("*/train")
        return home, folder

    return make


@pytest.mark.parametrize("damage", [flip, cut, empty])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(first_night, cut_short, plain_nightly, told, damage):
    """Said aloud, kept to be looked at, and the night ends with the weights of one that nothing happened to."""
    home, folder = cut_short()
    damage(folder / CHECKPOINT)
    plain_nightly(home.workspace())
    assert "the training goes on from the checkpoint before it" in told.text
    assert (folder / (CHECKPOINT + DAMAGED)).is_file()
    assert weights(home) == weights(first_night.home)


def test_two_damaged_checkpoints_begin_anew(first_night, cut_short, plain_nightly, told):
    """With none to go back to the training starts over, says so, and comes to the same weights."""
    home, folder = cut_short()
    flip(folder / CHECKPOINT)
    flip(folder / BEFORE)
    assert newest_whole(folder) is None
    assert seen_images(folder) == 0
    plain_nightly(home.workspace())
    assert "the training begins anew" in told.text
    assert weights(home) == weights(first_night.home)


def weights(home):
    """Return the digest of the first version's weights."""
    return home.ask("select generator_sha256 from model_version where version = 1")


def test_a_result_of_a_stage_that_is_damaged_is_named(cut_short, no_graphs, monkeypatch):
    """A stage's small result that is no JSON stops the night with the file's name and what to do."""
    monkeypatch.setattr("flows.nightly.embed.retry_delay_seconds", [0, 0])
    home, folder = cut_short()
    (folder.parent / "embed.json").write_text('{"train_basis": ')
    told = home.tell("nightly")
    assert told.code == 1
    assert f"{folder.parent / 'embed.json'} is not valid JSON" in told.err
    assert "Delete it and rerun" in told.err
    (folder.parent / "embed.json").unlink()
    told = home.tell("nightly", "--json")
    assert json.loads(told.out)["promoted"]
