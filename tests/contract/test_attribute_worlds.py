"""What every world whose attributes decide the true utility has to do; a new one in WORLDS is tested by being there."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import product

import numpy as np
import pytest

from personalgen.errors import ConfigError
from personalgen.evaluation import EstimatorOptions, fit_estimator
from personalgen.tables import ColumnMapping, ItemColumns, LimitsOptions, SourceOptions, load_prepared, prepare_tables
from personalgen.worlds import WORLDS, HistoryOptions, add_days, known_attributes, write_history
from personalgen.worlds.history import simulate_events

NAMES = sorted(name for name, world in WORLDS.items() if hasattr(world, "utility_of_attributes"))
SMALL = EstimatorOptions(n_renders=2000, n_checked=200, epochs=3)


@pytest.fixture(params=NAMES)
def kind(request):
    """Return the class of a world."""
    return WORLDS[request.param]


@pytest.fixture(scope="module", params=NAMES)
def world(request):
    """Return a world of its usual size."""
    return WORLDS[request.param]()


def as_bytes(pictures):
    """Return what can be compared as a set."""
    return {picture.tobytes() for picture in pictures}


def test_there_are_several_worlds():
    """Nothing can be tuned to one: at least three, no two of them of the same attributes."""
    assert len(NAMES) >= 3
    assert len({repr(WORLDS[name]().space) for name in NAMES}) == len(NAMES)


def test_a_world_is_a_function_of_its_size_and_seed(kind):
    """Two worlds of one seed agree in catalogue, pictures, users and utilities; another seed's users differ."""
    one, same, other = kind(40), kind(40), kind(40, seed=1)
    assert one.items() == same.items()
    assert (one.render(16) == same.render(16)).all()
    assert (one.render(16) == one.render(16)).all()
    users = one.sample_users(20, seed=3)
    assert users == same.sample_users(20, seed=3)
    assert (one.true_utility(users) == same.true_utility(users)).all()
    assert users.tastes != one.sample_users(20, seed=4).tastes
    assert (one.render(16) != other.render(16)).any()


def test_a_larger_world_begins_with_the_smaller(kind):
    """Adding items changes neither ids, labels nor pictures of those before."""
    small, large = kind(10), kind(30)
    assert large.items().titles[:10] == small.items().titles
    assert large.items().item_ids[:10] == small.items().item_ids
    assert (large.render(16)[:10] == small.render(16)).all()


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_fresh_pictures_are_not_those_of_the_catalogue(kind, seed):
    """No fresh render equals a picture of the world it was asked of, or one of another seed."""
    world = kind(64)
    own, fresh, other = world.render(16), world.fresh(64, seed).render(16), world.fresh(64, seed + 1).render(16)
    for one, two in ((own, fresh), (own, other), (fresh, other)):
        assert not as_bytes(one) & as_bytes(two)


def test_a_negative_seed_of_fresh_pictures_is_refused(kind):
    """Seed -1 would be the world itself."""
    with pytest.raises(ConfigError, match="seed of at least 0, found -1"):
        kind(4).fresh(4, seed=-1)


def test_a_world_without_items_is_refused(kind):
    """Zero items are a ConfigError, not an empty array later."""
    with pytest.raises(ConfigError, match="at least 1 item"):
        kind(0)


def test_items_cover_all_values_evenly(world):
    """Every combination of categories occurs equally often, or once more; angles and numbers fill their range."""
    items, space = world.items(), world.space
    assert 512 <= len(items.item_ids) <= 1024
    shown = list(zip(*(items.labels[name] for name in space.categories), strict=True))
    counts = [shown.count(values) for values in product(*space.categories.values())]
    assert max(counts) - min(counts) <= 1
    known = known_attributes(items, space)
    for values, end in [(v, 360) for v in known.angles.values()] + [(v, 1) for v in known.numbers.values()]:
        assert np.histogram(values, bins=8, range=(0, end))[0].min() >= 0.9 * len(values) / 8


def test_attributes_do_not_tell_of_one_another(world):
    """Within each value of each category, the mean of a number is that of all, within 0.1."""
    known = known_attributes(world.items(), world.space)
    for number in known.numbers.values():
        for rows in known.categories.values():
            assert np.abs(rows.T @ number / rows.sum(axis=0) - 0.5).max() < 0.1


def test_labels_say_all_of_it(world):
    """`category` comes first and has a colour beside it, each column is as long as the ids, and ids are unique."""
    items = world.items()
    assert next(iter(world.space.categories)) == "category"
    assert {"category", "colour", *world.space.categories, *world.space.angles, *world.space.numbers} <= {*items.labels}
    assert {len(column) for column in (items.titles, *items.labels.values())} == {len(items.item_ids)}
    assert len(set(items.item_ids)) == len(items.item_ids)


@pytest.mark.parametrize("image_px", [8, 32, 65])
def test_pictures_have_the_asked_size(kind, image_px):
    """(n, px, px, 3) uint8, no two alike."""
    pictures = kind(48).render(image_px)
    assert (pictures.shape, pictures.dtype) == ((48, image_px, image_px, 3), np.uint8)
    assert len(as_bytes(pictures)) == 48


def test_edges_are_smooth(kind):
    """A small picture is nearly a large one averaged down; hard edges differ by twice as much as is allowed."""
    world = kind(32)
    large = world.render(128).astype(float).reshape(32, 32, 4, 32, 4, 3).mean(axis=(2, 4))
    difference = np.abs(world.render(32) - large).mean(axis=(1, 2, 3))
    assert difference.mean() < 2.5
    assert difference.max() < 6


def test_known_attributes_give_the_true_utility(world):
    """What the items are known to show is worth what the world says of the items."""
    users = world.sample_users(30, seed=3)
    utility = world.utility_of_attributes(users, known_attributes(world.items(), world.space))
    assert (utility.shape, utility.dtype) == ((30, len(world.items().item_ids)), np.float32)
    assert (utility == world.true_utility(users)).all()


def test_the_utility_is_expected_over_the_probabilities(world):
    """A picture of which one category cannot be told is worth the mean over its values, whatever else it shows."""
    users, known = world.sample_users(30, seed=3), known_attributes(world.items(), world.space)
    for name, values in world.space.categories.items():
        rows = [np.broadcast_to(row, known.categories[name].shape) for row in np.eye(len(values))]
        rows.append(np.full_like(known.categories[name], 1 / len(values)))
        *each, unknown = (
            world.utility_of_attributes(users, replace(known, categories={**known.categories, name: row}))
            for row in rows
        )
        np.testing.assert_allclose(unknown, np.mean(each, axis=0), atol=1e-5)


def test_every_attribute_matters(world):
    """Exchanging the values of any one attribute among the items changes the utilities of most people."""
    users, known = world.sample_users(50, seed=0), known_attributes(world.items(), world.space)
    before = world.true_utility(users)
    for part in ("categories", "angles", "numbers"):
        for name, values in getattr(known, part).items():
            moved = replace(known, **{part: {**getattr(known, part), name: np.roll(values, 37, axis=0)}})
            changed = np.abs(world.utility_of_attributes(users, moved) - before).max(axis=1) > 0.3
            assert changed.mean() > 0.9, name


def test_tastes_are_as_strong_as_in_the_other_worlds(world):
    """A choice by softmax is worth 2.5 to 3 nats more than the mean item, and falls on a fifth to a third of them."""
    utility = world.true_utility(world.sample_users(1000, seed=0)).astype(float)
    chosen = np.exp(utility - utility.max(axis=1, keepdims=True))
    chosen /= chosen.sum(axis=1, keepdims=True)
    lift = (chosen * utility).sum(axis=1) - utility.mean(axis=1)
    effective = np.exp(-(chosen * np.log(chosen)).sum(axis=1)) / utility.shape[1]
    assert 2.5 < lift.mean() < 3
    assert 0.2 < effective.mean() < 0.33


def test_people_are_interpretable(world):
    """Each has one or two loved categories and a text for all else; ids are unique."""
    users = world.sample_users(100, seed=1)
    assert len(set(users.user_ids)) == 100
    assert {len(taste["category"]) for taste in users.tastes} == {1, 2}
    assert all(isinstance(value, str) for taste in users.tastes for values in taste.values() for value in values)
    assert len({repr(taste) for taste in users.tastes}) == 100


def test_likes_follow_the_true_utility(world):
    """Liked items are worth more than a nat over the average item, disliked ones less than it."""
    options = HistoryOptions(n_users=100, mean_events=12)
    users = world.sample_users(100, 0)
    events, utility = simulate_events(world, users, options), world.true_utility(users)
    worth = utility[events.user, events.item] - utility.mean(1)[events.user]
    assert worth[events.weight > 0].mean() > 1
    assert worth[events.weight < 0].mean() < -0.2


def test_the_world_is_a_source_like_any_other(kind, tmp_path):
    """Written as tables it passes the input contract without one refused row, and days can be added."""
    world = kind(48)
    options = HistoryOptions(n_users=30, mean_events=12, image_px=16)
    database = write_history(world, tmp_path / "world", options)
    source = SourceOptions(
        url=f"sqlite:///{database}",
        image_root=str(database.parent),
        users="users",
        columns=ColumnMapping(items=ItemColumns(labels=("category", "colour"))),
    )
    now = datetime.fromtimestamp(options.end_timestamp, UTC)
    tables = prepare_tables(
        source, limits=LimitsOptions(), image_px=16, out_root=tmp_path / "prepared", as_of=None, now=now
    )
    assert (tables.n_items, tables.n_users, tables.n_quarantined) == (48, 30, 0)
    assert (load_prepared(tables.folder).images == world.render(16)).all()
    assert add_days(world, database, options) > 0


def test_a_small_estimator_reads_fresh_renders(world):
    """After 2,000 renders of 16 px: most categories, angles within 15 degrees and numbers within 0.12.

    By chance it would be a half at best, 90 degrees and 0.25.
    """
    error = fit_estimator(world, image_px=16, options=SMALL).error
    assert {*error.accuracy} == {*world.space.categories}
    assert {*error.mean_absolute} == {*world.space.numbers}
    assert min(error.accuracy.values()) > 0.75
    assert max(error.mean_degrees.values(), default=0) < 15
    assert max(error.mean_absolute.values(), default=0) < 0.12
