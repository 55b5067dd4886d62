import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from personalgen.conditions import ConditionSpec
from personalgen.embeddings import FIELD, PreferenceTable, load_preferences, preference_spec, save_preferences
from personalgen.errors import ArtifactError, ConditionError


@pytest.fixture
def table():
    """Return three users, the last one without events."""
    event = {"item_id": "i1", "timestamp": 5, "weight": 0.75}
    return PreferenceTable(
        user_ids=("a", "ä", "z"),
        vectors=np.arange(12, dtype=np.float32).reshape(3, 4),
        n_events=np.array([2, 1, 0], dtype=np.int32),
        top_events=((event, event | {"weight": -0.25}), (event,), ()),
        basis_version="b1",
    )


def same(one, other):
    """Return whether two tables are equal in every part, types of arrays included."""
    arrays = [(one.vectors, other.vectors), (one.n_events, other.n_events)]
    return (one.user_ids, one.top_events, one.basis_version) == (
        other.user_ids,
        other.top_events,
        other.basis_version,
    ) and all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in arrays)


def test_a_table_comes_back_as_it_was(tmp_path, table):
    """Ids, vectors, counts, provenance and basis survive the file bit for bit."""
    path = save_preferences(tmp_path / "p.parquet", table)
    assert same(load_preferences(path), table)


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
