"""Nights whose further images are told of some of a person's likes each."""

from dataclasses import replace

import numpy as np
import pytest

from personalgen.catalogue import read
from personalgen.generation.plan import condition_digest
from personalgen.models import load_card
from personalgen.steps import Decided, Generated, generate
from personalgen.steps.models import newest_night
from personalgen.steps.night import stage_result
from personalgen.steps.told import told_of

pytestmark = pytest.mark.timeout(200, func_only=True)

PARTS = ("generation.variants=3", "generation.likes_per_image=2")
KEYS = """select user_id, variant, condition_digest, n_events, asset_id from asset join "user" using (user_key)
          order by user_id, variant"""
LIVE = "select user_id, variant from v_assets where is_live order by user_id, variant"


@pytest.fixture(scope="module")
def home(new_home, plain_nightly):
    """A home of its own with one night of three images for each of its users."""
    made = new_home()
    plain_nightly(made.workspace(*PARTS))
    return made


@pytest.fixture(scope="module")
def night(home):
    return newest_night(home.workspace(*PARTS))


def told(home, night, **options):
    found, embedded = night
    workspace = home.workspace(*PARTS)
    return told_of(workspace, found, embedded, model_of(workspace), **options)


def model_of(workspace):
    return workspace.model_folder(workspace.live().model_version_id)


def test_every_image_is_told_of_its_own_likes(home, night):
    """Rows hold what each image was told: everything for the first, two likes for the others."""
    rows = home.ask(KEYS)
    tells, spec = told(home, night), load_card(model_of(home.workspace())).spec
    users = np.arange(len(tells.table.user_ids))
    for variant in range(3):
        table = tells(users, variant)
        own = [row for row in rows if row["variant"] == variant]
        assert [row["user_id"] for row in own] == list(table.user_ids)
        assert [row["condition_digest"] for row in own] == [condition_digest(c) for c in table.condition_rows(spec)]
        assert [row["n_events"] for row in own] == table.n_events.tolist()
    first, second, third = (tells(users, variant) for variant in range(3))
    many = first.n_events > 12
    assert many.sum() > 5
    assert (second.n_events[many] < first.n_events[many]).all()
    differ = np.abs(second.vectors[many] - third.vectors[many]).max(axis=1) > 0
    assert differ.mean() > 0.9


def test_all_images_of_a_user_are_live_and_traced(home):
    """What users see are all three images; each names the events behind it, which are fewer than behind the first."""
    rows, live = home.ask(KEYS), home.ask(LIVE)
    assert [(row["user_id"], row["variant"]) for row in live] == [(row["user_id"], row["variant"]) for row in rows]
    workspace = home.workspace()
    busy = max((row for row in rows if row["variant"] == 0), key=lambda row: row["n_events"])
    own = [read.asset(workspace.engine, row["asset_id"]) for row in rows if row["user_id"] == busy["user_id"]]
    items = [{event["item_id"] for event in asset.summary.top_events} for asset in own]
    assert items[1] != items[2]
    assert own[1].summary.n_events < own[0].summary.n_events


def test_held_back_people_are_told_of_earlier_likes_alone(home, night):
    """What an evaluation draws from knows no event that is held out, in no image."""
    tells, users = told(home, night, held_back=True), np.arange(5)
    earlier = tells.parts.history
    for variant in (1, 2):
        for user_id, events in zip(tells(users, variant).user_ids, tells(users, variant).top_events, strict=True):
            of_user = earlier.user_ids.index(user_id)
            known = {earlier.item_ids[k] for k in earlier.item_index[earlier.user_index == of_user]}
            assert {event["item_id"] for event in events} <= known


@pytest.fixture(scope="module")
def again(home, night):
    """All rows and what users see before and after everybody was asked to be drawn again, and what that told."""
    return drawn_again(home, night, *PARTS, "generation.regenerate_all=true")


@pytest.fixture(scope="module")
def raised(home, night, again):
    """The same for a further image of everybody."""
    return drawn_again(home, night, "generation.variants=4", PARTS[1])


def drawn_again(home, night, *settings):
    found, embedded = night
    before = home.ask(KEYS), home.ask(LIVE)
    for name in ("generate.json", *(path.name for path in found.path.glob("plan-*"))):
        (found.path / name).unlink()
    made = generate(home.workspace(*settings), found, embedded, stage_result(found, Decided))
    assert stage_result(found, Generated) == made
    return before, made, (home.ask(KEYS), home.ask(LIVE))


def test_the_same_preference_is_not_drawn_again(again):
    """Asked to draw everybody, a night whose images all exist adds none and leaves what users see."""
    before, made, after = again
    assert (made.n_assets, made.n_unchanged) == (0, len(before[0]) // 3)
    assert after == before


def test_one_image_is_told_of_everything(home, night):
    """Where nights draw one image for each user, nothing is told of parts, in evaluations neither."""
    workspace = home.workspace(PARTS[1])
    for held_back in (False, True):
        assert told_of(workspace, *night, model_of(workspace), held_back=held_back).parts is None


def test_a_night_that_fell_back_tells_every_image_of_what_was_known(home, night):
    """Where users keep what the night before knew of them, no image is told of tonight's likes."""
    found, embedded = night
    fell_back = replace(embedded, fell_back=("a reason",))
    assert told_of(home.workspace(*PARTS), found, fell_back, model_of(home.workspace())).parts is None
    assert told(home, night).parts is not None


def test_more_images_are_drawn_for_everybody(raised):
    """Where `generation.variants` was raised, every user gets the further image, and keeps the others."""
    (before, _), made, (rows, live) = raised
    known = {row["asset_id"] for row in before}
    assert made.n_users == len(before) // 3
    assert [row for row in rows if row["asset_id"] in known] == before
    assert {row["variant"] for row in rows if row["asset_id"] not in known} == {3}
    assert len(live) == len(rows) == 4 * made.n_users
