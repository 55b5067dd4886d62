import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from personalgen.conditions import Condition, ConditionSpec
from personalgen.embeddings import (
    FIELD,
    ConditionOptions,
    FieldRows,
    PreferenceTable,
    compared_columns,
    condition_spec,
    fields_in,
    load_preferences,
    preference_spec,
    save_preferences,
)
from personalgen.embeddings.fields import FIELDS
from personalgen.embeddings.preference import events_to_json
from personalgen.errors import ArtifactError, ConditionError


@pytest.fixture
def table():
    """Return three users, the last one without events."""
    event = {"item_id": "i1", "timestamp": 5, "weight": 0.75}
    return PreferenceTable(
        user_ids=("a", "ä", "z"),
        vectors=np.arange(12, dtype=np.float32).reshape(3, 4),
        n_events=np.array([2, 1, 0], dtype=np.int32),
        events_json=tuple(map(events_to_json, [(event, event | {"weight": -0.25}), (event,), ()])),
        basis_version="b1",
    )


TASTES = np.arange(4) < np.array([[2], [1], [0]])
MIXED = condition_spec(ConditionOptions(fields=FIELDS, behaviour_events=2), 4, ("a=1", "a=2"), next_item_dim=4)


def same(one, other):
    """Return whether two tables are equal in every part, types of arrays included."""
    arrays = [(one.vectors, other.vectors), (one.n_events, other.n_events)]
    arrays += [(one.fields[name].values, other.fields[name].values) for name in one.fields]
    arrays += [(one.fields[name].mask, other.fields[name].mask) for name in one.fields]
    if one.fields.keys() != other.fields.keys():
        return False
    return (one.user_ids, one.events_json, one.basis_version) == (
        other.user_ids,
        other.events_json,
        other.basis_version,
    ) and all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in arrays)


@pytest.fixture
def full(table):
    """Return the same users with events, dislikes, interests and confidence, of which some are absent."""
    mask = np.array([[True, True, False], [True, False, False], [False] * 3])
    events = (np.arange(54, dtype=np.float32).reshape(3, 3, 6) + 1) * mask[..., None]
    dislikes = np.array([[1, 2, 3, 4], [0] * 4, [5, 6, 7, 8]], dtype=np.float32)
    fields = {
        "behaviour": FieldRows(events, mask),
        "dislikes": FieldRows(dislikes, np.array([True, False, True])),
        "expected": FieldRows(dislikes / 2, np.array([True, False, True])),
        "current": FieldRows(dislikes / 4, np.array([True, False, True])),
        "collaborative": FieldRows(3 * dislikes, np.array([True, False, True])),
        "interests": FieldRows((np.arange(60, dtype=np.float32).reshape(3, 4, 5) + 1) * TASTES[..., None], TASTES),
        "confidence": FieldRows(np.arange(12, dtype=np.float32).reshape(3, 4), np.ones(3, dtype=bool)),
    }
    return dataclasses.replace(table, fields=fields)


def test_a_table_comes_back_as_it_was(tmp_path, table):
    """Ids, vectors, counts, provenance and basis survive the file bit for bit."""
    path = save_preferences(tmp_path / "p.parquet", table)
    assert same(load_preferences(path), table)
    assert pq.read_table(path).column_names == ["user_id", "vector", "n_events", "top_events"]


def test_further_fields_come_back_as_they_were(tmp_path, full):
    """Shapes, values and masks of every field; which ones a file has can be asked without reading it."""
    path = save_preferences(tmp_path / "p.parquet", full)
    assert same(load_preferences(path), full)
    lengths = {
        "behaviour": 3,
        "dislikes": 1,
        "expected": 1,
        "collaborative": 1,
        "interests": 4,
        "confidence": 1,
        "current": 1,
    }
    assert fields_in(path) == lengths
    nobody = full.rows(np.empty(0, dtype=np.int64))
    assert same(load_preferences(save_preferences(tmp_path / "n.parquet", nobody)), nobody)
    assert fields_in(save_preferences(tmp_path / "b.parquet", dataclasses.replace(full, fields={}))) == {}


def test_rows_take_everything_along(table):
    """Ids, vectors, counts and provenance stay together."""
    picked = table.rows(np.array([2, 0]))
    assert picked.user_ids == ("z", "a")
    assert picked.vectors.tolist() == [[8, 9, 10, 11], [0, 1, 2, 3]]
    assert picked.n_events.tolist() == [0, 2]
    assert picked.top_events == (table.top_events[2], table.top_events[0])
    assert picked.basis_version == "b1"


def test_an_empty_table_survives_too(tmp_path, table):
    """Nobody to embed is a table of no rows and the same width."""
    empty = table.rows(np.empty(0, dtype=np.int64))
    loaded = load_preferences(save_preferences(tmp_path / "p.parquet", empty))
    assert same(loaded, empty)
    assert loaded.vectors.shape == (0, 4)


def test_a_file_that_names_no_basis_is_refused(tmp_path):
    """Vectors without a basis mean nothing."""
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"user_id": ["a"]}), path)
    with pytest.raises(ArtifactError, match=r"p\.parquet is not a preference table: it names no basis"):
        load_preferences(path)


@pytest.mark.parametrize("content", [None, b"", b"not Parquet"], ids=["missing", "empty", "garbage"])
def test_a_file_that_is_not_parquet_is_refused(tmp_path, content):
    """A missing or damaged file is our error, with the file and the way out."""
    path = tmp_path / "p.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"p\.parquet cannot be read as Parquet .* Rerun embed"):
        load_preferences(path)


def test_the_condition_is_the_vectors(table):
    """One field, all present, in the order of the users."""
    condition = table.to_condition(preference_spec(4))
    assert torch.equal(condition.values[FIELD], torch.from_numpy(table.vectors))
    assert condition.masks[FIELD].all()


@pytest.mark.parametrize(
    ("spec", "expected"),
    [(preference_spec(5), "{'preference': 5}"), (ConditionSpec.vector("mood", 4), "{'mood': 4}")],
)
def test_a_model_of_another_width_or_field_is_refused(table, spec, expected):
    """The message says what the model knows, what the table has, what to do, and that nothing was generated."""
    with pytest.raises(ConditionError) as caught:
        table.to_condition(spec)
    message = str(caught.value)
    assert expected in message
    assert "{'preference': 4}" in message
    assert "Embed again" in message
    assert "Nothing was generated" in message


# --- other fields -----------------------------------------------------------------------------------------------------


def test_a_condition_has_exactly_the_fields_of_the_model(full):
    """Of a longer sequence the newest rows; a picture's fields are absent unless they are given."""
    condition = full.to_condition(MIXED)
    assert condition.values.keys() == set(FIELDS)
    assert condition.values["behaviour"].tolist() == full.fields["behaviour"].values[:, :2].tolist()
    assert condition.masks["behaviour"].tolist() == [[True, True], [True, False], [False, False]]
    assert condition.masks["dislikes"].tolist() == [True, False, True]
    assert not condition.masks["labels"].any()
    assert not condition.masks["text"].any()
    assert full.to_condition(ConditionSpec(())).values == {}
    assert full.to_condition(ConditionSpec(())).batch_size == 3


def test_a_picture_can_be_asked_of_everybody_or_of_each(full):
    """One row serves all users; a row each goes to each; the rest stays absent."""
    one = full.to_condition(MIXED, Condition({"labels": torch.tensor([[0.0, 1.0]])}))
    assert one.values["labels"].tolist() == [[0, 1]] * 3
    assert one.masks["labels"].all()
    assert not one.masks["text"].any()
    each = Condition({"labels": torch.eye(3)[:, :2]}, {"labels": torch.tensor([True, False, True])})
    assert full.to_condition(MIXED, each).masks["labels"].tolist() == [True, False, True]
    assert torch.equal(full.to_condition(MIXED, each).values[FIELD], torch.from_numpy(full.vectors))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (Condition({"dislikes": torch.zeros(1, 4)}), r"\['dislikes'\] cannot be asked of a picture"),
        (Condition({"mood": torch.zeros(1, 4)}), r"\['mood'\] cannot be asked.*knows \['labels', 'text'\]"),
        (Condition({"labels": torch.zeros(1, 3)}), "trained on"),
        (Condition({"labels": torch.zeros(2, 2)}), "one batch size"),
    ],
)
def test_a_picture_that_the_model_cannot_be_asked_for_is_refused(full, asked, says):
    """A user's field, an unknown field, another vocabulary, or rows for other people."""
    with pytest.raises(ConditionError, match=says):
        full.to_condition(MIXED, asked)


def test_a_field_that_the_table_lacks_is_refused(table):
    """A model of behaviour cannot draw from vectors alone."""
    with pytest.raises(ConditionError, match=r"'behaviour': 6.*the condition has \{'preference': 4\}"):
        table.to_condition(MIXED)
    with pytest.raises(ConditionError):
        table.condition_rows(MIXED)


def test_the_row_of_a_preference_is_its_vector(full):
    """What was digested before there were other fields is digested still."""
    rows = full.condition_rows(preference_spec(4))
    assert np.array_equal(rows, full.vectors)
    assert rows.dtype == np.float32


def test_a_row_holds_all_that_the_model_is_told_of_the_user(full):
    """Any value and any mask of a user's fields changes the row; a model told nothing has one zero."""
    rows = full.condition_rows(MIXED)
    assert rows.shape == (3, 4 + (2 * 6 + 2) + 4 * (4 + 1) + (4 * 5 + 4) + (4 + 1))
    assert rows[0, 9:21].tolist() == full.fields["behaviour"].values[0, :2].ravel().tolist()
    assert rows[1, 23:28].tolist() == [0, 0, 0, 0, 0]
    assert rows[2, 23:28].tolist() == [5, 6, 7, 8, 1]
    assert rows[0, 58:62].tolist() == [1, 1, 0, 0]
    assert rows[1, -5:].tolist() == [4, 5, 6, 7, 1]
    assert full.condition_rows(ConditionSpec(())).tolist() == [[0], [0], [0]]
    only_pictures = condition_spec(ConditionOptions(fields=("labels",)), 4, ("a=1",))
    assert full.condition_rows(only_pictures).tolist() == [[0], [0], [0]]


def test_rows_are_compared_field_by_field(full):
    """Vectors of all fields; weights, ages, shares, masks and the days since the newest event alone are no change."""
    preference, current, items, dislikes, expected, collaborative, interests, confidence = compared_columns(MIXED)
    rows = full.condition_rows(MIXED)
    assert np.array_equal(rows[:, preference], full.vectors)
    assert np.array_equal(rows[:, current], full.fields["current"].values)
    assert np.array_equal(rows[:, items], full.fields["behaviour"].values[:, :2, :4].reshape(3, 8))
    assert np.array_equal(rows[:, dislikes], full.fields["dislikes"].values)
    assert np.array_equal(rows[:, expected], full.fields["expected"].values)
    assert np.array_equal(rows[:, collaborative], full.fields["collaborative"].values)
    assert np.array_equal(rows[:, interests], full.fields["interests"].values[:, :, :4].reshape(3, 16))
    assert np.array_equal(rows[:, confidence], full.fields["confidence"].values[:, [0, 1, 3]])
    assert [part.tolist() for part in compared_columns(preference_spec(3))] == [[0, 1, 2]]
    assert compared_columns(ConditionSpec(())) == ()


def test_tables_side_by_side_come_user_by_user(full):
    """Row k of each table stands beside row k of the others, in the order of the tables."""
    one = full
    other = dataclasses.replace(one, vectors=one.vectors + 10, n_events=one.n_events + 1)
    both = PreferenceTable.side_by_side([one, other])
    assert both.user_ids == tuple(user_id for user_id in one.user_ids for _ in range(2))
    assert np.array_equal(both.vectors[0::2], one.vectors)
    assert np.array_equal(both.vectors[1::2], other.vectors)
    assert both.n_events.tolist() == [n + k for n in one.n_events.tolist() for k in range(2)]
    assert PreferenceTable.side_by_side([one]).user_ids == one.user_ids
