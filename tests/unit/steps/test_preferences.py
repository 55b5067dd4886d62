"""Whose vectors are compared with last night's, and stand for drift where they have moved."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from personalgen.embeddings import PreferenceTable, save_preferences
from personalgen.embeddings.drift import MIN_PEOPLE, DriftOptions
from personalgen.embeddings.preference import NO_EVENTS
from personalgen.embeddings.rated import RatedPictures, save_rated
from personalgen.steps.preferences import TONIGHT, keep_or_fall_back
from personalgen.steps.rated import RATED
from personalgen.steps.recommend import UNCHANGED

PEOPLE = tuple(f"u{k:02d}" for k in range(2 * MIN_PEOPLE))


@pytest.fixture
def nights(tmp_path):
    """Return last night's and tonight's folder of a basis, one person's vector turned round, and what compares them."""
    turned = np.tile(np.eye(4, dtype=np.float32)[0], (len(PEOPLE), 1))
    turned[0] *= -1
    folders = [tmp_path / name / "embed" / "basis" for name in ("before", "tonight")]
    for folder, vectors in zip(folders, (turned, np.abs(turned)), strict=True):
        folder.mkdir(parents=True)
        counts, events = np.ones(len(PEOPLE), dtype=np.int32), (NO_EVENTS,) * len(PEOPLE)
        save_preferences(folder / TONIGHT, PreferenceTable(PEOPLE, vectors, counts, events, "basis", {}))
    pq.write_table(pa.table({"user_id": pa.array(PEOPLE)}), tmp_path / UNCHANGED)
    workspace = SimpleNamespace(settings=SimpleNamespace(drift=DriftOptions()))
    recommended = SimpleNamespace(night_before=str(tmp_path / "before"), folder=str(tmp_path), ndcg_share=None)
    return *folders, lambda: keep_or_fall_back(workspace, folders[1], recommended)


def rated_by(user_id):
    """Return one rating of a person."""
    return RatedPictures((user_id,), np.array([1]), np.array([5]), np.ones(1), np.ones((1, 4), dtype=np.float32))


def test_a_vector_that_moved_by_itself_is_drift(nights):
    """Nobody rated: whoever did nothing and has another vector counts."""
    figures, reasons = nights[2]()
    assert figures["n_unchanged"] == len(PEOPLE)
    assert len(reasons) == 1


@pytest.mark.parametrize("night", [0, 1])
def test_who_rated_last_night_or_tonight_moves_without_being_drift(nights, night):
    """A rating that is heard, or no longer, moves its person's vector, and tells nothing of the others'."""
    save_rated(nights[night] / RATED, rated_by(PEOPLE[0]))
    figures, reasons = nights[2]()
    assert (figures["n_unchanged"], reasons) == (len(PEOPLE) - 1, ())
