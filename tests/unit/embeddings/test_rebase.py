import dataclasses

import numpy as np
import pytest

from personalgen.embeddings import EmbeddingOptions, embed_users, fit_basis, is_over, load_basis, rebased, save_basis
from personalgen.errors import ConfigError
from personalgen.histories import History
from personalgen.recommenders import NextItemOptions

N_ITEMS, N_USERS, DAY = 60, 200, 86_400
IDS = tuple(f"i{k:02d}" for k in range(N_ITEMS))
OPTIONS = EmbeddingOptions(content_dim=6, collaborative_dim=4, text_dim=0, next_item_dim=5, segment_prior=True)
ARRAYS = ("content_mean", "content_map", "factor_map", "item_factors", "center", "scale", "segment_means")


@pytest.fixture(scope="module")
def features():
    """Return features with six strong directions."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(N_ITEMS, 6)) @ rng.normal(size=(6, 15))).astype(np.float32)


@pytest.fixture(scope="module")
def history(features):
    """Return 200 people who each like ten items that look alike, a tenth of them on one day more."""
    rng = np.random.default_rng(1)
    white = (features - features.mean(0)) / features.std(0)
    likes = []
    for user in range(N_USERS):
        taste = white[rng.integers(N_ITEMS)]
        chance = np.exp(white @ taste)
        items = rng.choice(N_ITEMS, 14 if user < 40 else 10, replace=False, p=chance / chance.sum())
        likes += [(user, item, day) for day, item in enumerate(items)]
    user, item, day = np.array(likes).T
    names, ones = tuple(f"u{k}" for k in range(N_USERS)), np.ones(len(likes), dtype=np.float32)
    return History(names, IDS, user, item, day * DAY, ones, tuple(f"s{k % 3}" for k in range(N_USERS)))


def fitted(history, features, items=None):
    """Return a basis with maps and segments."""
    items = np.ones(N_ITEMS, dtype=bool) if items is None else items
    return fit_basis(history, features, items, OPTIONS, next_item=NextItemOptions(ridge=5.0))


@pytest.fixture(scope="module")
def old(history, features):
    """Return a basis of before the newest likes of some people, and before six items."""
    return fitted(history.where(history.timestamp < 10 * DAY), features, np.arange(N_ITEMS) < 54)


@pytest.fixture(scope="module")
def new(history, features):
    """Return a basis of everything, before it is turned."""
    return fitted(history, features)


@pytest.fixture(scope="module")
def turned(new, old, features):
    """Return it turned onto the old one."""
    return rebased(new, old, features, IDS)


def vectors(basis, history, features):
    """Return preferences and collaborative vectors."""
    table = embed_users(history, basis, features, {"collaborative": 1})
    return {"preference": table.vectors, "collaborative": table.fields["collaborative"].values}


def cosine(one, other):
    """Return the cosines of rows."""
    return (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


def test_products_within_a_half_stay(new, turned, history, features):
    """Of items, of people in either half, and of the collaborative vectors, also of items with little known."""
    unknown = (*IDS[:50], *(f"new{k}" for k in range(10)))
    history = dataclasses.replace(history, item_ids=unknown)
    items = [basis.item_vectors(features, unknown) for basis in (new, turned)]
    people = [vectors(basis, history, features) for basis in (new, turned)]
    pairs = [
        [each[:, half] for each in found] for half in new.halves for found in (items, [p["preference"] for p in people])
    ]
    pairs.append([p["collaborative"] for p in people])
    for before, after in pairs:
        assert np.allclose(before @ before.T, after @ after.T, atol=1e-3)
    assert not np.allclose(items[0], items[1], atol=0.1)


def test_people_who_did_nothing_stay_where_they_were(old, new, turned, history, features):
    """The cosine with their old vectors lacks less than a third of what it lacks without turning."""
    unchanged = np.arange(N_USERS) >= 40
    before, plain, after = (vectors(basis, history, features) for basis in (old, new, turned))
    for name, own in before.items():
        lacking = [1 - np.mean(cosine(own, each[name])[unchanged]) for each in (plain, after)]
        assert lacking[1] < 0.2
        assert lacking[1] < lacking[0] / 3


def test_the_same_fit_is_turned_by_nothing(new, features):
    """Onto itself every number stays, to rounding."""
    again = rebased(new, new, features, IDS)
    for name in ARRAYS:
        assert np.allclose(getattr(again, name), getattr(new, name), atol=1e-5)
    assert all(np.allclose(again.maps.arrays()[name], array, atol=1e-5) for name, array in new.maps.arrays().items())


def test_a_turned_fit_is_turned_back(new, turned, features):
    """The way there and back is no way."""
    back = rebased(turned, new, features, IDS)
    for name in ARRAYS:
        assert np.allclose(getattr(back, name), getattr(new, name), atol=1e-4)


def test_a_turned_basis_is_a_basis(turned, tmp_path):
    """It has a version of its own, and comes back as it was."""
    save_basis(tmp_path, turned)
    assert load_basis(tmp_path).version == turned.version


def test_it_has_what_it_was_fitted_with(new, turned):
    """Options, items, segments, spread and day are those of the new fit; so is what has no direction."""
    for name in ("options", "encoder", "item_ids", "segments", "fitted_as_of", "pseudo_events"):
        assert getattr(turned, name) == getattr(new, name)
    assert np.array_equal(turned.scale, new.scale)
    assert np.array_equal(turned.content_mean, new.content_mean)
    assert turned.version != new.version


def test_bases_without_maps_or_segments_are_turned(history, features):
    """What neither has is not there afterwards."""
    plain = dataclasses.replace(OPTIONS, segment_prior=False)
    old, new = (
        fit_basis(part, features, np.ones(N_ITEMS, dtype=bool), plain)
        for part in (history.where(history.timestamp < 10 * DAY), history)
    )
    found = rebased(new, old, features, IDS)
    assert (found.maps, found.segment_means) == (None, None)


def test_too_few_items_in_common_are_a_clear_error(new, old, features):
    """Six columns cannot be turned by five items; the message says what to set."""
    others = dataclasses.replace(old, item_ids=(*IDS[:5], *(f"gone{k}" for k in range(len(old.item_ids) - 5))))
    with pytest.raises(
        ConfigError, match=r"5 liked items in common; at least 6.*epoch_days to 0.*Nothing was embedded"
    ):
        rebased(new, others, features, IDS)


@pytest.mark.parametrize(("days", "over"), [(0, False), (1, True), (9, True), (10, False), (11, False)], ids=str)
def test_an_epoch_is_over_when_more_days_have_passed(days, over):
    """Ten days and no second more are not more than ten; 0 never ends."""
    assert is_over("2026-01-01T00:00:00+00:00", "2026-01-11T00:00:00+00:00", days) is over


def test_a_second_more_is_more():
    """An epoch of ten days is over after them."""
    assert is_over("2026-01-01T00:00:00+00:00", "2026-01-11T00:00:01+00:00", 10)
