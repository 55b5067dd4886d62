"""Ratings of pictures come back: the next vectors of those who rated their own hear of it, and nothing else does."""

import json
import shutil

import numpy as np
import pytest

from personalgen.embeddings import load_basis, load_preferences
from personalgen.steps import Decided, Night, Recommended, embed, generate, stage_result
from personalgen.steps.embed import Embedded
from personalgen.steps.night import from_json
from personalgen.steps.preferences import HELD_BACK, TONIGHT, basis_folder
from personalgen.steps.train import training_job

pytestmark = pytest.mark.timeout(110, func_only=True)  # the night itself runs once, while a test is set up
OWN = (
    """select a.asset_id, u.user_id from asset a join "user" u using (user_key) where a.variant = 0 order by asset_id"""
)
EARLY, LATE = "2023-11-14T00:00:00", "2023-11-15T00:00:00"
"""Before and after the instant until which the night reads."""


@pytest.fixture(scope="module")
def home(new_home, plain_nightly):
    """Return a home after a night that scored nothing."""
    home = new_home()
    plain_nightly(home.workspace("score.images=none"))
    return home


@pytest.fixture(scope="module")
def night(home):
    """Return the night of the home."""
    (path,) = home.path.glob("data/nights/*/prepare.json")
    return from_json(Night, json.loads(path.read_text()))


def tables(home, night):
    """Return what the night knows of people tonight, and held back."""
    version = stage_result(night, Embedded).train_basis
    folder = basis_folder(night, version)
    return [load_preferences(folder / name) for name in (TONIGHT, HELD_BACK)], load_basis(folder)


@pytest.fixture(scope="module")
def rated(home, night, tmp_path_factory):
    """Return what is known before and after three people rated: the own picture, another's as an analyst, too late."""
    before, people = tables(home, night)[0], home.ask(OWN)
    (mine, theirs, late) = people[:3]
    rows = [
        (mine["asset_id"], 1.0, mine["user_id"], EARLY),
        (theirs["asset_id"], -1.0, "an analyst", EARLY),
        (late["asset_id"], 1.0, late["user_id"], LATE),
    ]
    file = tmp_path_factory.mktemp("ratings") / "ratings.csv"
    file.write_text("asset_id,rating,rater,at\n" + "".join(f"{a},{v},{r},{at}\n" for a, v, r, at in rows))
    told = home.tell("assets", "rate", "--file", str(file))
    assert (told.code, told.out) == (0, "3 ratings read, 3 new or changed\n"), told.err
    pairs = pairs_of(home, night)
    embedded_again(home, night)
    return mine, before, tables(home, night)[0], pairs


def pairs_of(home, night):
    """Return the digest of what the night trains on."""
    return training_job(home.workspace(), night, stage_result(night, Embedded), None).identity["pairs"]


def embedded_again(home, night, *settings):
    """Embed as if for the first time."""
    (night.path / "embed.json").unlink()
    shutil.rmtree(night.path / "embed")
    embed(home.workspace(*settings), night, stage_result(night, Recommended))


def test_a_rating_of_the_own_picture_moves_the_own_vector_alone(rated):
    """One person's vector moves and counts an event more; an analyst's rating and one after as_of move nobody's."""
    mine, (before, _), (after, _), _ = rated
    moved = np.flatnonzero(np.abs(after.vectors - before.vectors).max(axis=1) > 1e-4)
    assert [after.user_ids[k] for k in moved] == [mine["user_id"]]
    assert (after.n_events - before.n_events).sum() == after.n_events[moved[0]] - before.n_events[moved[0]] == 1
    assert mine["asset_id"] in [event.get("asset_id") for event in after.top_events[moved[0]]]


def test_evaluations_hear_no_rating(rated):
    """A picture was drawn knowing what is held out: what held-back people are told of is as before."""
    _, (_, before), (_, after), _ = rated
    assert (after.vectors == before.vectors).all()
    assert after.events_json == before.events_json


def test_no_generated_picture_is_trained_on(home, night, rated):
    """Pictures, conditions and pairs of the night's training are the same with and without ratings."""
    assert pairs_of(home, night) == rated[3]


def test_lineage_names_the_rating(home, night, rated):
    """The image that is drawn for the moved preference says that a rating of an asset stands behind it."""
    for name in ("generate.json", *(path.name for path in night.path.glob("plan-*"))):
        (night.path / name).unlink()
    mine = rated[0]
    generate(
        home.workspace("generation.min_shift=0.0"), night, stage_result(night, Embedded), stage_result(night, Decided)
    )
    (new,) = home.ask(
        f"select max(asset_id) as id from asset join \"user\" using (user_key) where user_id='{mine['user_id']}'"
    )
    assert new["id"] > mine["asset_id"]
    shown = home.tell("assets", "show", str(new["id"])).out
    assert f"rating of asset {mine['asset_id']}  (2023-11-14)" in shown


def test_a_weight_of_zero_leaves_ratings_out(home, night, rated):
    """With embeddings.ratings = 0 the vectors are those of before."""
    before = rated[1][0]
    embedded_again(home, night, "embeddings.ratings=0")
    found = tables(home, night)[0][0]
    embedded_again(home, night)
    assert (found.vectors == before.vectors).all()
    assert found.events_json == before.events_json


def test_faults_of_a_file_are_told_together(home, tmp_path):
    """Every bad row is named with its line; nothing is stored."""
    before = home.ask("select * from rating")
    file = tmp_path / "bad.csv"
    file.write_text("asset_id,rating,rater,at\n1,2,ada,\nx,1,ada,\n1,1,,\n1,1,ada,yesterday\n1,0.5,ada,\n")
    told = home.tell("assets", "rate", "--file", str(file))
    assert told.code == 2
    assert all(f"line {line}: " in told.err for line in (2, 3, 4, 5))
    assert "Nothing was stored" in told.err
    file.write_text("asset_id,stars\n1,2\n")
    assert "it lacks rating, rater, at" in home.tell("assets", "rate", "--file", str(file)).err
    assert home.tell("assets", "rate", "1").code == home.tell("assets", "rate", "1", "--rating", "3").code == 2
    assert home.ask("select * from rating") == before


def test_a_rating_at_the_terminal_is_the_raters(home, rated):
    """It is stored under the rater's name, as of now, and a second one replaces it."""
    for value in ("0.5", "-0.5"):
        told = home.tell("assets", "rate", "2", "--rating", value, "--rater", "vera")
        assert told.out == "1 rating read, 1 new or changed\n"
    rows = home.ask("select value, source from rating where rater = 'vera'")
    assert rows == [{"value": -0.5, "source": "terminal"}]


def test_a_file_that_excel_wrote_is_read(home, night, tmp_path):
    """A byte-order mark before the header does no harm."""
    file = tmp_path / "excel.csv"
    file.write_text("asset_id,rating,rater,at\n3,0.5,xenia,\n", encoding="utf-8-sig")
    told = home.tell("assets", "rate", "--file", str(file))
    assert (told.code, told.out) == (0, "1 rating read, 1 new or changed\n"), told.err
