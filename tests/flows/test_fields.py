"""Nights of models that are told other things: a champion of preferences, then behaviour and labels, then nothing."""

import io
import json
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from personalgen.embeddings import load_basis, load_preferences, picture_condition, preference_spec
from personalgen.embeddings.preference import fields_in
from personalgen.generation.options import OperatingPoint
from personalgen.generation.plan import condition_vector
from personalgen.generation.sampler import Sampler
from personalgen.models import TensorGenerator, load_card, load_generator
from personalgen.seeding import derive_seed
from personalgen.steps import Embedded, Evaluated, Generated, Reported, Trained
from personalgen.steps.assets import image_bytes
from personalgen.steps.embed import HELD_BACK, preferences_for, recommender_of, start_folder
from personalgen.steps.models import newest_night, promote_version
from personalgen.steps.night import Night, stage_result
from personalgen.worlds import ShapesWorld, add_days

pytestmark = pytest.mark.timeout(200, func_only=True)  # the nights run once, while the first test is set up

FIELDS = ["current", "behaviour", "dislikes", "expected", "collaborative", "interests", "confidence", "labels"]
TOLD = (f"condition.fields={FIELDS}", "condition.behaviour_events=3", "condition.interests=2")
AT_STRENGTH = (*TOLD, "generation.strengths.behaviour=1.5")
UNCONDITIONAL = ("condition.fields=[]",)
CURRENT = (
    'select user_key, user_id, asset_id, condition, generator_digest from user_current join "user" using (user_key)'
)
CHANGED = ("generation.min_shift=0.0",)


@dataclass(frozen=True)
class Told:
    """A night, and the images that users had of the live model after it."""

    night: Night
    current: dict

    def result(self, kind):
        return stage_result(self.night, kind)

    @property
    def model(self):
        return Path(self.result(Trained).folder)


def tell(home, plain_nightly, *overrides, promote=0, exports=False):
    """Run a night; then promote a version by hand where one is named."""
    workspace = home.workspace(*overrides)
    plain_nightly(workspace, exports=exports)
    if promote:
        promote_version(workspace, promote, reason="to be looked at", actor="tester")
    return look(home, workspace)


def look(home, workspace):
    """Return the newest night, and what users have after it."""
    night, _ = newest_night(workspace)
    live = home.ask("select generator_digest from live_release")
    rows = home.ask(CURRENT)
    current = {row["user_id"]: row for row in rows if row["generator_digest"] == live[0]["generator_digest"]}
    return Told(night, current)


@pytest.fixture(scope="module")
def home(after_first_night):
    """A home after a first night, of preferences."""
    return after_first_night()


@pytest.fixture(scope="module")
def nights(home, plain_nightly):
    """Four nights: preferences; all other fields but text; nothing at all; and the same after a day has passed."""
    preference = look(home, home.workspace())
    behaviour = tell(home, plain_nightly, *AT_STRENGTH, promote=2, exports=True)
    nothing = tell(home, plain_nightly, *UNCONDITIONAL, promote=3, exports=True)
    history = home.workspace().settings.world.history
    add_days(ShapesWorld(128), home.world / "history.db", history, active_share=0.5)
    later = tell(home, plain_nightly, *UNCONDITIONAL, *CHANGED)
    return {"preference": preference, "behaviour": behaviour, "nothing": nothing, "later": later}


def test_a_champion_of_other_fields_is_no_start(nights):
    """Neither night that asks for other fields starts from the champion; the one that asks for the same does."""
    starts = {name: bool(told.result(Embedded).start) for name, told in nights.items()}
    assert starts == {"preference": False, "behaviour": False, "nothing": False, "later": True}


def test_each_model_is_measured_from_its_own_fields(nights):
    """Challenger and champion are compared, user by user, though they are told other things."""
    evaluated = nights["behaviour"].result(Evaluated)
    assert evaluated.before_is == "champion"
    assert np.isfinite([*evaluated.challenger.values(), *evaluated.before.values(), *evaluated.paired.values()]).all()
    first = nights["preference"].result(Evaluated).challenger
    assert evaluated.before["fit_gain"] == pytest.approx(first["fit_gain"])  # same people, same z, same point
    assert evaluated.challenger["fit_gain"] != evaluated.before["fit_gain"]


def test_an_unconditional_model_is_nobodys_in_particular(nights):
    """Zero lies in the interval of its personal gain."""
    found = nights["nothing"].result(Evaluated).challenger
    assert found["fit_gain_low"] < 0 < found["fit_gain_high"]


def test_cards_say_what_models_are_told(nights):
    """Fields in the order of the settings, the labels' values, and what training left out of each."""
    card = load_card(nights["behaviour"].model)
    assert card.spec.names == tuple(FIELDS)
    assert card.spec.find("behaviour").shape == (3, load_basis(nights["behaviour"].model).options.dim + 2)
    values = card.spec.find("labels").values
    assert "category=star" in values
    assert {value.split("=")[0] for value in values} == {"category", "colour"}
    assert set(card.facts["field_dropout"]) == set(card.spec.names)
    assert load_card(nights["nothing"].model).spec.names == ()


def test_images_are_what_the_catalogue_says(home, nights):
    """A user's image can be drawn again from generator, condition, operating point and seed."""
    told = nights["behaviour"]
    generator, card = load_generator(told.model)
    workspace, embedded = home.workspace(*AT_STRENGTH), told.result(Embedded)
    table = preferences_for(workspace, told.night, embedded, told.model)
    rows = table.condition_rows(card.spec)
    point = OperatingPoint(strengths={"behaviour": 1.5})
    sampler = Sampler(generator, batch_size=workspace.settings.generation.batch_size, operating_point=point)
    for user_id in table.user_ids[:3]:
        place = table.user_ids.index(user_id)
        asset = told.current[user_id]
        assert condition_vector(asset["condition"]).tolist() == rows[place].tolist()
        condition = table.rows(np.array([place])).to_condition(card.spec)
        drawn = sampler.sample(condition, [derive_seed(user_id, 0)])[0]
        assert np.array_equal(decoded(workspace, asset["asset_id"]), drawn)


def decoded(workspace, asset_id):
    """Return the pixels of an asset."""
    with Image.open(io.BytesIO(image_bytes(workspace, asset_id)[0])) as image:
        return np.asarray(image)


def test_the_point_of_a_release_keeps_its_strengths(home, nights):
    """As the catalogue has it; a point without strengths reads as it always did."""
    rows = home.ask("select operating_point from model_promotion where action = 'manual' order by promotion_id")
    points = [OperatingPoint(**json.loads(row["operating_point"])) for row in rows]
    assert points[0] == OperatingPoint(strengths={"behaviour": 1.5})
    assert points[1] == OperatingPoint()


def test_everybody_has_an_image_of_an_unconditional_model(nights):
    """One each, from a z of their own, though nothing is known of anybody."""
    current = nights["nothing"].current
    assert current.keys() == nights["behaviour"].current.keys() == nights["preference"].current.keys()
    assert {row["condition"] for row in current.values()} == {bytes(4)}
    assert len({row["asset_id"] for row in current.values()}) == len(current)


def test_nobodys_picture_of_an_unconditional_model_changes(nights):
    """Half of the people did something new, and a shift of nothing is no shift."""
    generated = nights["later"].result(Generated)
    assert (generated.n_changed, generated.n_new, generated.n_assets) == (0, 0, 0)
    assert generated.n_unchanged == len(nights["nothing"].current)
    assert nights["later"].current == nights["nothing"].current


def test_a_model_keeps_its_recommenders(home, nights, monkeypatch):
    """Their settings stand in its card: it is told by them, and is no start for a model that is told by others."""
    model = nights["behaviour"].model
    same, other = home.workspace(*TOLD), home.workspace(*TOLD, "recommender.ridge=9.0")
    assert load_card(model).facts["recommender"] == asdict(same.settings.recommender)
    assert "recommender" not in load_card(nights["preference"].model).facts
    assert recommender_of(other, model) == same.settings.recommender
    assert recommender_of(other, nights["preference"].model) == other.settings.recommender
    monkeypatch.setattr(sys.modules["personalgen.steps.embed"], "live_folder", lambda _: model)
    assert start_folder(same) == model
    assert start_folder(other) is None


def test_tables_hold_what_tonights_models_ask_for(home, nights, tmp_path):
    """A night of preferences writes nothing more; a model that is asked about later is served then."""
    preference, behaviour = nights["preference"], nights["behaviour"]
    embedded = behaviour.result(Embedded)
    path = embedded.folder(behaviour.night, embedded.train_basis) / HELD_BACK
    lengths = {
        "behaviour": 3,
        "dislikes": 1,
        "expected": 1,
        "current": 1,
        "collaborative": 1,
        "interests": 2,
        "confidence": 1,
    }
    assert fields_in(path) == lengths
    embedded = preference.result(Embedded)
    folder = embedded.folder(preference.night, embedded.train_basis)
    assert fields_in(folder / HELD_BACK) == {}
    before = load_preferences(folder / HELD_BACK)
    workspace = home.workspace()
    served = preferences_for(workspace, preference.night, embedded, behaviour.model, held_back=True)
    assert served.fields.keys() == set(FIELDS) - {"labels"}
    assert np.array_equal(served.vectors, before.vectors)
    modest = shutil.copytree(behaviour.model, tmp_path / "modest")
    card = json.loads((modest / "card.json").read_text())
    (modest / "card.json").write_text(json.dumps(card | {"spec": preference_spec(4).to_dict()}))
    again = preferences_for(workspace, preference.night, embedded, modest, held_back=True)
    assert again.fields.keys() == served.fields.keys()  # what is there stays


@pytest.mark.parametrize(("name", "inputs"), [("behaviour", FIELDS), ("nothing", [])])
def test_the_registered_form_takes_plain_tensors(home, nights, name, inputs):
    """MLflow's copy has inputs for z, each field and what is present, and draws the same pictures."""
    workspace = home.workspace()
    generator, card = load_generator(nights[name].model)
    exported = workspace.registry.load_pt2({"behaviour": 2, "nothing": 3}[name])
    plain = TensorGenerator(generator)
    given = plain.example_inputs(3, seed=1)
    with torch.inference_mode():
        assert torch.allclose(exported(*given), plain(*given), atol=1e-4)
    assert card.spec.names == tuple(inputs)


def test_a_night_of_any_fields_ends_with_its_report(nights):
    """Every night wrote its page and its sheet."""
    for told in nights.values():
        reported = told.result(Reported)
        assert Path(reported.html).is_file()
        assert Path(reported.sheet).is_file()


def test_labels_can_be_asked_for_a_user(home, nights):
    """The same user and z with another label give another picture than without."""
    told = nights["behaviour"]
    generator, card = load_generator(told.model)
    table = preferences_for(home.workspace(), told.night, told.result(Embedded), told.model).rows(np.arange(4))
    asked = picture_condition(card.spec, labels=[["category=star"]])
    sampler, seeds = Sampler(generator), [1, 2, 3, 4]
    plain, starred = (sampler.sample(table.to_condition(card.spec, each), seeds) for each in (None, asked))
    assert (plain != starred).any(axis=(1, 2, 3)).all()


def test_doctor_names_the_fields(home):
    """It says what the model is told, and what is missing for it."""
    found = {row["what"]: row for row in json.loads(home.tell("doctor", "--json").out)}
    assert (found["condition"]["state"], found["condition"]["found"]) == ("ok", "preference")
    lacking = ["condition.fields=['labels']", "source.columns.items.labels=[]"]
    found = {row["what"]: row for row in json.loads(home.tell("doctor", "--json", overrides=lacking).out)}
    assert (found["condition"]["state"], found["condition"]["found"]) == ("wrong", "labels")
    found = {row["what"]: row for row in json.loads(home.tell("doctor", "--json", overrides=UNCONDITIONAL).out)}
    assert "unconditional" in found["condition"]["found"]
