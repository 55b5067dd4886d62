from types import SimpleNamespace

import numpy as np
import pytest
import torch

from personalgen.conditions import Condition
from personalgen.config import build_settings
from personalgen.embeddings import EmbeddingOptions, Foresight, fit_basis, save_basis
from personalgen.embeddings.fields import FIELDS, OF_USER
from personalgen.errors import ConfigError
from personalgen.histories import History
from personalgen.models import ModelOptions, build_generator, save_generator
from personalgen.recommenders import NextItemOptions
from personalgen.steps import features
from personalgen.steps import fields as module
from personalgen.steps.data import NightData
from personalgen.steps.fields import has_set_fields, spec_to_train
from personalgen.steps.train import training_pairs

DAY, N_USERS, N_ITEMS, N_EVENTS = 86_400, 6, 12, 160
EMBEDDINGS = {"content_dim": 4, "collaborative_dim": 2, "half_life_days": 10.0, "text_dim": 0, "next_item_dim": 5}
FEATURES = np.random.default_rng(0).normal(size=(N_ITEMS, 20)).astype(np.float32)


@pytest.fixture
def history():
    """Return a busy history: dislikes are common, and so are several events in one second."""
    rng = np.random.default_rng(1)
    user, item = rng.integers(0, N_USERS, N_EVENTS), rng.integers(0, N_ITEMS, N_EVENTS)
    time = rng.integers(0, 30, N_EVENTS) * DAY
    order = np.lexsort((item, time, user))
    weight = rng.choice([1.0, 0.5, 2.0, -1.0, -0.5], N_EVENTS).astype(np.float32)
    ids = tuple(f"u{k}" for k in range(N_USERS)), tuple(f"i{k:02d}" for k in range(N_ITEMS))
    return History(*ids, user[order], item[order], time[order], weight)


@pytest.fixture
def data():
    """Return a function that makes a night's data of a history; item k is a star or not, of colour k mod 3."""

    def make(history):
        made = NightData(SimpleNamespace(images=np.arange(N_ITEMS * 48, dtype=np.uint8).reshape(-1, 4, 4, 3)), None)
        labels = [(f"colour={k % 3}", *(["shape=star"] if k % 2 else [])) for k in range(N_ITEMS)]
        made.__dict__.update(
            labels=labels,
            texts=["" if k == 5 else f"item {k}" for k in range(N_ITEMS)],
            item_split=np.array([0] * (N_ITEMS - 3) + [1] * 3),
            features=lambda *_: FEATURES,
            training_history=lambda: history,
        )
        return made

    return make


@pytest.fixture(autouse=True)
def encoder(monkeypatch):
    """Put a stand-in in the place of the sentence encoder: the number of letters."""

    class Letters:
        def encode(self, texts, **_):
            return np.array([[len(text) / 384**0.5] * 384 for text in texts], dtype=np.float32)

    monkeypatch.setattr(features, "TextEncoder", Letters)


@pytest.fixture
def workspace(tmp_path):
    """Return a function that makes a workspace whose condition has these settings."""

    def make(**condition):
        condition.setdefault("fields", FIELDS)
        condition.setdefault("behaviour_events", 4)
        columns = {"columns": {"items": {"labels": ["colour", "shape"]}}}
        settings = build_settings({"embeddings": EMBEDDINGS, "condition": condition, "source": columns})
        return SimpleNamespace(settings=settings, data=tmp_path, report=lambda _: None)

    return make


@pytest.fixture
def folder(tmp_path, history):
    """Return the folder of a basis of this history."""
    everything, options = np.ones(N_ITEMS, dtype=bool), EmbeddingOptions(**EMBEDDINGS)
    basis = fit_basis(history, FEATURES, everything, options, next_item=NextItemOptions(ridge=5.0))
    save_basis(tmp_path / "basis", basis)
    return tmp_path / "basis"


def told(pairs):
    """Return by field every number that each pair's user is told of, (n_pairs, …); variants lie side by side."""
    n_pairs = len(pairs.image_of_pair)
    found = {name: [value, pairs.of_pair.masks[name]] for name, value in pairs.of_pair.values.items()}
    if pairs.behaviour:
        found["behaviour"] = list(pairs.behaviour.sequences(torch.arange(n_pairs)))
    joined = {
        name: torch.cat([part.float().flatten(1) if part.ndim > 1 else part.float()[:, None] for part in parts], 1)
        for name, parts in found.items()
    }
    return {name: torch.cat(rows.split(n_pairs), 1) for name, rows in joined.items()}


# --- nothing of the future --------------------------------------------------------------------------------------------


def changed_by_the_future(make_pairs, history, when):
    """Return which fields of pairs up to `when` change with what happens from then on: altered, and left out."""
    later = history.timestamp >= when
    altered = History(
        history.user_ids,
        history.item_ids,
        history.user_index,
        np.where(later, N_ITEMS - 1 - history.item_index, history.item_index),
        history.timestamp,
        np.where(later, 3 * history.weight, history.weight),
    )
    before, likes = told(make_pairs(history)), history.weight > 0
    early = torch.from_numpy(history.timestamp[likes] <= when)
    cut = history.where(history.timestamp <= when)
    found = {"altered": told(make_pairs(altered)), "cut": told(make_pairs(cut))}
    rows = {"altered": early, "cut": torch.ones(int((cut.weight > 0).sum()), dtype=torch.bool)}
    return {
        name
        for how, after in found.items()
        for name in before
        if not torch.allclose(before[name][early], after[name][rows[how]], atol=1e-5)
    }


@pytest.mark.parametrize("when", [5 * DAY, 14 * DAY, 15 * DAY, 25 * DAY])
def test_no_pair_is_told_of_its_own_moment_or_later(workspace, data, folder, history, monkeypatch, when):
    """A pair is told the same whatever happens in its second and after it; recommenders are as they were."""
    fixed = Foresight.of_others(history, NextItemOptions(ridge=5.0))
    monkeypatch.setattr(Foresight, "of_others", lambda *_: fixed)
    space = workspace(history_variants=3)
    assert changed_by_the_future(lambda h: training_pairs(space, data(h), folder), history, when) == set()


@pytest.mark.parametrize("name", OF_USER)
def test_a_leak_would_be_found(workspace, data, folder, history, monkeypatch, name):
    """The control: where a pair's own second is let in, the same comparison tells."""
    plain = module.vectors_before_events

    def leaky(self):
        start, stop = known_before(self)
        return start, np.minimum(stop + 1, len(self.timestamp))

    known_before = History.known_before
    monkeypatch.setattr(History, "known_before", leaky)
    monkeypatch.setattr(
        module, "vectors_before_events", lambda h, *rest: np.roll(plain(h, *rest), -1, axis=0)
    )  # of the next event
    space = workspace(fields=[name])
    found = [
        changed_by_the_future(lambda h: training_pairs(space, data(h), folder), history, day * DAY)
        for day in range(5, 25)
    ]
    assert set().union(*found) == {name}


# --- what a pair holds ------------------------------------------------------------------------------------------------


def test_pairs_have_the_fields_of_the_settings(workspace, data, folder, history):
    """Users' fields by pair, pictures' fields by picture; widths are those of the specification."""
    space, made = workspace(), data(history)
    pairs, spec = training_pairs(space, made, folder), spec_to_train(space, made, None)
    batch = pairs.draw(8, 2, rng=torch.Generator().manual_seed(0))
    spec.check(Condition({n: v for n, v in batch.condition.values.items() if n in spec.names}))
    assert set(pairs.of_pair.values) == set(OF_USER) - {"behaviour"}
    assert set(pairs.of_image.values) == {"labels", "text"}
    assert spec.find("labels").values == ("colour=0", "colour=1", "colour=2", "shape=star")
    shown = np.unique(history.item_index[history.weight > 0])
    assert pairs.of_image.values["text"][:, 0].tolist() == pytest.approx([len(made.texts[k]) for k in shown])
    assert pairs.of_image.masks["text"].tolist() == [k != 5 for k in shown]
    assert pairs.of_image.values["labels"][0].tolist() == [1, 0, 0, 0]


def test_an_unconditional_model_has_pairs_without_fields(workspace, data, folder, history):
    """The pictures that were liked, and nothing said of them."""
    pairs = training_pairs(workspace(fields=[]), data(history), folder)
    batch = pairs.draw(8, 2, rng=torch.Generator().manual_seed(0))
    assert batch.condition.values == {}
    assert len(pairs.image_of_pair) == int((history.weight > 0).sum())


def test_the_default_is_the_preference_and_nothing_else(workspace, data, folder, history):
    """Without settings a pair is a picture and a vector, always present."""
    pairs = training_pairs(workspace(fields=["preference"]), data(history), folder)
    assert list(pairs.of_pair.values) == ["preference"]
    assert pairs.of_pair.masks["preference"].all()
    assert (pairs.of_image.values, pairs.behaviour) == ({}, None)
    assert pairs.of_pair.batch_size == len(pairs.image_of_pair)


def test_variants_stand_below_the_whole_history(workspace, data, folder, history):
    """The first rows are the default's, bit for bit; a batch draws from all of them."""
    plain = training_pairs(workspace(), data(history), folder)
    pairs = training_pairs(workspace(history_variants=2), data(history), folder)
    n_pairs = len(plain.image_of_pair)
    vectors = pairs.of_pair.values["preference"]
    assert torch.equal(vectors[:n_pairs], plain.of_pair.values["preference"])
    assert len(vectors) == 3 * n_pairs
    assert torch.equal(pairs.of_pair.values["dislikes"][n_pairs : 2 * n_pairs], plain.of_pair.values["dislikes"])
    drawn = {
        tuple(row)
        for row in pairs.draw(400, 1, rng=torch.Generator().manual_seed(0)).condition.values["preference"].tolist()
    }
    for variant in range(3):
        assert drawn & {tuple(row) for row in vectors[variant * n_pairs : (variant + 1) * n_pairs].tolist()}


def test_texts_are_encoded_once(workspace, data, folder, history, monkeypatch):
    """The second time they are read from the cache, with their absences."""
    space = workspace(fields=["text"])
    first = training_pairs(space, data(history), folder)
    monkeypatch.setattr(features, "TextEncoder", lambda: pytest.fail("encoded again"))
    again = training_pairs(space, data(history), folder)
    assert first.digest() == again.digest()


# --- which fields -----------------------------------------------------------------------------------------------------


def test_labels_are_those_of_training_items(workspace, data, history):
    """A value that only held-out pictures have is no column; the number of columns can be bounded."""
    made = data(history)
    made.labels[-1] = ("colour=only here",)
    assert "colour=only here" not in spec_to_train(workspace(), made, None).find("labels").values
    spec = spec_to_train(workspace(label_values=1), made, None)
    assert spec.find("labels").values == ("shape=star",)


def test_labels_that_nobody_gave_are_an_error(workspace, data, history):
    """The message says where label columns are named."""
    made = data(history)
    made.__dict__["labels"] = [()] * N_ITEMS
    with pytest.raises(ConfigError, match=r"source\.columns\.items\.labels.*Nothing was embedded"):
        spec_to_train(workspace(), made, None)


def test_a_start_keeps_its_fields_and_its_labels(workspace, data, history, tmp_path):
    """A model of the settings' fields is a start, whatever labels there are by now; one of others is none."""
    made = data(history)
    space = workspace(fields=["preference", "labels"])
    spec = spec_to_train(space, made, None)
    torch.manual_seed(0)
    model = ModelOptions(8, 4, 8, 8, 16)
    save_generator(tmp_path / "model", build_generator(model, spec), basis_version="b", trained_kimg=0)
    made.__dict__["labels"] = [("colour=new",)] * N_ITEMS
    assert spec_to_train(space, made, tmp_path / "model") == spec
    for fields, fits in ((["preference", "labels"], True), (["labels", "preference"], False), (["preference"], False)):
        other = workspace(fields=fields)
        assert has_set_fields(other, spec) is fits
    assert not has_set_fields(workspace(fields=["preference", "behaviour"]), spec)
