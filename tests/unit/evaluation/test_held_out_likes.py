import numpy as np
import pytest

from personalgen.evaluation.held_out_likes import last_like_out, later_likes_out
from personalgen.histories import History


@pytest.fixture
def history():
    """Return three people: likes at 1, 2, 3 with a later dislike; one like at 10; likes at 4 and 11."""
    return History(
        ("a", "b", "c"),
        ("w", "x", "y", "z"),
        np.array([0, 0, 0, 0, 1, 2, 2]),
        np.array([0, 1, 2, 3, 0, 1, 3]),
        np.array([1, 2, 3, 9, 10, 4, 11]),
        np.array([1, 1, 1, -1, 1, 1, 1], dtype=np.float32),
    )


def test_the_newest_like_of_each_person_is_held_out(history):
    """Dislikes count for nothing, and whoever has one like keeps it and is not asked about."""
    task = last_like_out(history)
    assert task.known.item_index.tolist() == [0, 1, 0, 1]
    assert task.liked.toarray().tolist() == [[0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]


def test_nothing_after_the_split_is_known(history):
    """The last third of all likes is asked for, of whomever they are."""
    task = later_likes_out(history, 1 / 3)
    assert task.known.timestamp.max() < 10
    assert task.liked.toarray().tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]


def test_known_items_are_left_out_of_the_ranking(history):
    """A model that knows only what was liked before gets nothing for it; one that foretells gets everything."""
    task = last_like_out(history)
    knows = np.array([[3, 3, 1, 0], [3, 0, 0, 0], [0, 3, 0, 1]], dtype=np.float32)
    assert task.rank(knows).metrics()["ndcg_at_10"] == 1
    assert np.isnan(task.rank(knows).ndcg[1])
