import numpy as np
import pytest

from personalgen.errors import DataError
from personalgen.evaluation import EvaluationOptions, select_held_out

N_USERS, N_ITEMS = 30, 120


@pytest.fixture
def history():
    """Events of 30 users: about 40 each on 120 items, the second half later, one in five a dislike."""
    rng = np.random.default_rng(0)
    user_index = np.repeat(np.arange(N_USERS), 40)
    return {
        "user_ids": [f"u{k}" for k in range(N_USERS)],
        "judged_users": np.ones(N_USERS, dtype=bool),
        "user_split": np.arange(N_USERS) % 3,
        "item_split": rng.choice(3, N_ITEMS, p=[0.6, 0.2, 0.2]),
        "user_index": user_index,
        "item_index": rng.integers(0, N_ITEMS, len(user_index)),
        "weight": rng.choice([1.0, 2.0, -1.0], len(user_index), p=[0.4, 0.4, 0.2]).astype(np.float32),
        "later": np.tile(np.arange(40) >= 20, N_USERS),
    }


def test_likes_are_later_positive_and_of_the_right_split(history):
    """Every weight is the sum of the user's later positive events on that item, split by split, and nothing else."""
    chosen = select_held_out(**history, options=EvaluationOptions())
    expected = np.zeros((N_USERS, N_ITEMS))
    used = history["later"] & (history["weight"] > 0)
    np.add.at(expected, (history["user_index"][used], history["item_index"][used]), history["weight"][used])
    for likes, split in ((chosen.profile_likes, 1), (chosen.held_out_likes, 2)):
        of_split = expected * (history["item_split"] == split)
        assert np.allclose(likes.toarray(), of_split[np.ix_(chosen.user_index, chosen.item_index)])
        assert np.isclose(likes.sum(), of_split[chosen.user_index].sum())


def test_training_items_never_enter(history):
    """No row of the training split is selected, and rows are sorted and unique."""
    chosen = select_held_out(**history, options=EvaluationOptions())
    assert (history["item_split"][chosen.item_index] > 0).all()
    assert np.array_equal(chosen.is_judge, history["item_split"][chosen.item_index] == 1)
    assert (np.diff(chosen.item_index) > 0).all()


def test_reference_rows_are_drawn_without_regard_to_likes(history):
    """With a cap on items the reference has that size, and liked items come on top of it."""
    chosen = select_held_out(**history, options=EvaluationOptions(max_items=16))
    assert chosen.is_reference.sum() == 16
    assert len(chosen.item_index) > 16


def test_only_judged_users_are_evaluated(history):
    """Users that training saw are never asked for, whatever they like."""
    judged = np.arange(N_USERS) % 3 == 0
    chosen = select_held_out(**history | {"judged_users": judged}, options=EvaluationOptions())
    assert judged[chosen.user_index].all()
    assert len(chosen.user_index) >= 8


def test_users_are_stable_when_others_join(history):
    """With a cap on users, dropping a user who was not chosen changes nobody else."""
    options = EvaluationOptions(n_users=10)
    chosen = select_held_out(**history, options=options)
    left_out = next(k for k in range(N_USERS) if k not in chosen.user_index)
    kept = history["user_index"] != left_out
    fewer = {k: v[kept] if k in ("user_index", "item_index", "weight", "later") else v for k, v in history.items()}
    assert np.array_equal(select_held_out(**fewer, options=options).user_index, chosen.user_index)
    assert len(chosen.user_index) == 10


def test_order_of_events_does_not_matter(history):
    """Shuffled events give the same selection."""
    order = np.random.default_rng(1).permutation(len(history["weight"]))
    shuffled = {k: v[order] if k in ("user_index", "item_index", "weight", "later") else v for k, v in history.items()}
    a, b = (select_held_out(**x, options=EvaluationOptions()) for x in (history, shuffled))
    assert np.array_equal(a.item_index, b.item_index)
    assert np.allclose(a.profile_likes.toarray(), b.profile_likes.toarray())


def test_too_few_users_is_a_clear_error(history):
    """Below 8 users with enough held-out likes the evaluation is missing, and the message says how many there are."""
    with pytest.raises(DataError, match=r"at least 8 held-out users with 99 or more.*found 0.*evaluation is missing"):
        select_held_out(**history, options=EvaluationOptions(min_likes=99))
