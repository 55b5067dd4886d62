import numpy as np
import pytest

from personalgen.catalogue.facts import Ranked


def ranked(index, scores, owners=("a", "b")):
    """Return ranks over two found ids."""
    return Ranked(
        owner_ids=owners,
        found_ids=("x", "y"),
        found_index=np.array(index),
        scores=np.array(scores, dtype=np.float32),
    )


@pytest.mark.parametrize(
    ("index", "scores", "owners"),
    [
        ([[0, 1]], [[1.0, 0.5]], ("a", "b")),
        ([[0, 1], [0, 1]], [[1.0], [1.0]], ("a", "b")),
        ([0, 1], [1.0, 0.5], ("a", "b")),
    ],
    ids=["fewer rows than owners", "other widths", "no columns"],
)
def test_ranks_of_another_shape_are_refused(index, scores, owners):
    """Places and scores have one row an owner and equally many columns."""
    with pytest.raises(ValueError, match="are both"):
        ranked(index, scores, owners)


@pytest.mark.parametrize("place", [-1, 2])
def test_a_place_outside_what_was_found_needs_to_be_empty(place):
    """With a score such a place is a mistake; without one it means nothing."""
    with pytest.raises(ValueError, match="outside the 2 found_ids"):
        ranked([[0], [place]], [[1.0], [0.5]])
    assert ranked([[0], [place]], [[1.0], [np.nan]]).owner_ids == ("a", "b")
