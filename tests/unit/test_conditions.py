import json

import pytest
import torch

from personalgen.conditions import Condition, ConditionSpec, FieldSpec
from personalgen.errors import ConditionError

SPEC = ConditionSpec((FieldSpec("taste", "vector", 3), FieldSpec("mood", "vector", 2)))


@pytest.fixture
def condition():
    """Return four rows of two fields; the second row has no mood."""
    values = {"taste": torch.arange(12.0).reshape(4, 3), "mood": torch.arange(8.0).reshape(4, 2)}
    return Condition(values, {"mood": torch.tensor([True, False, True, True])})


def test_fields_without_mask_are_present(condition):
    """A mask that is not given is True in every row."""
    assert condition.masks["taste"].tolist() == [True] * 4
    assert condition.masks["mood"].tolist() == [True, False, True, True]
    assert (condition.batch_size, condition.widths) == (4, {"taste": 3, "mood": 2})


def test_ragged_batches_are_refused():
    """Fields of three and of two rows are no batch; the message counts them."""
    with pytest.raises(ConditionError, match=r"one batch size, found \[3, 2\]"):
        Condition({"a": torch.zeros(3, 1), "b": torch.zeros(2, 1)})


@pytest.mark.parametrize("index", [[2, 0], torch.tensor([2, 0])])
def test_take_picks_rows_with_their_masks(condition, index):
    """Values and masks stay together, in the order asked for, repeats included."""
    taken = condition.take(index)
    assert taken.values["taste"].tolist() == [[6, 7, 8], [0, 1, 2]]
    assert condition.take([1, 1]).masks["mood"].tolist() == [False, False]
    assert condition.take(slice(1, 3)).values["mood"].tolist() == [[2, 3], [4, 5]]
    assert condition.take([]).batch_size == 0


def test_drop_makes_every_field_absent_in_the_chosen_rows(condition):
    """A dropped row has no field; absent stays absent; the original is as it was."""
    dropped = condition.drop(torch.tensor([False, False, False, True]))
    assert dropped.masks["taste"].tolist() == [True, True, True, False]
    assert dropped.masks["mood"].tolist() == [True, False, True, False]
    assert condition.masks["taste"].all()


def test_the_null_condition_fits_and_has_no_field():
    """It has the widths of its specification and every mask False."""
    null = SPEC.null_condition(5)
    SPEC.check(null)
    assert null.batch_size == 5
    assert not any(mask.any() for mask in null.masks.values())


def test_a_condition_that_fits_passes(condition):
    """The order of fields does not matter."""
    SPEC.check(condition)
    SPEC.check(Condition({name: condition.values[name] for name in ("mood", "taste")}))


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"taste": 4, "mood": 2}, "{'taste': 4, 'mood': 2}"),
        ({"taste": 3}, "{'taste': 3}"),
        ({"taste": 3, "mood": 2, "hat": 1}, "{'taste': 3, 'mood': 2, 'hat': 1}"),
    ],
    ids=["other width", "missing field", "unknown field"],
)
def test_a_condition_that_does_not_fit_is_refused(values, found):
    """The message says what the model knows, what came, what to do and that nothing was generated."""
    condition = Condition({name: torch.zeros(1, width) for name, width in values.items()})
    with pytest.raises(ConditionError) as caught:
        SPEC.check(condition)
    message = str(caught.value)
    assert "{'taste': 3, 'mood': 2}" in message
    assert found in message
    assert "Embed again" in message
    assert message.endswith("Nothing was generated.")


def test_a_specification_survives_its_json_form():
    """What a card stores gives the same specification back."""
    assert ConditionSpec.from_dict(SPEC.to_dict()) == SPEC
    assert ConditionSpec.vector("taste", 3).to_dict() == {
        "fields": [{"name": "taste", "kind": "vector", "width": 3, "longest": 1, "null": "learned"}]
    }


@pytest.mark.parametrize("names", [["a.b"], ["my field"], ["z"], ["p", "p_present"], [""], ["a", "a"], ["items"]])
def test_a_name_that_an_exported_input_cannot_have_is_refused(names):
    """Identifiers of their own: beside z, and beside the masks that exported forms take."""
    with pytest.raises(ConditionError, match="names of their own"):
        ConditionSpec(tuple(FieldSpec(name, "vector", 2) for name in names))


@pytest.mark.parametrize("mask", [torch.ones(4, 2, dtype=torch.bool), torch.ones(4)], ids=["shape", "float"])
def test_a_mask_that_does_not_fit_is_refused(mask):
    """A vector has one flag a row."""
    with pytest.raises(ConditionError, match=r"'taste' needs a bool mask of shape \(4,\)"):
        ConditionSpec.vector("taste", 2).check(Condition.vector("taste", torch.zeros(4, 2), mask))


def test_an_unknown_kind_of_field_is_refused():
    """A card of a later version is an error that lists the known kinds."""
    raw = SPEC.to_dict()
    raw["fields"][1]["kind"] = "smell"
    with pytest.raises(ConditionError, match=r"'mood' needs a kind of vector, label, set, sequence.*found smell"):
        ConditionSpec.from_dict(raw)


def test_moving_a_condition_keeps_values_and_masks(condition):
    """`to` gives an equal condition on the other device."""
    moved = condition.to("cpu")
    assert all(torch.equal(moved.values[name], condition.values[name]) for name in condition.values)
    assert all(torch.equal(moved.masks[name], condition.masks[name]) for name in condition.masks)


def test_a_condition_without_fields_still_has_rows():
    """It can be taken from, moved, dropped and checked against a specification without fields."""
    none = Condition.none(3)
    ConditionSpec(()).check(none.take([0, 2]))
    assert (none.batch_size, none.take([0, 2]).batch_size, none.to("cpu").batch_size) == (3, 2, 3)
    assert none.drop(torch.ones(3, dtype=torch.bool)).widths == {}
    with pytest.raises(ConditionError, match="must say its rows"):
        Condition({})


@pytest.mark.parametrize("names", [("a", "a"), ("",)])
def test_fields_need_names_of_their_own(names):
    """Two fields of one name, or one without, are no specification."""
    with pytest.raises(ConditionError, match="names of their own"):
        ConditionSpec(tuple(FieldSpec(name, "vector", 2) for name in names))


def test_dropping_one_field_leaves_the_others(condition):
    """Only the named field is absent in the chosen rows."""
    dropped = condition.drop(torch.ones(4, dtype=torch.bool), ["mood"])
    assert not dropped.masks["mood"].any()
    assert dropped.masks["taste"].all()


def test_elements_are_dropped_with_their_row():
    """A dropped row of a sequence has no element; each other element keeps its own flag."""
    mask = torch.tensor([[True, False], [True, True]])
    condition = Condition({"behaviour": torch.zeros(2, 2, 3)}, {"behaviour": mask})
    assert condition.drop(torch.tensor([False, True])).masks["behaviour"].tolist() == [[True, False], [False, False]]


@pytest.mark.parametrize("shape", [(1, 3), (1, 5, 3)])
def test_a_sequence_of_another_shape_is_refused(shape):
    """A vector in its place, or one longer than the model has seen, is an error."""
    spec = ConditionSpec((FieldSpec("behaviour", "sequence", 3, longest=4),))
    with pytest.raises(ConditionError, match=r"'behaviour' is a sequence of shape \(4, 3\)"):
        spec.check(Condition({"behaviour": torch.zeros(shape)}))
    spec.check(Condition({"behaviour": torch.zeros(1, 2, 3)}))
    assert spec.null_condition(2).masks["behaviour"].shape == (2, 4)


LABELLED = ConditionSpec((FieldSpec("labels", "label", 2, values=("a=1", "a=2")), FieldSpec("taste", "vector", 3)))


def test_the_values_of_a_label_are_part_of_the_specification():
    """They survive the JSON form of a card; a field without values is written as it was before there were any."""
    written = LABELLED.to_dict()
    assert ConditionSpec.from_dict(json.loads(json.dumps(written))) == LABELLED
    assert "values" not in written["fields"][1]
    assert written["fields"][1] == {"name": "taste", "kind": "vector", "width": 3, "longest": 1, "null": "learned"}


def test_values_that_are_not_one_a_column_are_refused():
    """A vocabulary of two cannot name three columns."""
    with pytest.raises(ConditionError, match="'labels' has 3 columns and values for 2"):
        ConditionSpec((FieldSpec("labels", "label", 3, values=("a", "b")),))


def test_fields_are_found_by_name():
    """Names in order; a name that there is not gives None."""
    assert LABELLED.names == ("labels", "taste")
    assert LABELLED.find("taste") == FieldSpec("taste", "vector", 3)
    assert LABELLED.find("mood") is None
