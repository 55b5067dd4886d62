import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from personalgen.errors import DataError
from personalgen.evaluation import nearest
from personalgen.evaluation.nearest import distance_tiles, nearest_distances, neighbour_radii


def _rows(n, d=7, *, seed, offset=0.0):
    return (np.random.default_rng(seed).normal(size=(n, d)) + offset).astype(np.float32)


def test_distances_equal_those_of_scikit_learn():
    """The distances to the five nearest are those of another library, nearest first."""
    rows, others = _rows(40, seed=0), _rows(60, seed=1)
    expected = NearestNeighbors(n_neighbors=5, algorithm="brute").fit(others.astype(float)).kneighbors(rows)[0]
    assert nearest_distances(rows, others, k=5) == pytest.approx(expected, rel=1e-6)


def test_tiles_change_nothing(monkeypatch):
    """Tiles of 7 rows give the distances of one tile, and every pair comes once."""
    rows, others = _rows(20, seed=0), _rows(30, seed=1)
    whole = nearest_distances(rows, others, k=3)
    monkeypatch.setattr(nearest, "_TILE_ROWS", 7)
    assert nearest_distances(rows, others, k=3) == pytest.approx(whole, rel=1e-9)
    seen = np.zeros((20, 30), int)
    for span, of_others, squared in distance_tiles(rows, others):
        assert max(squared.shape) <= 7
        seen[span, of_others] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_copies_are_at_zero_and_near_duplicates_are_not(offset):
    """Far from the origin too, a copy is at distance zero and a copy moved by a thousandth at a thousandth."""
    rows = _rows(50, seed=0, offset=offset).astype(np.float64)
    moved = rows + 1e-3 * np.eye(7)[0]
    assert (nearest_distances(rows, rows) == 0).all()
    assert nearest_distances(moved, rows)[:, 0] == pytest.approx(1e-3, rel=1e-4)


def test_a_row_s_own_group_does_not_count():
    """Radii leave the row itself out, and with groups all rows of the same name."""
    rows = np.array([[0.0], [0.1], [5.0], [5.2]])
    assert neighbour_radii(rows, k=1) == pytest.approx([0.1, 0.1, 0.2, 0.2])
    assert neighbour_radii(rows, k=1, groups=np.array(["a", "a", "b", "b"])) == pytest.approx([5.0, 4.9, 4.9, 5.1])


def test_too_few_neighbours_and_other_widths_are_refused():
    """What has no k-th neighbour, and rows of different widths, are named."""
    with pytest.raises(DataError, match="at least 5 neighbours"):
        neighbour_radii(_rows(5, seed=0), k=5)
    with pytest.raises(DataError, match="one width"):
        nearest_distances(_rows(5, seed=0), _rows(5, d=6, seed=1))
