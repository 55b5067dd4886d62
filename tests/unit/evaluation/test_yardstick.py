from dataclasses import replace

import numpy as np
import pytest

from personalgen.errors import DataError
from personalgen.evaluation import EvaluationOptions, Pictures, build_yardstick, measure, of_users, select_held_out
from personalgen.evaluation.descriptors import describe
from personalgen.worlds import ShapesWorld

N_ITEMS, N_USERS, EVENTS = 360, 90, 60
OPTIONS = EvaluationOptions(n_users=N_USERS, bootstrap=200, permutations=200)


@pytest.fixture(scope="module")
def catalogue():
    """360 drawn shapes, with their colours as the features that judge A compares."""
    world = ShapesWorld(N_ITEMS)
    images = world.render(32)
    hue = np.array([float(value) for value in world.items().labels["hue"]])
    return Pictures(describe(images)["colour"], images), hue


@pytest.fixture(scope="module")
def history(catalogue):
    """90 people who love hues, 60 likes each, the later half held out; a third of people and items in each split."""
    _, hue = catalogue
    rng = np.random.default_rng(0)
    apart = np.abs((hue[None] - rng.uniform(0, 360, N_USERS)[:, None] + 180) % 360 - 180)
    liked = np.argsort(apart / 20 - rng.gumbel(size=apart.shape), axis=1)[:, :EVENTS]
    return {
        "user_ids": [f"u{k}" for k in range(N_USERS)],
        "judged_users": np.arange(N_USERS) % 3 > 0,
        "user_split": np.arange(N_USERS) % 3,
        "item_split": rng.choice(3, N_ITEMS),
        "user_index": np.repeat(np.arange(N_USERS), EVENTS),
        "item_index": liked.ravel(),
        "weight": np.ones(N_USERS * EVENTS, np.float32),
        "later": np.tile(rng.permutation(EVENTS) >= EVENTS // 2, N_USERS),
    }


def _yardstick(catalogue, history):
    selection = select_held_out(**history, options=OPTIONS)
    return build_yardstick(selection, catalogue[0].take(selection.item_index), options=OPTIONS)


@pytest.fixture(scope="module")
def yardstick(catalogue, history):
    return _yardstick(catalogue, history)


def _pictures(catalogue, selection):
    """Return the first four held-out likes of each evaluated user, as if they had been drawn."""
    items = catalogue[0].take(selection.item_index)
    likes = selection.held_out_likes
    rows = np.stack([likes.indices[start : start + 4] for start in likes.indptr[:-1]])
    return Pictures(items.features[rows], items.images[rows])


def test_judge_b_learns_from_judge_only_people_and_items(yardstick, history):
    """Its likes are of the judge split on both sides, and nobody whom it judges is among its people."""
    selection = yardstick.selection
    assert selection.is_judge[selection.judge_likes.indices].all()
    judged = selection.user_index[yardstick.second.users]
    assert (history["user_split"][judged] == 2).all()
    assert selection.judge_likes.shape[0] == (history["user_split"] == 1).sum()


def test_who_is_judged_taught_judge_b_nothing(catalogue, history, yardstick):
    """Other likes of the people whom it judges, on their earlier side, change no weight of it."""
    changed = dict(history)
    of_judged = (history["user_split"][history["user_index"]] != 1) & ~history["later"]
    rng = np.random.default_rng(1)
    changed["item_index"] = np.where(of_judged, rng.integers(0, N_ITEMS, of_judged.size), history["item_index"])
    again = _yardstick(catalogue, changed)
    assert np.array_equal(again.second.judge.reliability_, yardstick.second.judge.reliability_)


def test_both_judges_see_real_likes_and_agree(catalogue, yardstick):
    """Real likes in the place of pictures: both judges call them personal, and agree far above chance."""
    pictures = _pictures(catalogue, yardstick.selection)
    found = measure(pictures.features, yardstick, options=OPTIONS, images=pictures.images)
    assert found.second.preference.npg.value == pytest.approx(1, abs=0.3)
    assert found.second.preference.n_users == len(yardstick.second.users) < found.preference.n_users
    assert found.second.agreement.same_winner.low > 0.6
    assert found.identification.of_real_16.low > 0.7


@pytest.mark.parametrize("fault", ["one for all", "noise", "shuffled users"])
def test_both_judges_catch_what_is_not_personal(catalogue, yardstick, fault):
    """One picture for all, noise and other people's pictures have no gain by either judge."""
    own = _pictures(catalogue, yardstick.selection)
    noise = np.random.default_rng(0).integers(0, 256, own.images.shape).astype(np.uint8)
    images = {
        "one for all": np.broadcast_to(own.images[:1, :1], own.images.shape),
        "noise": noise,
        "shuffled users": np.roll(own.images, 1, axis=0),
    }[fault]
    flat = describe(np.ascontiguousarray(images.reshape(-1, *images.shape[2:])))["colour"]
    found = measure(flat.reshape(*images.shape[:2], -1), yardstick, options=OPTIONS, images=images)
    assert found.preference.npg.high < 0.4
    assert found.second.preference.npg.high < 0.4
    assert found.identification.of_real_16.value < 0.75


def test_without_judge_only_people_there_is_no_second_judge(catalogue, history):
    """The reason is told, and the rest is measured."""
    nobody = {**history, "user_split": np.where(history["user_split"] == 1, 0, history["user_split"])}
    yardstick = _yardstick(catalogue, nobody)
    assert yardstick.second is None
    pictures = _pictures(catalogue, yardstick.selection)
    found = measure(pictures.features, yardstick, options=OPTIONS, images=pictures.images)
    assert "found 0 and 0" in found.second_missing
    assert "b_npg" not in found.metrics()


def test_a_judge_s_like_of_a_test_item_is_refused(catalogue, yardstick):
    """Judge B may not have seen what the ceiling is made of."""
    selection = yardstick.selection
    likes = selection.judge_likes.copy()
    likes.indices[0] = np.flatnonzero(~selection.is_judge)[0]
    leaked = replace(selection, judge_likes=likes)
    with pytest.raises(DataError, match="wrong split"):
        build_yardstick(leaked, yardstick.items, options=OPTIONS)


def test_some_of_the_users_are_measured_as_they_are_among_all(catalogue, yardstick):
    """The scores of a few users for one another are those that they have in the whole matrix, by both judges."""
    users = np.flatnonzero(~yardstick.selection.is_judge_user)[:12]
    few, pictures = of_users(yardstick, users, options=OPTIONS), _pictures(catalogue, yardstick.selection)
    whole = yardstick.scores(pictures.features, pictures.images)
    part = few.scores(pictures.features[users], pictures.images[users])
    assert part == pytest.approx(whole[np.ix_(users, users)])
    assert few.real_scores == pytest.approx(yardstick.real_scores[np.ix_(users, users)])
    assert few.second.judge.reliability_ == pytest.approx(yardstick.second.judge.reliability_)
