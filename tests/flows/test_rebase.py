"""A night after the epoch of its champion's basis: another basis, and a warm start all the same."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from personalgen.embeddings import load_basis, save_basis
from personalgen.models import load_card
from personalgen.steps import Embedded, Evaluated, Trained
from personalgen.steps.embed import _dated_basis, preferences, start_folder
from personalgen.steps.models import newest_night
from personalgen.steps.night import stage_result
from personalgen.worlds import ShapesWorld, add_days

pytestmark = pytest.mark.timeout(110, func_only=True)  # the nights run once, while the first test is set up

FIELDS = "condition.fields=['preference', 'collaborative']"


@pytest.fixture(scope="module")
def home(new_home):
    """A home with a history of its own."""
    return new_home(own_world=True)


@pytest.fixture(scope="module")
def nights(home, plain_nightly):
    """A first night, and one three days later, whose bases may be two days old."""
    found = []
    for setting in ("embeddings.epoch_days=0", "embeddings.epoch_days=2"):
        workspace = home.workspace(FIELDS, setting)
        plain_nightly(workspace)
        found.append(newest_night(workspace)[0])
        history = workspace.settings.world.history
        add_days(ShapesWorld(128), home.world / "history.db", history, active_share=0.3, days=3)
    return found


def test_a_night_after_the_epoch_goes_on_in_another_basis(nights):
    """It starts from the champion, was fitted tonight, and the model declares the new version."""
    first, second = (stage_result(night, Embedded) for night in nights)
    trained = [stage_result(night, Trained) for night in nights]
    assert load_card(Path(second.start)).generator_sha256 == trained[0].generator_sha256
    assert second.is_new_basis
    assert second.live_basis == first.train_basis != second.train_basis
    assert trained[1].trained_kimg == trained[0].trained_kimg + trained[1].kimg
    card, basis = load_card(Path(trained[1].folder)), load_basis(Path(trained[1].folder))
    assert card.basis_version == basis.version == trained[1].basis_version == second.train_basis
    assert card.facts["started_from_sha256"] == trained[0].generator_sha256
    assert [load_basis(Path(t.folder)).fitted_as_of for t in trained] == [night.as_of for night in nights]


def test_both_bases_are_embedded_and_measured(nights):
    """Champion and challenger each from vectors of their own basis, in which unchanged people lie alike."""
    embedded = stage_result(nights[1], Embedded)
    new, old = (preferences(nights[1], embedded, version) for version in (embedded.train_basis, embedded.live_basis))
    cosine = (
        (new.vectors * old.vectors).sum(1) / np.linalg.norm(new.vectors, axis=1) / np.linalg.norm(old.vectors, axis=1)
    )
    assert np.median(cosine) > 0.9
    assert stage_result(nights[1], Evaluated).before_is == "champion"


def test_the_epoch_is_no_reason_to_train_from_scratch(home, nights):
    """Whatever it is set to, the live model is a start; another width is none."""
    starts = {days: start_folder(home.workspace(FIELDS, f"embeddings.epoch_days={days}")) for days in (0, 2, 30)}
    assert len(set(starts.values())) == 1
    assert None not in starts.values()
    assert start_folder(home.workspace(FIELDS, "embeddings.next_item_dim=8")) is None


def test_a_basis_of_before_counts_from_its_model(nights, tmp_path):
    """Where nobody wrote down when it was fitted, the clock starts at the night of the model that has it."""
    model = Path(stage_result(nights[0], Trained).folder)
    save_basis(tmp_path, replace(load_basis(model), fitted_as_of=""))
    card = json.loads((model / "card.json").read_text())
    (tmp_path / "card.json").write_text(json.dumps(card))
    assert _dated_basis(tmp_path, nights[1]).fitted_as_of == nights[0].as_of
    card["facts"].pop("as_of")
    (tmp_path / "card.json").write_text(json.dumps(card))
    assert _dated_basis(tmp_path, nights[1]).fitted_as_of == nights[1].as_of
