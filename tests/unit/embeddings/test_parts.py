import numpy as np
import pytest

from personalgen.embeddings import like_weights, part_of_likes
from personalgen.embeddings.history import decayed_weights
from personalgen.histories import History

DAY = 86_400


def _history(n_likes, *, n_users=3, days=0.0):
    """Return a history of `n_likes` likes a user, `days` apart, and one dislike at the end."""
    user = np.repeat(np.arange(n_users), n_likes + 1)
    place = np.tile(np.arange(n_likes + 1), n_users)
    weight = np.where(place == n_likes, -1.0, 1.0).astype(np.float32)
    items = tuple(f"i{k}" for k in range(n_likes + 1))
    return History(
        tuple(f"u{k}" for k in range(n_users)), items, user, place, (1000 + place * days * DAY).astype(np.int64), weight
    )


def test_so_many_likes_of_each_and_all_dislikes():
    """Four likes of each user are kept, and whoever has no more keeps all."""
    part = part_of_likes(_history(20), 4, 0, half_life_days=30)
    assert np.bincount(part.user_index[part.weight > 0]).tolist() == [4, 4, 4]
    assert (part.weight < 0).sum() == 3
    few = _history(3)
    assert np.array_equal(part_of_likes(few, 4, 0, half_life_days=30).item_index, few.item_index)


def test_pictures_and_people_differ_and_repeat():
    """Variants and users draw other likes, and the same again when asked again."""
    history = _history(20)
    parts = [part_of_likes(history, 4, variant, half_life_days=30) for variant in (0, 1, 0)]
    items = [frozenset(part.item_index[(part.user_index == 0) & (part.weight > 0)].tolist()) for part in parts]
    assert items[0] == items[2] != items[1]
    others = frozenset(parts[0].item_index[(parts[0].user_index == 1) & (parts[0].weight > 0)].tolist())
    assert others != items[0]


def test_a_new_like_changes_little():
    """Of 200 people, one like more changes the four of about one in five (4 of 21), by that like alone."""
    before, after = (part_of_likes(_history(n, n_users=200), 4, 0, half_life_days=30) for n in (20, 21))
    sets = [
        [set(part.item_index[(part.user_index == user) & (part.weight > 0)].tolist()) for user in range(200)]
        for part in (before, after)
    ]
    changed = [(old, new) for old, new in zip(*sets, strict=True) if old != new]
    assert 15 < len(changed) < 70
    assert all(new - old == {20} for old, new in changed)


def test_newer_likes_are_drawn_more_often():
    """Of two likes a half-life apart the newer one is drawn twice as often: 2/3 of 3,000 people, 5 errors apart."""
    part = part_of_likes(_history(2, n_users=3000, days=30.0), 1, 0, half_life_days=30)
    assert (part.item_index[part.weight > 0] == 1).mean() == pytest.approx(2 / 3, abs=0.043)


def test_an_old_like_stays_a_like():
    """A like so old that its weight is nothing in floating point can still be drawn; a dislike weighs nothing."""
    history = _history(2, days=10_000)
    weights = like_weights(history, half_life_days=1)
    assert decayed_weights(history, half_life_days=1)[0] == 0
    assert np.array_equal(weights > 0, history.weight > 0)
