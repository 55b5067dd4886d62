import numpy as np
import pytest

from personalgen.recommenders import neighbours
from personalgen.recommenders.neighbours import highest, nearest


def test_neighbours_are_those_of_highest_cosine(monkeypatch):
    """As a table of all cosines says, whatever the chunks."""
    vectors = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T - 10 * np.eye(50)
    for chunk in (1 << 25, 170):
        monkeypatch.setattr(neighbours, "_CHUNK_COSINES", chunk)
        found, value = nearest(vectors, 5)
        assert np.array_equal(found, np.argsort(-cosines, axis=1)[:, :5])
        assert np.allclose(value, -np.sort(-cosines, axis=1)[:, :5], atol=1e-6)


def test_nothing_is_alike_to_nothing():
    """A row of zeros has no neighbours and is nobody's; where rows are few, so are neighbours."""
    found, value = nearest(np.array([[1, 0], [0, 0], [1, 1]], dtype=np.float32), 4)
    assert found.tolist() == [[2, -1, -1, -1], [-1] * 4, [0, -1, -1, -1]]
    assert value[0, 0] == pytest.approx(0.5**0.5)
    assert np.isnan(value[found < 0]).all()
    assert nearest(np.zeros((0, 3), dtype=np.float32), 2)[0].shape == (0, 2)
    assert nearest(np.ones((1, 3), dtype=np.float32), 2)[0].tolist() == [[-1, -1]]
    assert nearest(np.ones((4, 3), dtype=np.float32), 0)[0].shape == (4, 0)


def test_equal_scores_stand_by_their_place():
    """So that a table does not depend on how it was sorted."""
    assert highest(np.array([[1, 3, 3, 2], [0, 0, 0, 0]], dtype=np.float32), 3).tolist() == [[1, 2, 3], [0, 1, 2]]
