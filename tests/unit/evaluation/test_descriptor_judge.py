import numpy as np
import pytest
from scipy.sparse import csr_array

from personalgen.errors import DataError
from personalgen.evaluation import DescriptorJudge, Pictures
from personalgen.evaluation.descriptors import describe
from personalgen.worlds import ShapesWorld

N_ITEMS, LIKES = 240, 6


@pytest.fixture(scope="module")
def catalogue():
    """240 drawn shapes without features: this judge looks at pixels alone."""
    world = ShapesWorld(N_ITEMS)
    hue = np.array([float(value) for value in world.items().labels["hue"]])
    return Pictures(np.zeros((N_ITEMS, 1)), world.render(32)), hue


def _likes(hue, centres, seed):
    """Return (n, n_items) six likes each of the hues around a centre."""
    rng = np.random.default_rng(seed)
    apart = np.abs((hue[None] - centres[:, None] + 180) % 360 - 180)
    keys = -apart / 15 + rng.gumbel(size=apart.shape)
    items = np.argsort(-keys, axis=1)[:, :LIKES]
    users = np.repeat(np.arange(len(centres)), LIKES)
    return csr_array((np.ones(users.size), (users, items.ravel())), shape=apart.shape)


@pytest.fixture(scope="module")
def judge(catalogue):
    """Judge B, fitted on 60 people who love hues."""
    items, hue = catalogue
    return DescriptorJudge().fit(items, _likes(hue, np.random.default_rng(0).uniform(0, 360, 60), seed=1))


def test_it_learns_what_people_have_in_common(catalogue, judge):
    """Other people's other likes are told from shuffled ones, by people whose tastes are hues."""
    items, hue = catalogue
    centres = np.random.default_rng(2).uniform(0, 360, 40)
    known, later = _likes(hue, centres, seed=3), _likes(hue, centres, seed=4)
    scores = later @ judge.score(items, items, known) / LIKES
    own = scores.diagonal()
    others = (scores.sum(axis=1) - own) / (len(own) - 1)
    assert (own > others).mean() > 0.9


def test_directions_without_taste_weigh_little(judge):
    """People who love hues differ in colour, not in edges: the mean reliability says so."""
    sizes = [judge.maps_[name].shape[1] for name in ("colour", "edges", "detail")]
    colour, edges, detail = np.split(judge.reliability_, np.cumsum(sizes)[:-1])
    assert colour.mean() > 3 * max(edges.mean(), detail.mean())
    assert (judge.reliability_ >= 0).all()
    assert (judge.reliability_ < 1).all()


def test_people_with_nothing_in_common_teach_little(catalogue, judge):
    """Likes at random give the directions a quarter of the weight, or less, that likes of hues give colours."""
    items, _ = catalogue
    rng = np.random.default_rng(5)
    users = np.repeat(np.arange(60), LIKES)
    likes = csr_array((np.ones(users.size), (users, rng.integers(0, N_ITEMS, users.size))), shape=(60, N_ITEMS))
    assert DescriptorJudge().fit(items, likes).reliability_.max() < judge.reliability_.max() / 4


def test_scores_are_cosines_and_do_not_depend_on_company(catalogue, judge):
    """Scores lie in [-1, 1], and a picture scores the same alone and among others."""
    items, hue = catalogue
    likes = _likes(hue, np.array([0.0, 120.0]), seed=6)
    together = judge.score(items, items, likes)
    assert np.abs(together).max() <= 1 + 1e-9
    assert judge.score(items.take(np.array([7])), items, likes) == pytest.approx(together[7:8])


def test_too_few_people_are_refused(catalogue):
    """Without judge-only people there is no judge B, and the message says how many there are."""
    items, hue = catalogue
    with pytest.raises(DataError, match="found 3 and"):
        DescriptorJudge().fit(items, _likes(hue, np.array([0.0, 120.0, 240.0]), seed=7))
    with pytest.raises(DataError, match="found 0 and 0"):
        DescriptorJudge().fit(items, csr_array((0, N_ITEMS)))
    with pytest.raises(DataError, match="given none"):
        DescriptorJudge().fit(Pictures(items.features), _likes(hue, np.arange(0.0, 360, 20), seed=7))


def test_descriptors_see_what_they_are_called_after():
    """A recoloured picture keeps its edges, a turned one its colours, a blurred one loses its detail."""
    picture = ShapesWorld(8).render(32)[3:4]
    turned, recoloured = np.rot90(picture, axes=(1, 2)), picture[..., [1, 2, 0]]
    plain = np.full_like(picture, 128)
    base, other, shifted, flat = (describe(np.ascontiguousarray(x)) for x in (picture, turned, recoloured, plain))
    histogram = slice(48, None)
    assert np.allclose(base["colour"][:, histogram], other["colour"][:, histogram], atol=1e-5)
    assert not np.allclose(base["edges"], other["edges"], atol=1e-2)
    assert np.abs(base["colour"] - shifted["colour"]).max() > 0.1
    assert flat["edges"].max() == pytest.approx(0, abs=1e-3)
    assert flat["detail"].max() == pytest.approx(0, abs=1e-3)
    with pytest.raises(DataError, match="uint8"):
        describe(picture.astype(np.float32))
